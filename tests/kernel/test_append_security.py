"""What a service's role can do to the log with a connection of its own, as psql would: append."""

import asyncio
from typing import Any, Final, Literal
from uuid import uuid4

import asyncpg
import pytest

from services.kernel.events import Event, Kind, Service, encode, guard_key
from services.kernel.log import Group, _arguments, _Entry
from tests.conftest import TYPES, Connect
from tests.kernel.given import fact, read

DENIED: Final = asyncpg.InsufficientPrivilegeError
TABLES: Final = ("event", "event_id", "fact", "once", "guard", "event_type")
CALL: Final = "select status, at from log.append($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14)"


def call(*events: Event, bodies: list[bytes] | None = None) -> list[Any]:
    """Return the arguments of an honest call, to be made dishonest."""
    group, loop = Group(events), asyncio.get_running_loop()
    encoded = bodies or [encode(event) for event in events]
    return list(_arguments([_Entry(group, encoded, loop.create_future(), 0.0)]))


async def test_a_role_can_append_and_read(connect: Connect) -> None:
    cases = await connect(Service.CASES)
    row = await cases.fetchrow(CALL, *call(read(Service.CASES)))
    assert row is not None
    assert list(row["status"]) == [0]
    assert await cases.fetchval("select count(*) from log.event") == 1


@pytest.mark.parametrize("event", [read(Service.AUTHZ), fact(), read(Service.AUDIT)])
async def test_a_role_cannot_append_the_types_of_another(connect: Connect, event: Event) -> None:
    """A compromised cases service cannot forge a grant."""
    cases = await connect(Service.CASES)
    with pytest.raises(DENIED, match="not registered"):
        await cases.fetchrow(CALL, *call(event))


@pytest.mark.parametrize("stream", ["person:1", "session:1", "alert:1", "casefile:1", "1", ":case"])
async def test_a_role_cannot_write_a_stream_of_another(connect: Connect, stream: str) -> None:
    """Else a compromised cases service stops authz's folds, or takes their next version."""
    cases = await connect(Service.CASES)
    with pytest.raises(DENIED, match="stream not registered"):
        await cases.fetchrow(CALL, *call(fact(stream, 1, service=Service.CASES)))
    row = await cases.fetchrow(CALL, *call(fact("case:1", 1, service=Service.CASES)))
    assert row is not None
    assert list(row["status"]) == [0]


def test_every_fact_says_which_streams_are_its_own() -> None:
    """And no service's are another's."""
    owners: dict[str, set[Service]] = {}
    for type_ in TYPES:
        assert bool(type_.streams) == (type_.kind is Kind.FACT)
        for stream in type_.streams:
            owners.setdefault(stream, set()).add(type_.service)
    assert all(len(services) == 1 for services in owners.values())


@pytest.mark.parametrize(
    ("column", "value"),
    [
        pytest.param(0, uuid4(), id="id"),
        pytest.param(1, "cases.read", id="type"),
        pytest.param(4, "case:other", id="stream"),
        pytest.param(4, None, id="no stream"),
        pytest.param(5, 3, id="version"),
        pytest.param(5, None, id="no version"),
    ],
)
async def test_a_column_that_differs_from_the_signed_body_is_refused(
    connect: Connect, column: int, value: object
) -> None:
    cases = await connect(Service.CASES)
    arguments = call(fact("case:1", 1, service=Service.CASES))
    arguments[column] = [value]
    with pytest.raises(DENIED, match="differs"):
        await cases.fetchrow(CALL, *arguments)


@pytest.mark.parametrize("body", [b"", b"\n", b"x" * 100])
async def test_a_body_without_its_header_is_refused(connect: Connect, body: bytes) -> None:
    cases = await connect(Service.CASES)
    with pytest.raises(DENIED, match="differs"):
        await cases.fetchrow(CALL, *call(read(Service.CASES), bodies=[body or b"\n"]))


async def test_a_body_over_its_limit_is_refused(connect: Connect) -> None:
    cases, event = await connect(Service.CASES), read(Service.CASES)
    padded = encode(event).ljust(65_536)
    with pytest.raises(DENIED, match="differs"):
        await cases.fetchrow(CALL, *call(event, bodies=[padded]))
    await cases.fetchrow(CALL, *call(event, bodies=[padded[:-1]]))


async def test_a_missing_body_id_or_type_is_refused(connect: Connect) -> None:
    cases = await connect(Service.CASES)
    for column in (0, 1, 2):
        arguments = call(read(Service.CASES))
        arguments[column] = [None]
        with pytest.raises((DENIED, asyncpg.NotNullViolationError)):
            await cases.fetchrow(CALL, *arguments)
    assert await cases.fetchval("select count(*) from log.event") == 0


async def test_an_observation_cannot_touch(connect: Connect) -> None:
    """Whoever waited for it to be folded as a fact would wait for ever."""
    cases = await connect(Service.CASES)
    arguments = call(read(Service.CASES))
    arguments[10], arguments[11] = [1], [guard_key("person:1")]
    with pytest.raises(asyncpg.InvalidParameterValueError, match="only a fact"):
        await cases.fetchrow(CALL, *arguments)


@pytest.mark.parametrize("service", list(Service))
@pytest.mark.parametrize("table", TABLES)
async def test_no_role_writes_a_table_of_the_log(
    connect: Connect, service: Service, table: str
) -> None:
    """AC: the log is append-only for every role; there is one way in."""
    role, column = await connect(service), "name" if table == "event_type" else None
    column = column or {"guard": "key", "once": "key", "fact": "stream"}.get(table, "id")
    for statement in (
        f"insert into log.{table} select * from log.{table}",
        f"update log.{table} set {column} = {column}",
        f"delete from log.{table}",
        f"truncate log.{table}",
        f"select from log.{table} for update",
        f"do 'begin lock table log.{table} in access exclusive mode; end'",
        f"alter table log.{table} disable trigger all",
        f"drop table log.{table}",
        f"create rule quiet as on insert to log.{table} do instead nothing",
        f"create trigger mine before insert on log.{table} execute function log.refuse()",
    ):
        with pytest.raises(DENIED):
            await role.execute(statement)


async def test_no_role_writes_a_partition(connect: Connect) -> None:
    cases = await connect(Service.CASES)
    for statement in (
        "select from log.event_0",
        "delete from log.event_0",
        "drop table log.event_0",
    ):
        with pytest.raises(DENIED):
            await cases.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "create table log.mine ()",
        "create function log.mine() returns int language sql as 'select 1'",
        "create table public.mine ()",
        "create schema mine",
        "alter function log.append reset all",
        "set session_replication_role = replica",
        "set role postgres",
        "set session authorization casewarden_authz",
        "select pg_read_file('/etc/hostname')",
        "copy log.event to program 'true'",
        "select log.refuse()",
        "create extension dblink",
        "insert into authz.projection values ('mine', 1)",
        "select from authz.person",
        "select from audit.event",
        "select from log.guard",
    ],
)
async def test_a_role_cannot_reach_beyond_its_own_schema(connect: Connect, statement: str) -> None:
    cases = await connect(Service.CASES)
    with pytest.raises((DENIED, asyncpg.UndefinedObjectError, asyncpg.FeatureNotSupportedError)):
        await cases.execute(statement)


@pytest.mark.parametrize("isolation", ["repeatable_read", "serializable"])
async def test_append_is_refused_under_an_old_snapshot(
    connect: Connect, isolation: Literal["repeatable_read", "serializable"]
) -> None:
    cases = await connect(Service.CASES)
    with pytest.raises(asyncpg.RaiseError, match="read committed"):
        async with cases.transaction(isolation=isolation):
            await cases.fetchrow(CALL, *call(read(Service.CASES)))


async def test_append_is_durable_whatever_the_session_says(connect: Connect) -> None:
    cases = await connect(Service.CASES)
    await cases.execute("set synchronous_commit = off")
    async with cases.transaction():
        await cases.fetchrow(CALL, *call(read(Service.CASES)))
        assert await cases.fetchval("show synchronous_commit") == "on"
    assert await cases.fetchval("show synchronous_commit") == "off"


async def test_a_type_or_table_of_the_callers_own_is_never_used_instead_of_ours(
    connect: Connect,
) -> None:
    """The temporary schema comes before any other unless a search path says otherwise."""
    cases = await connect(Service.CASES)
    append = await cases.prepare(CALL)
    await cases.execute(
        "create function pg_temp.spy(value pg_catalog.text) returns boolean language plpgsql"
        " as $$ begin raise exception 'ran as %', current_user; end $$"
    )
    await cases.execute("create domain pg_temp.text as pg_catalog.text check (pg_temp.spy(value))")
    await cases.execute("create domain pg_temp.bytea as pg_catalog.bytea check (false)")
    row = await append.fetchrow(*call(fact(service=Service.CASES)))
    assert row is not None
    assert list(row["status"]) == [0]
    await cases.execute("select log.make_partitions(1, 5000000)")


async def test_partitions_cannot_be_made_in_sizes_or_numbers_of_ones_own(connect: Connect) -> None:
    cases = await connect(Service.CASES)
    for ahead, size in ((1, 1), (9, 5_000_000), (-1, 5_000_000), (1, 0), (1, -5_000_000)):
        with pytest.raises(DENIED):
            await cases.execute("select log.make_partitions($1, $2)", ahead, size)
    for unknown in ("null, 5000000", "1, null"):
        with pytest.raises(DENIED):
            await cases.execute(f"select log.make_partitions({unknown})")
    assert await cases.fetchval("select log.make_partitions(2, 5000000)") == 0
    assert await cases.fetchval("select log.make_partitions(3, 5000000)") == 1


@pytest.mark.parametrize("table", ["event", "event_0", "event_id", "fact", "once", "guard"])
@pytest.mark.parametrize("statement", ["update", "delete", "truncate"])
async def test_the_owner_too_is_refused(connect: Connect, table: str, statement: str) -> None:
    """SG-10: nobody updates, deletes or truncates, not even by mistake in a console."""
    authz, owner = await connect(Service.AUTHZ), await connect(None)
    arguments = call(fact("person:1", 1, "person:1"))
    arguments[12], arguments[13] = [1], [b"once"]
    await authz.fetchrow(CALL, *arguments)
    column = {"guard": "key", "once": "key", "fact": "stream"}.get(table, "id")
    sql = {
        "update": f"update log.{table} set {column} = {column}",
        "delete": f"delete from log.{table}",
        "truncate": f"truncate log.{table}",
    }[statement]
    if (table, statement) == ("guard", "update"):
        return  # moves forward with every touch
    with pytest.raises(DENIED, match="append-only"):
        await owner.execute(sql)
    assert await owner.fetchval(f"select count(*) from log.{table}") == 1


async def test_every_partition_refuses_as_the_first_does(connect: Connect) -> None:
    owner = await connect(None)
    await owner.execute("select log.make_partitions(4, 5000000)")
    partitions = await owner.fetch(
        "select inhrelid::regclass::text as name from pg_inherits"
        " where inhparent = 'log.event'::regclass"
    )
    assert len(partitions) == 5
    for row in partitions:
        with pytest.raises(DENIED, match="append-only"):
            await owner.execute(f"truncate {row['name']}")
        kinds = await owner.fetchval(
            "select count(*) from pg_trigger where tgrelid = $1::text::regclass"
            " and tgenabled = 'O'",
            row["name"],
        )
        assert kinds == 2


async def test_a_role_reads_the_keys_of_its_compartments_only(connect: Connect) -> None:
    """SG-6: audit holds none of cases' keys, cases none of the credentials'."""
    owner = await connect(None, keys=True)
    compartments = await owner.fetch("select distinct compartment from keys.reader")
    for row in compartments:
        await owner.execute(
            "insert into keys.data_key values ($1, $2, 1, 'x')", uuid4(), row["compartment"]
        )
    seen = {}
    for service in Service:
        role = await connect(service, keys=True)
        found = await role.fetch("select compartment from keys.data_key order by 1")
        seen[service] = [row["compartment"] for row in found]
        with pytest.raises(DENIED):
            await role.execute(
                "insert into keys.data_key values ($1, $2, 1, 'x')",
                uuid4(),
                "credential" if service is not Service.AUTHZ else "record",
            )
        for statement in (
            "update keys.data_key set wrapped = ''",
            "delete from keys.data_key",
            "truncate keys.data_key",
            "insert into keys.reader values (session_user, 'credential')",
            "alter table keys.data_key disable row level security",
            "drop policy compartments on keys.data_key",
        ):
            with pytest.raises(DENIED):
                await role.execute(statement)
    assert seen == {
        Service.AUTHZ: ["credential", "origin", "staff"],
        Service.CASES: ["origin", "record", "search", "sensitive", "staff", "student"],
        Service.AUDIT: ["origin", "review"],
    }
