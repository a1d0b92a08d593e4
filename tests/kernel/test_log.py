"""The log under writers, readers and losses: what was acknowledged is there, once, in order."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from services.kernel import groups
from services.kernel import log as log_module
from services.kernel.database import Server, open_pool
from services.kernel.effects import Effects
from services.kernel.errors import TooLarge, Unavailable
from services.kernel.events import Event, Recorded, Service
from services.kernel.groups import Group
from services.kernel.log import Duplicate, Log, Stale, VersionConflict
from services.kernel.migrate import migrate
from services.kernel.postgres import EmbeddedPostgres
from services.kernel.runtime import Installation
from tests.conftest import TYPES, Connect, Pools, address, embedded_server
from tests.kernel.given import fact, read, read_all, read_facts
from tests.kernel.test_postgres import kill

ROLES = (Service.AUTHZ, Service.CASES)


@pytest.fixture
async def log(pools: Pools) -> AsyncIterator[Log]:
    log = Log(await pools(Service.AUTHZ), Service.AUTHZ)
    log.start()
    yield log
    await log.stop()


async def rows(connection: asyncpg.Connection) -> list[tuple[int, UUID]]:
    found = await connection.fetch("select position, id from log.event order by position")
    return [(row["position"], row["id"]) for row in found]


def assert_whole(stored: list[tuple[int, UUID]]) -> None:
    """Contiguous from 0, and every id once."""
    assert [position for position, _ in stored] == list(range(len(stored)))
    assert len({id_ for _, id_ in stored}) == len(stored)


async def test_twelve_writers_and_a_tailing_reader_see_one_order(  # noqa: C901 - told at once
    pools: Pools, connect: Connect
) -> None:
    """SG-10: the log has one order, without gaps, and a reader of it misses nothing."""
    logs = [Log(await pools(ROLES[n % 2], size=1), ROLES[n % 2]) for n in range(12)]
    reader, done = await connect(Service.AUDIT), asyncio.Event()
    read_events: list[Recorded] = []

    async def tail() -> None:
        while True:
            ending = done.is_set()
            batch = await read_all(reader, len(read_events) - 1, 50)
            read_events.extend(batch)
            if not batch:
                if ending:
                    return
                await asyncio.sleep(0.001)

    async def write(log: Log, service: Service) -> dict[UUID, int]:
        positions = {}
        for number in range(20):
            events = [read(service) for _ in range(number % 3 + 1)]
            positions[events[0].id] = await log.append(Group(events))
        return positions

    for each in logs:
        each.start()
    tailing = asyncio.create_task(tail())
    written = await asyncio.gather(*(write(each, ROLES[n % 2]) for n, each in enumerate(logs)))
    done.set()
    await tailing
    for each in logs:
        await each.stop()

    assert [r.position for r in read_events] == list(range(len(read_events)))
    assert_whole(await rows(await connect(None)))
    by_position = {r.position: r.event.id for r in read_events}
    for positions in written:
        for event_id, position in positions.items():
            assert by_position[position] == event_id
    assert len(read_events) == 12 * sum(n % 3 + 1 for n in range(20))


async def test_a_group_is_contiguous_and_answers_its_last_fact(log: Log, connect: Connect) -> None:
    events = [read(), fact(), fact(), read()]
    await log.append(Group([read()]))
    assert await log.append(Group(events)) == 3
    stored = await rows(await connect(None))
    assert [id_ for _, id_ in stored[1:]] == [event.id for event in events]


@pytest.mark.parametrize("sizes", [(3,), (2, 1, 3), (1, 1, 1)])
async def test_groups_of_observations_answer_their_first_position(
    log: Log, connect: Connect, sizes: tuple[int, ...]
) -> None:
    groups = [[read() for _ in range(size)] for size in sizes]
    await log.append(Group([read()]))
    answers = await asyncio.gather(*(log.append(Group(events)) for events in groups))
    assert answers == [1 + sum(sizes[:place]) for place in range(len(sizes))]
    stored = await rows(await connect(None))
    assert_whole(stored)
    assert [id_ for _, id_ in stored[1:]] == [event.id for events in groups for event in events]


async def test_a_stale_group_of_observations_leaves_its_neighbours(
    log: Log, connect: Connect
) -> None:
    touched = await log.append(Group([fact("person:one", 1, "person:one")]))
    before = [read(), read()]
    stale = Group([read(), read(), read()], at=touched - 1, guards=["person:one"])
    after = [read(), read()]
    first, refused, last = await asyncio.gather(
        log.append(Group(before)),
        log.append(stale),
        log.append(Group(after)),
        return_exceptions=True,
    )
    assert (first, last) == (1, 3)
    assert isinstance(refused, Stale)
    stored = await rows(await connect(None))
    assert [id_ for _, id_ in stored[1:]] == [event.id for event in (*before, *after)]


async def test_facts_are_read_without_the_observations_between(log: Log, connect: Connect) -> None:
    facts = [fact() for _ in range(3)]
    for event in facts:
        await log.append(Group([read(), event]))
    found = await read_facts(await connect(Service.CASES), 1, 10)
    assert [(r.position, r.event.id) for r in found] == [(3, facts[1].id), (5, facts[2].id)]


def impossible(kind: str, existing: UUID) -> Event:
    return {
        "type of another service": read(Service.CASES),
        "unregistered type": read(type="authz.unheard_of"),
        "fact without a stream": read(type=fact().type),
        "observation with a stream": fact(type="authz.read"),
        "id that exists": read(id=existing),
        "version no integer column holds": fact(version=2**40),
        "stream with a space": fact("person:a b"),
        "stream with a line feed": fact("person:a\nb"),
        "stream with NUL": fact("person:a\x00b"),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    [
        "type of another service",
        "unregistered type",
        "fact without a stream",
        "observation with a stream",
        "id that exists",
        "version no integer column holds",
        "stream with a space",
        "stream with a line feed",
        "stream with NUL",
    ],
)
async def test_one_impossible_event_among_a_hundred_fails_alone(
    log: Log, connect: Connect, kind: str
) -> None:
    first = read()
    await log.append(Group([first]))
    events = [fact() if n % 2 else read() for n in range(100)]
    events[37] = impossible(kind, first.id)
    answers = await asyncio.wait_for(
        asyncio.gather(*(log.append(Group([e])) for e in events), return_exceptions=True), 4
    )
    failed = [n for n, answer in enumerate(answers) if isinstance(answer, BaseException)]
    assert failed == [37]
    assert not isinstance(answers[37], Unavailable)
    stored = await rows(await connect(None))
    assert_whole(stored)
    assert {id_ for _, id_ in stored} == {first.id} | {
        e.id for n, e in enumerate(events) if n != 37
    }


async def test_a_group_with_an_event_too_large_is_refused_whole_and_its_caller_told(
    log: Log, connect: Connect
) -> None:
    """It is the caller's text that is too large: 413, not a fault of ours."""
    with pytest.raises(TooLarge):
        await log.append(Group([read(), read(data={"x": "y" * 65_536})]))
    assert await rows(await connect(None)) == []


@pytest.mark.parametrize(
    "group",
    [
        pytest.param(Group([]), id="no event"),
        pytest.param(Group([read(touches=("person:1",))]), id="an observation that touches"),
        pytest.param(Group([read(action="\ud800")]), id="text that UTF-8 has not"),
    ],
)
async def test_a_group_without_sense_is_refused_before_it_is_sent(
    log: Log, connect: Connect, group: Group
) -> None:
    with pytest.raises(ValueError, match=r"event|fact|surrogates"):
        await log.append(group)
    assert await log.append(Group([read()])) == 0
    assert len(await rows(await connect(None))) == 1


async def test_a_group_lands_whole_or_not_at_all(log: Log, connect: Connect) -> None:
    await log.append(Group([fact("person:one")]))
    with pytest.raises(VersionConflict) as refused:
        await log.append(Group([read(), fact("person:two"), fact("person:one"), read()]))
    assert refused.value.position == 0
    assert len(await rows(await connect(None))) == 1


async def test_a_once_key_admits_one_and_names_it(log: Log) -> None:
    key = b"k" * 32
    groups = [Group([read(), fact()], once=[key]) for _ in range(8)]
    answers = await asyncio.gather(*(log.append(g) for g in groups), return_exceptions=True)
    landed = [a for a in answers if isinstance(a, int)]
    assert landed == [1]
    assert [a.position for a in answers if isinstance(a, Duplicate)] == [1] * 7


@contextlib.asynccontextmanager
async def held_lock(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """Hold the append lock, as somebody else."""
    async with connection.transaction():
        await connection.execute("select pg_advisory_xact_lock(7233001, 1)")
        yield


async def test_clients_that_hang_up_stall_nobody(log: Log, connect: Connect) -> None:
    """A group cancelled while it waits is not appended; one already sent may be, whole."""
    async with held_lock(await connect(None)):
        sent = asyncio.create_task(log.append(Group([read()])))
        await asyncio.sleep(0.1)  # the first group waits for the lock, in the database
        waiting = [read() for _ in range(50)]
        tasks = [asyncio.create_task(log.append(Group([e]))) for e in waiting]
        await asyncio.sleep(0)
        for task in (sent, *tasks[::2]):
            task.cancel()
        await asyncio.sleep(0.05)
    await asyncio.wait(tasks)
    assert sent.cancelled()
    stored = await rows(await connect(None))
    assert_whole(stored)
    kept = {id_ for _, id_ in stored}
    assert kept >= {e.id for e in waiting[1::2]}
    assert not kept & {e.id for e in waiting[::2]}
    assert await log.append(Group([read()])) == len(stored)


async def test_a_full_queue_answers_unavailable_at_once(
    log: Log, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "_MAX_QUEUE", 10)
    async with held_lock(await connect(None)):
        first = asyncio.create_task(log.append(Group([read()])))
        await asyncio.sleep(0.05)
        queued = [asyncio.create_task(log.append(Group([read()]))) for _ in range(10)]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            async with asyncio.timeout(0.1):
                await log.append(Group([read()]))
    assert sorted(await asyncio.gather(first, *queued)) == list(range(11))


async def test_a_log_that_stops_appends_what_it_accepted(pools: Pools) -> None:
    log = Log(await pools(Service.AUTHZ), Service.AUTHZ)
    log.start()
    tasks = [asyncio.create_task(log.append(Group([read()]))) for _ in range(300)]
    await asyncio.sleep(0)
    await log.stop()
    assert sorted(await asyncio.gather(*tasks)) == list(range(300))
    with pytest.raises(Unavailable):
        await log.append(Group([read()]))


@dataclass
class Load:
    """Appends without end, and what was acknowledged."""

    log: Log
    acknowledged: dict[UUID, int] = field(default_factory=dict)
    unavailable: int = 0
    others: list[Exception] = field(default_factory=list)
    ending: bool = False

    async def writer(self, name: str) -> None:
        version = 1
        while not self.ending:
            event = fact(f"person:{name}", version)
            group = Group([read(), event], once=[event.id.bytes])
            try:
                self.acknowledged[event.id] = await self.log.append(group)
            except Unavailable:
                self.unavailable += 1
                version, name = 0, f"{name}.x"  # it may have landed: go on in another stream
            except Exception as error:  # noqa: BLE001 - the claim is that there is none
                self.others.append(error)
                return
            version += 1

    @contextlib.asynccontextmanager
    async def running(self, writers: int) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            for number in range(writers):
                group.create_task(self.writer(str(number)))
            yield
            self.ending = True

    def assert_all_in(self, stored: Iterable[tuple[int, UUID]]) -> None:
        assert not self.others
        ids = {id_: position for position, id_ in stored}
        missing = {e for e in self.acknowledged if e not in ids}
        assert not missing
        for event_id, position in self.acknowledged.items():
            assert ids[event_id] == position


async def test_every_acknowledged_append_survives_its_lost_connection_once(
    log: Log, connect: Connect
) -> None:
    """SG-10: a connection lost in mid-append loses nothing and doubles nothing."""
    owner = await connect(None)
    load = Load(log)
    async with load.running(16):
        for number in range(25):
            before = len(load.acknowledged)
            while len(load.acknowledged) < before + 20:
                await asyncio.sleep(0.001)
            await asyncio.sleep(number / 5_000)  # at another moment of the append each time
            await owner.fetch(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where usename = 'casewarden_authz' and datname = current_database()"
            )
    stored = await rows(owner)
    assert_whole(stored)
    load.assert_all_in((position, id_) for position, id_ in stored)
    assert load.unavailable == 0


async def test_a_group_that_landed_behind_a_lost_connection_is_answered_with_its_position(
    log: Log, connect: Connect, pools: Pools
) -> None:
    """The first offer commits only after the second looked for it: the answer is still its own."""
    landed = Group([read(), fact("person:late", 1, "late")], guards=["late"], once=[b"late"])
    other = Log(await pools(Service.AUTHZ), Service.AUTHZ)
    other.start()
    await other.append(landed)
    await other.stop()
    entries = [
        groups.Entry(
            landed,
            groups.bodies_of(landed),
            asyncio.get_running_loop().create_future(),
            asyncio.get_running_loop().time() + 5,
            unsure=True,
        )
    ]
    async with (await pools(Service.AUTHZ)).acquire() as connection:
        await log._send(connection, entries)
    assert await entries[0].answer == 1
    assert len(await rows(await connect(None))) == 2


@pytest.fixture
async def own_server(tmp_path: Path) -> AsyncIterator[tuple[EmbeddedPostgres, Installation]]:
    """Start a server that a test may stop and kill, with the settings of production."""
    with embedded_server() as server:
        await asyncio.to_thread(server.start)
        found = Installation(Server.of(server.dsn("casewarden")), tmp_path, Effects())
        await migrate(found.server, found.secret("roles"), TYPES)
        yield server, found


@contextlib.asynccontextmanager
async def log_at(installation: Installation) -> AsyncIterator[Log]:
    pool = await open_pool(address(installation, Service.AUTHZ), size=4, name="test")
    log = Log(pool, Service.AUTHZ)
    log.start()
    yield log
    await log.stop()
    await pool.close()


async def test_every_acknowledged_append_survives_the_killing_of_the_server(
    own_server: tuple[EmbeddedPostgres, Installation],
) -> None:
    """SG-10: kill -9 under load, three times; the service goes on without being started again."""
    server, installation = own_server
    async with log_at(installation) as log:
        load = Load(log)
        async with load.running(16):
            for _ in range(3):
                before = len(load.acknowledged)
                while len(load.acknowledged) < before + 50:
                    await asyncio.sleep(0.01)
                await asyncio.to_thread(kill, server)
                await asyncio.to_thread(server.start)
            before = len(load.acknowledged)
            async with asyncio.timeout(20):
                while len(load.acknowledged) < before + 50:
                    await asyncio.sleep(0.01)
        owner = await asyncpg.connect(installation.server.url)
        stored = await rows(owner)
        await owner.close()
    assert_whole(stored)
    load.assert_all_in((position, id_) for position, id_ in stored)


async def test_without_a_database_it_is_unavailable_in_time_and_works_again_after(
    own_server: tuple[EmbeddedPostgres, Installation],
) -> None:
    server, installation = own_server
    async with log_at(installation) as log:
        assert await log.append(Group([read()])) == 0
        await asyncio.to_thread(server.stop)
        loop = asyncio.get_running_loop()
        began = loop.time()
        answers = await asyncio.gather(
            *(log.append(Group([read()])) for _ in range(300)), return_exceptions=True
        )
        assert all(isinstance(answer, Unavailable) for answer in answers)
        assert 4.9 < loop.time() - began < 7
        await asyncio.to_thread(server.start)
        assert await log.append(Group([read()])) == 1
        await asyncio.to_thread(server.stop)
        waiting = asyncio.create_task(log.append(Group([read()])))
        await asyncio.sleep(0.2)
        await asyncio.to_thread(server.start)
        assert await waiting == 2, "a short absence is waited out"
