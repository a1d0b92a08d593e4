"""Fresh or refused: the log's answers against a model of them, and races against revocation."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from services.kernel.events import Event, Service
from services.kernel.groups import APPEND, Entry, Group, arguments, bodies_of
from services.kernel.log import Expired, Log, Stale
from tests.conftest import Connect, Pools
from tests.kernel.given import fact, read, read_all

OK, STALE, EXPIRED, CONFLICT, DUPLICATE = range(5)
LONG_AGO, FAR_OFF = datetime(2001, 1, 1, tzinfo=UTC), datetime(2101, 1, 1, tzinfo=UTC)


@dataclass
class Model:
    """What the log answers, told in a few lines: group by group, in order."""

    length: int = 0
    touched: dict[str, int] = field(default_factory=dict)
    streams: dict[str, list[int]] = field(default_factory=dict)
    once: dict[bytes, int] = field(default_factory=dict)

    def offer(self, group: Group) -> tuple[int, set[int | None]]:
        """Return the status and the positions it may come with."""
        held = {self.once[key] for key in group.once if key in self.once}
        if held:
            return DUPLICATE, {*held}
        newest = max((self.touched.get(key, -1) for key in group.guards), default=-1)
        if newest > group.at:
            return STALE, {newest}
        if group.valid_until == LONG_AGO:
            return EXPIRED, {None}
        wrong = self._wrong_streams(group.events)
        if wrong:
            return CONFLICT, {max(self.streams.get(s, ()), default=None) for s in wrong}
        return OK, {self._store(group)}

    def _wrong_streams(self, events: Sequence[Event]) -> list[str]:
        written = {name: len(positions) for name, positions in self.streams.items()}
        wrong = []
        for event in events:
            if event.stream is None:
                continue
            written[event.stream] = written.get(event.stream, 0) + 1
            if event.version != written[event.stream]:
                wrong.append(event.stream)
        return wrong

    def _store(self, group: Group) -> int:
        facts = [n for n, e in enumerate(group.events, self.length) if e.stream is not None]
        at = max(facts, default=self.length)
        for position, event in enumerate(group.events, self.length):
            if event.stream is not None:
                self.streams.setdefault(event.stream, []).append(position)
            self.touched |= dict.fromkeys(event.touches, at)
        self.once |= dict.fromkeys(group.once, at)
        self.length += len(group.events)
        return at


@dataclass(frozen=True)
class Plan:
    """One group in outline: streams get their versions when it is offered."""

    events: tuple[tuple[str | None, int, tuple[str, ...]], ...]
    guards: tuple[str, ...]
    behind: int
    until: datetime | None
    once: tuple[bytes, ...]


#: versions 2 then 1 of one stream in one group: once stored, and then 1 came after 2
VERSIONS_BACKWARDS = Plan((("a", 1, ()), ("a", -1, ())), (), 0, None, ())
_keys = st.sampled_from(["person:1", "person:2", "record:1"])
_event = st.one_of(
    st.just((None, 0, ())),
    st.tuples(
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from([0, 0, 0, 0, 0, 1, -1]),
        st.lists(_keys, unique=True, max_size=2).map(tuple),
    ),
)
_plan = st.builds(
    Plan,
    events=st.lists(_event, min_size=1, max_size=4).map(tuple),
    guards=st.lists(_keys, max_size=3).map(tuple),
    behind=st.sampled_from([0, 0, 0, 1, 2, 5]),
    until=st.sampled_from([None, None, None, None, FAR_OFF, LONG_AGO]),
    once=st.lists(st.sampled_from([b"x", b"y"]), unique=True, max_size=1).map(tuple),
)
_batches = st.lists(st.lists(_plan, min_size=1, max_size=7), min_size=1, max_size=4)


def drawn_up(plan: Plan, model: Model, prefix: str) -> Group:
    """Return the group of ``plan``, as one who has read the log so far would make it."""
    events: list[Event] = []
    next_version: dict[str, int] = {}
    for stream, off, touches in plan.events:
        if stream is None:
            events.append(read())
            continue
        name = f"person:{prefix}.{stream}"
        version = next_version.get(name, len(model.streams.get(name, ())) + 1)
        next_version[name] = version + 1
        events.append(fact(name, max(version + off, 0), *(f"{prefix}:{t}" for t in touches)))
    return Group(
        events,
        at=max(model.length - 1 - plan.behind, -1),
        guards=[f"{prefix}:{key}" for key in plan.guards],
        valid_until=plan.until,
        once=[prefix.encode() + key for key in plan.once],
    )


def sensible(group: Group) -> bool:
    """Whether no stream is given one version twice in it, which only a broken caller does."""
    pairs = [(e.stream, e.version) for e in group.events if e.stream is not None]
    return len(set(pairs)) == len(pairs)


async def offered(connection: asyncpg.Connection, groups: Sequence[Group]) -> list[tuple[int, int]]:
    """Offer ``groups`` as one call, and return its answers."""
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    entries = [Entry(g, bodies_of(g), future, 0.0) for g in groups]
    row = await connection.fetchrow(APPEND, *arguments(entries))
    assert row is not None
    return list(zip(row["status"], row["at"], strict=True))


def test_the_log_answers_as_its_model_does(request: pytest.FixtureRequest) -> None:
    """Any batches of groups, guards, touches, versions, once-keys and ends, however entangled."""
    runner = asyncio.Runner()
    loop_connection: list[asyncpg.Connection] = []
    url = request.getfixturevalue("installation").server.url
    numbers = iter(range(1_000_000))

    async def check(batches: list[list[Plan]]) -> None:
        connection, prefix = loop_connection[0], f"e{next(numbers)}"
        model = Model(length=await connection.fetchval("select count(*) from log.event"))
        for batch in batches:
            groups = [g for g in (drawn_up(p, model, prefix) for p in batch) if sensible(g)]
            if not groups:
                continue
            answers = await offered(connection, groups)
            for group, (status, at) in zip(groups, answers, strict=True):
                expected, positions = model.offer(group)
                assert status == expected
                assert at in positions
        stored = await connection.fetchrow("select count(*), max(position) from log.event")
        assert stored is not None
        assert stored["count"] == model.length
        assert stored["max"] in {model.length - 1, None}

    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    @given(_batches)
    @example([[VERSIONS_BACKWARDS]])
    def examples(batches: list[list[Plan]]) -> None:
        runner.run(check(batches))

    async def open_connection() -> asyncpg.Connection:
        connection = await asyncpg.connect(url)
        await connection.execute("set session authorization casewarden_authz")
        return connection

    with runner:
        loop_connection.append(runner.run(open_connection()))
        examples()
        runner.run(loop_connection[0].close())


@pytest.fixture
async def authz_log(pools: Pools) -> Log:
    log = Log(await pools(Service.AUTHZ), Service.AUTHZ)
    log.start()
    return log


async def test_no_acknowledged_read_has_its_revocation_between_its_facts_and_itself(  # noqa: C901 - told at once
    pools: Pools, connect: Connect
) -> None:
    """SG-10, fresh or refused: readers race revocations, in processes and roles of their own."""
    writer = Log(await pools(Service.AUTHZ), Service.AUTHZ)
    readers = [Log(await pools(Service.CASES, size=1), Service.CASES) for _ in range(6)]
    for each in (writer, *readers):
        each.start()
    watch = await connect(Service.CASES)
    ending, at_of = asyncio.Event(), dict[UUID, tuple[int, str]]()
    stale = 0

    async def revoke() -> None:
        versions = dict.fromkeys(range(3), 0)
        for _ in range(100):
            person = random.randrange(3)
            versions[person] += 1
            key = f"person:{person}"
            at = await writer.append(Group([fact(f"person:race-{person}", versions[person], key)]))
            with pytest.raises(Stale) as refused:
                await readers[0].append(Group([read(Service.CASES)], at=at - 1, guards=[key]))
            assert refused.value.position == at
            await asyncio.sleep(0.01)
        ending.set()

    async def look(log: Log) -> None:
        nonlocal stale
        while not ending.is_set():
            key = f"person:{random.randrange(3)}"
            at = await watch_head()
            await asyncio.sleep(random.random() / 100)
            event = read(Service.CASES)
            try:
                await log.append(Group([event], at=at, guards=[key, "nobody"]))
            except Stale:
                stale += 1
            else:
                at_of[event.id] = (at, key)

    lock = asyncio.Lock()

    async def watch_head() -> int:
        async with lock:
            return int(await watch.fetchval("select coalesce(max(position), -1) from log.event"))

    await asyncio.gather(revoke(), *(look(log) for log in readers for _ in range(3)))
    for each in (writer, *readers):
        await each.stop()

    recorded = await read_all(watch, -1, 1_000_000)
    touched: dict[str, list[int]] = {}
    for r in recorded:
        for key in r.event.touches:
            touched.setdefault(key, []).append(r.position)
    position_of = {r.event.id: r.position for r in recorded}
    for event_id, (at, key) in at_of.items():
        between = [p for p in touched.get(key, ()) if at < p < position_of[event_id]]
        assert not between
    assert at_of
    assert stale


async def test_an_end_is_compared_with_the_databases_clock_once_the_lock_is_held(
    authz_log: Log, connect: Connect
) -> None:
    """A decision that ran out while it waited is refused, whatever the service's clock says."""
    owner = await connect(None)
    now = await owner.fetchval("select clock_timestamp()")
    with pytest.raises(Expired):
        await authz_log.append(Group([read()], valid_until=now))
    assert await authz_log.append(Group([read()], valid_until=now + timedelta(minutes=1))) == 0

    soon = await owner.fetchval("select clock_timestamp()") + timedelta(seconds=0.3)
    async with owner.transaction():
        await owner.execute("select pg_advisory_xact_lock(7233001, 1)")
        waiting = asyncio.create_task(authz_log.append(Group([read()], valid_until=soon)))
        await asyncio.sleep(0.4)
    with pytest.raises(Expired):
        await waiting
    await authz_log.stop()


async def test_a_touch_earlier_in_the_same_batch_makes_a_later_group_stale(
    connect: Connect,
) -> None:
    authz = await connect(Service.AUTHZ)
    revoking = Group([fact("person:1", 1, "person:1")])
    before, after = (Group([read()], guards=["person:1"]) for _ in range(2))
    answers = await offered(authz, [before, revoking, after])
    assert answers == [(OK, 0), (OK, 1), (STALE, 1)]


async def test_a_guard_that_nothing_ever_touched_is_fresh(authz_log: Log) -> None:
    assert await authz_log.append(Group([read()], guards=["never:touched"] * 3)) == 0
    await authz_log.stop()
