"""What a service's role can do to the log with a connection of its own, as psql would: append."""

import asyncio
from datetime import UTC, datetime
from typing import Any, Final, Literal
from uuid import uuid4

import asyncpg
import pytest

from services.kernel.database import role_name
from services.kernel.event_types import SET_ASIDE, Kind, aside_stream
from services.kernel.events import Event, Service, decode, encode, guard_key
from services.kernel.groups import APPEND, Entry, Group, arguments
from tests.conftest import TYPES, Connect, TestServer
from tests.kernel.given import fact, read

DENIED: Final = asyncpg.InsufficientPrivilegeError
TABLES: Final = ("event", "event_id", "fact", "once", "guard", "event_type")


def call(*events: Event, bodies: list[bytes] | None = None) -> list[Any]:
    """Return the arguments of an honest call, to be made dishonest."""
    group, loop = Group(events), asyncio.get_running_loop()
    encoded = bodies or [encode(event) for event in events]
    return list(arguments([Entry(group, encoded, loop.create_future(), 0.0)]))


async def test_a_role_can_append_and_read(connect: Connect) -> None:
    cases = await connect(Service.CASES)
    row = await cases.fetchrow(APPEND, *call(read(Service.CASES)))
    assert row is not None
    assert list(row["status"]) == [0]
    assert await cases.fetchval("select count(*) from log.event") == 1


@pytest.mark.parametrize("event", [read(Service.AUTHZ), fact(), read(Service.AUDIT)])
async def test_a_role_cannot_append_the_types_of_another(connect: Connect, event: Event) -> None:
    """A compromised cases service cannot forge a grant."""
    cases = await connect(Service.CASES)
    with pytest.raises(DENIED, match="not registered"):
        await cases.fetchrow(APPEND, *call(event))


@pytest.mark.parametrize("service", list(Service))
async def test_no_role_but_the_owner_sets_a_position_aside(
    connect: Connect, service: Service
) -> None:
    """Else a compromised service hides what it did, or undoes a revocation."""
    event = fact(aside_stream(0), 1, service=Service.CASES, type=SET_ASIDE.name)
    role = await connect(service)
    with pytest.raises(DENIED, match="not registered"):
        await role.fetchrow(APPEND, *call(event))


@pytest.mark.parametrize("stream", ["person:1", "session:1", "alert:1", "casefile:1", "1", ":case"])
async def test_a_role_cannot_write_a_stream_of_another(connect: Connect, stream: str) -> None:
    """Else a compromised cases service stops authz's folds, or takes their next version."""
    cases = await connect(Service.CASES)
    with pytest.raises(DENIED, match="stream not registered"):
        await cases.fetchrow(APPEND, *call(fact(stream, 1, service=Service.CASES)))
    row = await cases.fetchrow(APPEND, *call(fact("case:1", 1, service=Service.CASES)))
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
    "header",
    [
        "{id} cases.read - - -",
        "{id} cases.read - - ",
        "{id}  cases.read - -",
        " {id} cases.read - -",
        "{ID} cases.read - -",
        "{{{id}}} cases.read - -",
        "x cases.read - -",
        "{id} cases.read -",
        "{id} cases.read - 1",
        "{id} cases.read case:1 1",
        "{id} cases.case_closed - -",
        "{id} cases.case_closed - 1",
        "{id} cases.case_closed case:1 -",
        "{id} cases.case_closed case:1 01",
        "{id} cases.case_closed case:1 +1",
        "{id} cases.case_closed case:1 4294967296",
        "{id} cases.case_closed case:\N{LATIN SMALL LETTER E WITH ACUTE} 1",
        "{id} cases.case_closed case:\t1 1",
        "{id} Cases.read - -",
        "",
    ],
)
async def test_a_header_that_could_be_read_in_two_ways_is_refused(
    connect: Connect, header: str
) -> None:
    """What is indexed is what is signed: the columns are read from these very bytes."""
    cases, event = await connect(Service.CASES), read(Service.CASES)
    line = header.format(id=event.id, ID=str(event.id).upper())
    body = line.encode() + b"\n" + encode(event).partition(b"\n")[2]
    beside = read(Service.CASES)
    with pytest.raises((DENIED, asyncpg.DataError)):
        await cases.fetchrow(APPEND, *call(event, bodies=[body]))
    with pytest.raises((DENIED, asyncpg.DataError)):
        await cases.fetchrow(APPEND, *call(beside, event, bodies=[encode(beside), body]))
    assert await cases.fetchval("select count(*) from log.event") == 0


async def test_the_columns_are_what_the_header_says(connect: Connect) -> None:
    cases, event = await connect(Service.CASES), fact("case:1", 1, service=Service.CASES)
    await cases.fetchrow(APPEND, *call(event))
    assert await cases.fetchval("select (id, type)::text from log.event") == (
        f"({event.id},{event.type})"
    )
    assert await cases.fetchval("select id from log.event_id") == event.id
    assert tuple(await cases.fetchrow("select stream, version from log.fact") or ()) == (
        "case:1",
        1,
    )


@pytest.mark.parametrize(
    "json",
    [
        b"",
        b"{}",
        b"not json",
        b"[]",
        b'"recorded_at"',
        b'{"recorded_at":"2026-03-03T00:00:00Z"',
        b'{"recorded_at":"2026-03-03T00:00:00Z"}}',
        b'{"recorded_at":1}',
        b'{"recorded_at":null}',
        b'{"recorded_at":"yesterday"}',
        b'{"recorded_at":"2026-03-03T00:00:00+13:00"}',
        b'{"recorded_at":"2026-03-03"}',
        b'{"action":"\\"recorded_at\\":\\"2026-03-03T00:00:00Z\\""}',
        b'{"action":"\xff","recorded_at":"2026-03-03T00:00:00Z"}',
        b'{"action":"\n","recorded_at":"2026-03-03T00:00:00Z"}',
    ],
)
async def test_a_body_that_is_no_json_object_of_a_time_is_refused(
    connect: Connect, json: bytes
) -> None:
    """Else one append of a compromised role stops every fold there is."""
    cases, event, beside = await connect(Service.CASES), read(Service.CASES), read(Service.CASES)
    line = encode(event).partition(b"\n")[0]
    for body in (line + b"\n" + json, line + json):
        with pytest.raises((DENIED, asyncpg.DataError)):
            await cases.fetchrow(APPEND, *call(event, bodies=[body]))
        with pytest.raises((DENIED, asyncpg.DataError)):
            await cases.fetchrow(APPEND, *call(beside, event, bodies=[encode(beside), body]))
    good = b'{"recorded_at":"2026-03-03T00:00:00Z"}'
    await cases.fetchrow(APPEND, *call(event, bodies=[line + b"\n" + good]))
    assert await cases.fetchval("select count(*) from log.event") == 1


async def test_any_text_that_json_can_hold_can_be_appended(connect: Connect) -> None:
    """NUL too, which PostgreSQL's own JSON types refuse: refusals quote what strangers send."""
    authz = await connect(Service.AUTHZ)
    event = read(recorded_at=datetime(2026, 3, 3, 1, 2, 3, 45, tzinfo=UTC), action="\0Ōtāhuhu\n😀")
    await authz.fetchrow(APPEND, *call(event))
    body = await authz.fetchval("select body from log.event")
    assert decode(0, body).event == event


async def test_a_body_over_its_limit_is_refused(connect: Connect) -> None:
    cases, event = await connect(Service.CASES), read(Service.CASES)
    padded = encode(event).ljust(65_536)
    with pytest.raises(DENIED, match="not an event"):
        await cases.fetchrow(APPEND, *call(event, bodies=[padded]))
    await cases.fetchrow(APPEND, *call(event, bodies=[padded[:-1]]))


async def test_a_missing_body_is_refused(connect: Connect) -> None:
    cases = await connect(Service.CASES)
    for bodies in ([None], None):
        arguments = call(read(Service.CASES))
        arguments[0] = bodies
        with pytest.raises(DENIED):
            await cases.fetchrow(APPEND, *arguments)
    assert await cases.fetchval("select count(*) from log.event") == 0


@pytest.mark.parametrize(
    "groups",
    [
        *(None, "{}", "{0,1}", "{0,0}", "{1,2}", "{1,null}", "{null,1}", "{1}", "{1,1,1}", "{2,1}"),
        *("{{1,1}}", "[0:1]={1,1}"),
    ],
)
async def test_no_event_is_without_a_group_and_no_group_without_an_event(
    connect: Connect, groups: str | None
) -> None:
    """Whoever calls is told of all that was stored, and nothing else was."""
    cases = await connect(Service.CASES)
    arguments = call(read(Service.CASES), read(Service.CASES))
    assert arguments[1] == "{1,1}"
    arguments[1] = groups
    with pytest.raises(asyncpg.InvalidParameterValueError):
        await cases.fetchrow(APPEND, *arguments)
    assert await cases.fetchval("select count(*) from log.event") == 0


async def test_a_once_key_of_one_role_is_not_another_roles(connect: Connect) -> None:
    """A compromised cases service cannot use up what a decision of authz may serve for once."""
    cases, authz = await connect(Service.CASES), await connect(Service.AUTHZ)
    answers = []
    for role, service in ((cases, Service.CASES), (authz, Service.AUTHZ), (authz, Service.AUTHZ)):
        arguments = call(read(service))
        arguments[8], arguments[9] = "{1}", [b"access decision:1"]
        row = await role.fetchrow(APPEND, *arguments)
        assert row is not None
        answers.append((row["status"], row["at"]))
    assert answers == [([0], [0]), ([0], [1]), ([4], [1])]


@pytest.mark.parametrize("service", list(Service))
@pytest.mark.parametrize(
    "lock",
    [
        f"pg_{attempt}advisory_{scope}lock{shared}(7233001, 1)"
        for attempt in ("", "try_")
        for scope in ("", "xact_")
        for shared in ("", "_shared")
    ],
)
async def test_no_role_takes_the_append_lock_by_itself(
    connect: Connect, service: Service, lock: str
) -> None:
    role = await connect(service)
    with pytest.raises(DENIED):
        await role.execute(f"select {lock}")


async def test_an_observation_cannot_touch(connect: Connect) -> None:
    """Whoever waited for it to be folded as a fact would wait for ever."""
    cases = await connect(Service.CASES)
    arguments = call(read(Service.CASES))
    arguments[6], arguments[7] = "{1}", f"{{{guard_key('person:1')}}}"
    with pytest.raises(asyncpg.InvalidParameterValueError, match="only a fact"):
        await cases.fetchrow(APPEND, *arguments)


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
        "select lo_create(0)",
        "select lo_from_bytea(0, 'x')",
        "select lo_unlink(1)",
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
            await cases.fetchrow(APPEND, *call(read(Service.CASES)))


async def test_append_is_durable_whatever_the_session_says(connect: Connect) -> None:
    cases = await connect(Service.CASES)
    await cases.execute("set synchronous_commit = off")
    async with cases.transaction():
        await cases.fetchrow(APPEND, *call(read(Service.CASES)))
        assert await cases.fetchval("show synchronous_commit") == "on"
    assert await cases.fetchval("show synchronous_commit") == "off"


async def test_a_type_or_table_of_the_callers_own_is_never_used_instead_of_ours(
    connect: Connect,
) -> None:
    """The temporary schema comes before any other unless a search path says otherwise."""
    cases = await connect(Service.CASES)
    call_alone = "select status, at from log.append($1, null, array[-1], null" + ", null" * 6 + ")"
    append = await cases.prepare(call_alone)
    await cases.execute(
        "create function pg_temp.spy(value pg_catalog.text) returns boolean language plpgsql"
        " as $$ begin raise exception 'ran as %', current_user; end $$"
    )
    await cases.execute("create domain pg_temp.text as pg_catalog.text check (pg_temp.spy(value))")
    await cases.execute("create domain pg_temp.bytea as pg_catalog.bytea check (false)")
    row = await append.fetchrow([encode(fact(service=Service.CASES))])
    assert row is not None
    assert list(row["status"]) == [0]
    await cases.execute("select log.make_partitions(1, 5000000)")


@pytest.mark.parametrize("keys", [False, True])
async def test_no_role_fills_a_database_with_what_is_not_a_services(
    server: TestServer, connect: Connect, *, keys: bool
) -> None:
    """Copies of a database do not inherit who may make temporary tables there."""
    owner = await connect(None, keys=keys)
    database = f"{server.template}_keys" if keys else server.template
    for service in Service:
        role = role_name(service)
        for allowed in (
            f"has_database_privilege('{role}', '{database}', 'temporary')",
            f"has_function_privilege('{role}', 'lo_create(oid)', 'execute')",
            f"has_function_privilege('{role}', 'lowrite(int, bytea)', 'execute')",
        ):
            assert await owner.fetchval(f"select {allowed}") is False, allowed


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
    arguments[8], arguments[9] = "{1}", [b"once"]
    await authz.fetchrow(APPEND, *arguments)
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
