"""Past an event that no fold understands: singled out, set aside on the record, told by verify."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import asyncpg
import msgspec
import pytest

from services.authz import events as authz
from services.authz.directory_fold import Directory
from services.commands import set_aside as command
from services.kernel.aside import NotSetAside, set_aside
from services.kernel.errors import Unavailable
from services.kernel.event_types import Registry
from services.kernel.events import Event, Recorded, Service, encode, guard_key, leaf_hash
from services.kernel.groups import APPEND, Group
from services.kernel.log import Log, VersionConflict
from services.kernel.projection import Connection
from services.kernel.projector import Projector
from services.kernel.runtime import Installation
from services.kernel.settings import Settings
from services.progress import Progress
from services.verification import Wrong, verify
from tests.conftest import Clock, Connect, Pools
from tests.kernel.given import fact, read

REASON = "INC-2026/14"


class Everything:
    """A projection that understands what the directory does, and keeps the positions it saw."""

    name = "authz.directory"
    tables: Sequence[str] = ("authz.folded", *Directory("authz").tables)

    def __init__(self) -> None:
        self._directory = Directory("authz")

    def wants(self, _type: str, _stream: str) -> bool:
        return True

    async def fold(self, connection: Connection, batch: Sequence[Recorded]) -> None:
        await self._directory.fold(connection, batch)
        await connection.executemany(
            "insert into authz.folded (position) values ($1)", [(r.position,) for r in batch]
        )


@pytest.fixture
async def owner(connect: Connect) -> asyncpg.Connection:
    connection = await connect(None)
    await connection.execute("create table authz.folded (position bigint primary key)")
    return connection


async def folds(owner: asyncpg.Connection) -> list[int]:
    return [row["position"] for row in await owner.fetch("select * from authz.folded order by 1")]


def no_envelope() -> tuple[Event, bytes]:
    """Return a fact that ``log.append`` takes, whose envelope nobody decodes."""
    event = fact("person:poison", 1)
    line = encode(event).partition(b"\n")[0]
    return event, line + b'\n{"actor":5,"recorded_at":"2026-03-03T00:00:00Z"}'


def no_payload() -> tuple[Event, bytes]:
    """Return a fact whose envelope is right, and whose data is not of its type."""
    event = fact("person:poison", 1, type=authz.PERSON_REGISTERED, data={"person_id": 7})
    return event, encode(event)


async def append_raw(connection: asyncpg.Connection, body: bytes) -> int:
    row = await connection.fetchrow(APPEND, [body], None, "{0}", *(None,) * 7)
    assert row is not None
    assert row["status"] == [0]
    return int(row["at"][0])


def person(number: int) -> Event:
    payload = authz.PersonRegistered(
        person_id=UUID(int=number), profile="p", username="u", username_digest="d"
    )
    stream = f"person:{UUID(int=number)}"
    return fact(stream, type=authz.PERSON_REGISTERED, data=msgspec.to_builtins(payload))


@pytest.mark.parametrize("observations", [True, False])
@pytest.mark.parametrize("poison", [no_envelope(), no_payload()])
async def test_a_fold_stands_before_what_it_cannot_read_and_goes_on_once_that_is_set_aside(
    owner: asyncpg.Connection,
    connect: Connect,
    pools: Pools,
    registry: Registry,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    poison: tuple[Event, bytes],
    *,
    observations: bool,
) -> None:
    """One process goes on without a restart; rebuilt equals live; the bytes stay in the log."""
    monkeypatch.setattr("services.kernel.projector._STOPPED_S", 0.05)
    log = Log(await pools(Service.AUTHZ), Service.AUTHZ)
    log.start()
    await log.append(Group([person(1)]))
    at = await append_raw(await connect(Service.AUTHZ), poison[1])
    last = await log.append(Group([person(2)]))
    projector = Projector(
        await pools(Service.AUTHZ), "authz", registry, [Everything()], observations=observations
    )
    with pytest.raises(Unavailable):
        await projector.reached(last)
    assert await folds(owner) == [0], "all before it is folded, nothing is skipped"
    assert projector.stopped
    assert f"position {at}" in projector.stopped
    projector.start()
    await asyncio.sleep(0.2)
    with pytest.raises(Unavailable):
        projector.check()

    aside = await set_aside(owner, clock.effects(), at, REASON)
    named = aside.recorded
    assert (named.position, named.event.id, named.event.type) == (at, poison[0].id, poison[0].type)
    async with asyncio.timeout(5):
        while projector.stopped or await folds(owner) != [0, last, last + 1]:
            await asyncio.sleep(0.01)
    assert Everything.name not in aside.past, "it never folded the event: nothing is to be rebuilt"
    live = [await folds(owner), await owner.fetch("select * from authz.person order by id")]
    await projector.rebuild()
    assert live == [await folds(owner), await owner.fetch("select * from authz.person order by id")]
    # its version is free: else nobody could ever write that stream again
    assert await log.append(Group([fact("person:poison", 1)])) == last + 2
    with pytest.raises(VersionConflict):
        await log.append(Group([fact("person:poison", 1)]))
    assert await owner.fetchval("select body from log.event where position = $1", at) == poison[1]
    await projector.stop()
    await log.stop()
    summary = await verify(owner)
    assert (summary.events, summary.facts, summary.aside) == (last + 3, 4, (at,))


async def test_what_had_folded_it_is_rebuilt(
    owner: asyncpg.Connection,
    pools: Pools,
    registry: Registry,
    installation: Installation,
    clock: Clock,
) -> None:
    """A position may be set aside that some read model understood: no read model keeps it."""
    log = Log(await pools(Service.AUTHZ), Service.AUTHZ)
    log.start()
    at = await log.append(Group([person(1)]))
    await log.append(Group([person(2)]))
    await log.stop()
    projector = Projector(await pools(Service.AUTHZ), "authz", registry, [Directory("authz")])
    await projector.reached(at)
    aside = await set_aside(owner, clock.effects(), at, REASON)
    people = "select array_agg(id) from authz.person"
    assert await owner.fetchval(people) == [UUID(int=1), UUID(int=2)]
    await command._rebuild(Settings(), installation, Service.AUTHZ, aside, Progress(None))
    assert await owner.fetchval(people) == [UUID(int=2)]


async def test_who_is_past_a_position_is_settled_as_it_is_set_aside(
    owner: asyncpg.Connection, connect: Connect, pools: Pools, registry: Registry, clock: Clock
) -> None:
    """A fold under way is waited for and counts as it ended; a later one never has the event."""
    log = Log(await pools(Service.AUTHZ), Service.AUTHZ)
    log.start()
    at = await log.append(Group([person(1)]))
    await log.stop()
    folding = await connect(Service.AUTHZ)
    fold = folding.transaction()
    await fold.start()
    moved = "update authz.projection set position = $1 where name = $2"
    await folding.execute(moved, at, "authz.directory")
    setting = asyncio.create_task(set_aside(owner, clock.effects(), at, REASON))
    await asyncio.sleep(0.2)
    assert not setting.done()
    await fold.commit()
    aside = await setting
    assert aside.past == {"authz.directory"}
    projector = Projector(await pools(Service.AUTHZ), "authz", registry, [Directory("authz")])
    assert projector.folding(aside.recorded) == ["authz.directory"]
    elsewhere = Projector(await pools(Service.CASES), "cases", registry, [Directory("cases")])
    await elsewhere.reached(at + 1)
    assert elsewhere.folding(aside.recorded) == ["cases.directory"]
    assert await owner.fetchval("select count(*) from cases.person") == 0


async def test_it_is_recorded_with_its_hash_and_happens_once(
    owner: asyncpg.Connection, pools: Pools, clock: Clock
) -> None:
    """SG-18: the reason is a reference; free text never enters the log unsealed."""
    log = Log(await pools(Service.AUTHZ), Service.AUTHZ)
    log.start()
    event = read()
    await log.append(Group([event]))
    await log.stop()
    effects = clock.effects()
    for position, reason in ((1, REASON), (0, "Ana's case"), (0, "")):
        with pytest.raises(NotSetAside):
            await set_aside(owner, effects, position, reason)
    await set_aside(owner, effects, 0, REASON)
    body = await owner.fetchval("select body from log.event where position = 1")
    stated = msgspec.json.decode(body.partition(b"\n")[2])
    assert stated["data"] == {
        "position": 0,
        "leaf_hash": leaf_hash(encode(event)).hex(),
        "reason": REASON,
    }
    assert stated["object"] == {"type": "event", "id": str(event.id)}
    for position in (0, 1):
        with pytest.raises(NotSetAside):
            await set_aside(owner, effects, position, REASON)
    assert (await verify(owner)).aside == (0,)


async def test_verify_finds_other_bytes_behind_a_position_set_aside(
    owner: asyncpg.Connection, connect: Connect, clock: Clock
) -> None:
    """Nothing can be hidden by setting it aside first."""
    at = await append_raw(await connect(Service.AUTHZ), no_envelope()[1])
    await set_aside(owner, clock.effects(), at, REASON)
    await verify(owner)
    await owner.execute(
        "set session_replication_role = replica;"
        " update log.event set body = body || ' '::bytea where position = 0;"
        " set session_replication_role = origin"
    )
    with pytest.raises(Wrong, match="set aside") as wrong:
        await verify(owner)
    assert wrong.value.position == at


async def together(connection: asyncpg.Connection, bodies: list[bytes], *touches: str) -> None:
    """Append ``bodies`` as one group that touches these keys."""
    keys = [guard_key(touch) for touch in touches]
    row = await connection.fetchrow(
        APPEND,
        bodies,
        "{" + ",".join("1" for _ in bodies) + "}",
        "{-1}",
        None,
        None,
        None,
        "{" + ",".join("1" for _ in keys) + "}",
        "{" + ",".join(map(str, keys)) + "}",
        None,
        None,
    )
    assert row is not None
    assert row["status"] == [0]


async def group_of_three(connection: asyncpg.Connection) -> None:
    """Append a look, and then a group whose keys all have the position of its last fact."""
    await append_raw(connection, encode(read()))
    facts = [fact("", 1, "person:a"), fact("", 1, "person:b"), fact("", 1, "person:c")]
    await together(connection, [encode(f) for f in facts], "person:a", "person:b", "person:c")


@pytest.mark.parametrize("positions", [(1,), (2,), (3,), (1, 2), (1, 3), (1, 2, 3)])
async def test_verify_goes_on_over_any_event_of_a_group_that_was_set_aside(
    owner: asyncpg.Connection, connect: Connect, clock: Clock, positions: tuple[int, ...]
) -> None:
    """Its keys stay under the position of the group's last fact, and nothing else touches them."""
    await group_of_three(await connect(Service.AUTHZ))
    for position in positions:
        await set_aside(owner, clock.effects(), position, REASON)
    assert (await verify(owner)).aside == positions


@pytest.mark.parametrize(
    ("position", "change"),
    [
        (0, "update log.guard set position = 0 where key = {a}"),
        (4, "update log.guard set position = 4 where key = {z}"),
        (2, "update log.guard set position = 1 where key = {b}"),
        (2, "delete from log.guard where key = {b}"),
        (1, "update log.guard set position = 5 where key = {a}"),
    ],
    ids=["before the claim", "never claimed", "before a kept touch", "gone", "of no fact"],
)
async def test_setting_an_event_aside_hides_no_guard_that_is_wrong(
    owner: asyncpg.Connection, connect: Connect, clock: Clock, position: int, change: str
) -> None:
    """What it says it touches lets a row be; the keys of the facts that are kept are as safe."""
    authz = await connect(Service.AUTHZ)
    await group_of_three(authz)
    await set_aside(owner, clock.effects(), 1, REASON)
    await append_raw(authz, encode(read()))
    await owner.execute(
        "set session_replication_role = replica;"
        f" insert into log.guard (key, position) values ({guard_key('person:z')}, 1)"
    )
    await verify(owner)
    await owner.execute(change.format(**{key: guard_key(f"person:{key}") for key in "abz"}))
    with pytest.raises(Wrong, match="guard") as wrong:
        await verify(owner)
    assert wrong.value.position == position


@pytest.mark.parametrize(
    "said",
    ['"touches":5', '"touches":["\\ud800"]', '"x":' + "[" * 3000 + "]" * 3000],
    ids=["no list", "no text", "too deep"],
)
async def test_what_cannot_be_read_is_wrong_until_it_and_its_groups_last_fact_are_set_aside(
    owner: asyncpg.Connection, connect: Connect, clock: Clock, said: str
) -> None:
    """No service writes it; whoever did had a service's role, and appended the whole group."""
    event, kept = fact("person:poison", 1), fact("", 1)
    line = encode(event).partition(b"\n")[0]
    json = f'{{"recorded_at":"2026-03-03T00:00:00Z",{said}}}'
    await together(
        await connect(Service.AUTHZ), [line + b"\n" + json.encode(), encode(kept)], "person:unsaid"
    )
    for position in (0, 1):
        with pytest.raises(Wrong) as wrong:
            await verify(owner)
        assert wrong.value.position == position
        await set_aside(owner, clock.effects(), position, REASON)
    assert (await verify(owner)).aside == (0, 1)


async def test_nothing_but_what_was_set_aside_leaves_the_facts(
    owner: asyncpg.Connection, connect: Connect, clock: Clock
) -> None:
    at = await append_raw(await connect(Service.AUTHZ), no_envelope()[1])
    delete = "delete from log.fact where position = $1"
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
        await owner.execute(delete, at)
    await set_aside(owner, clock.effects(), at, REASON)
    assert await owner.fetchval("select count(*) from log.fact where position = $1", at) == 0
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
        await owner.execute(delete, at + 1)
