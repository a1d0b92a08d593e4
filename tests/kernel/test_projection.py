"""Projections: once each, in order, resumed, rebuilt alike, and stopped rather than wrong."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from services.authz import events as authz
from services.authz.directory_fold import Directory
from services.authz.session_events import (
    SESSION_ENDED,
    SESSION_STARTED,
    SIGNING_KEY_ADDED,
    SIGNING_KEY_RETIRED,
    SessionEnded,
    SessionStarted,
    SigningKeyAdded,
    SigningKeyRetired,
)
from services.kernel import batches
from services.kernel.errors import Unavailable
from services.kernel.event_types import EventType, Kind, Registry
from services.kernel.events import Event, Recorded, Service
from services.kernel.groups import Group
from services.kernel.log import Log
from services.kernel.projection import Connection, Projection
from services.kernel.projector import Projector
from tests.conftest import Connect, Pools
from tests.emptied import empty
from tests.kernel.given import NOON, fact, read

TABLES = ("person", "assignment", "organisation", "catchment", "session", "signing_key")


class Folded:
    """A projection that keeps the positions it was given, in the order it was given them."""

    name = "authz.directory"
    tables: Sequence[str] = ("authz.folded",)

    def __init__(self) -> None:
        self.fails: Exception | None = None
        self.slow: Callable[[], Awaitable[object]] | None = None

    def wants(self, _type: str, _stream: str) -> bool:
        return True

    async def fold(self, connection: Connection, batch: Sequence[Recorded]) -> None:
        if self.fails:
            raise self.fails
        if self.slow:
            await self.slow()
        await connection.executemany(
            "insert into authz.folded (position) values ($1)", [(r.position,) for r in batch]
        )


@pytest.fixture
async def owner(connect: Connect) -> asyncpg.Connection:
    connection = await connect(None)
    await connection.execute(
        "create table authz.folded (position bigint primary key, seq serial);"
        " grant usage on sequence authz.folded_seq_seq to casewarden_authz"
    )
    return connection


@pytest.fixture
async def log(pools: Pools) -> AsyncIterator[Log]:
    log = Log(await pools(Service.AUTHZ), Service.AUTHZ)
    log.start()
    yield log
    await log.stop()


@pytest.fixture
def folded() -> Folded:
    return Folded()


Make = Callable[..., Awaitable[Projector]]


@pytest.fixture
async def make(pools: Pools, registry: Registry) -> AsyncIterator[Make]:
    made: list[Projector] = []

    async def make_one(
        folded: Projection, types: Registry = registry, *, observations: bool = False
    ) -> Projector:
        pool = await pools(Service.AUTHZ)
        made.append(Projector(pool, "authz", types, [folded], observations=observations))
        return made[-1]

    yield make_one
    for projector in made:
        await projector.stop()


async def folds(owner: asyncpg.Connection) -> list[int]:
    return [row["position"] for row in await owner.fetch("select * from authz.folded order by seq")]


async def test_facts_are_folded_once_and_in_order_and_observations_left_out(
    owner: asyncpg.Connection, log: Log, folded: Folded, make: Make
) -> None:
    projector = await make(folded)
    projector.start()
    for _ in range(5):
        await log.append(Group([read(), fact()]))
    await projector.reached(9)
    assert await folds(owner) == [1, 3, 5, 7, 9]
    assert await projector.head() == 9


async def test_with_observations_every_event_is_folded(
    owner: asyncpg.Connection, log: Log, folded: Folded, make: Make
) -> None:
    projector = await make(folded, observations=True)
    last = await log.append(Group([read(), fact(), read(), read()]))
    await projector.reached(last + 2)
    assert await folds(owner) == [0, 1, 2, 3]


async def test_reached_is_reached_by_an_observation_at_the_head(
    owner: asyncpg.Connection, log: Log, folded: Folded, make: Make
) -> None:
    """Whoever waits for a position without a fact does not wait for ever."""
    projector = await make(folded)
    await log.append(Group([fact()]))
    await projector.reached(await log.append(Group([read()])))
    assert await folds(owner) == [0]


async def test_whoever_waited_for_a_turn_does_not_fold_again_what_was_folded_meanwhile(
    owner: asyncpg.Connection,
    log: Log,
    folded: Folded,
    make: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Many wait for one position: the first fold is enough for all of them."""
    projector = await make(folded)
    last = await log.append(Group([fact()]))
    folding, times = projector._batches.fold, 0

    async def counted() -> batches.Folded:
        nonlocal times
        times += 1
        return await folding()

    monkeypatch.setattr(projector._batches, "fold", counted)
    await asyncio.gather(*(projector.reached(last) for _ in range(20)))
    assert times == 1
    assert await folds(owner) == [last]


async def test_its_lag_is_the_age_of_what_is_not_folded_yet(
    owner: asyncpg.Connection,
    log: Log,
    folded: Folded,
    make: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batches, "_BATCH", 2)

    def lag() -> float | None:
        name = {"projection": folded.name}
        return REGISTRY.get_sample_value("casewarden_projection_lag_seconds", name)

    projector = await make(folded)
    await log.append(Group([fact() for _ in range(3)]))
    await projector.fold_once()
    age = await owner.fetchval("select extract(epoch from clock_timestamp() - $1)", NOON)
    assert lag() == pytest.approx(float(age), abs=5)
    await projector.fold_once()
    assert lag() == 0


async def test_a_new_projector_resumes_where_the_last_one_was(
    owner: asyncpg.Connection, log: Log, folded: Folded, make: Make
) -> None:
    first = await make(folded)
    await first.reached(await log.append(Group([fact(), fact()])))
    second = await make(folded)
    await second.reached(await log.append(Group([fact()])))
    assert await folds(owner) == [0, 1, 2]


async def test_groups_split_between_batches_are_folded_whole_in_the_end(
    owner: asyncpg.Connection,
    log: Log,
    folded: Folded,
    make: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A guard is the position of its group's last fact: half a group folded is not fresh."""
    monkeypatch.setattr(batches, "_BATCH", 2)
    projector = await make(folded)
    last = await log.append(Group([fact("", 1, "person:1"), fact(), fact()]))
    assert await projector.fold_once() == 2
    at = await owner.fetchval("select position from authz.projection where name = $1", folded.name)
    assert at == 1
    assert at < last == await owner.fetchval("select position from log.guard")
    await projector.reached(last)
    assert (
        await owner.fetchval("select position from authz.projection where name = $1", folded.name)
        == last
    )


async def test_two_projectors_at_once_fold_each_event_once(
    owner: asyncpg.Connection, log: Log, folded: Folded, make: Make
) -> None:
    projectors = [await make(folded) for _ in range(3)]
    for projector in projectors:
        projector.start()
    tasks = [log.append(Group([fact()])) for _ in range(200)]
    last = max(await asyncio.gather(*tasks))
    await asyncio.gather(*(projector.reached(last) for projector in projectors))
    assert await folds(owner) == list(range(200))


@pytest.mark.parametrize("following", [True, False])
async def test_an_unknown_fact_stops_it_and_its_service_is_unavailable(
    owner: asyncpg.Connection, log: Log, folded: Folded, make: Make, *, following: bool
) -> None:
    """A fold never skips; a newer build knows the type."""
    known = Registry([t for t in authz.TYPES if t.name != fact().type])
    projector = await make(folded, known)
    if following:
        projector.start()
    last = await log.append(Group([fact(type=authz.PERSON_SUSPENDED), fact()]))
    with pytest.raises(Unavailable):
        await projector.reached(last)
    assert projector.stopped
    assert fact().type in projector.stopped
    with pytest.raises(Unavailable):
        projector.check()
    with pytest.raises(Unavailable):
        await projector.reached(-1)
    assert "position 1" in projector.stopped
    assert await folds(owner) == [0], "what comes before it is folded"
    assert (
        await owner.fetchval("select position from authz.projection where name = $1", folded.name)
        == 0
    )

    newer = await make(folded)
    await newer.reached(last)
    assert await folds(owner) == [0, 1]


@pytest.mark.parametrize("at", [0, 1, 3, 6])
async def test_all_before_what_cannot_be_folded_is_folded_wherever_it_stands_in_a_batch(
    owner: asyncpg.Connection,
    log: Log,
    folded: Folded,
    make: Make,
    monkeypatch: pytest.MonkeyPatch,
    at: int,
) -> None:
    monkeypatch.setattr(batches, "_BATCH", 7)
    known = Registry([t for t in authz.TYPES if t.name != fact().type])
    projector = await make(folded, known)
    events = [fact(type=authz.PERSON_SUSPENDED) for _ in range(7)]
    events[at] = fact()
    last = await log.append(Group(events))
    with pytest.raises(Unavailable):
        await projector.reached(last)
    assert projector.stopped
    assert f"position {at}:" in projector.stopped
    assert await folds(owner) == list(range(at))


async def test_what_a_projection_does_not_want_moves_it_on_all_the_same(
    owner: asyncpg.Connection, log: Log, folded: Folded, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folded, "wants", lambda type_, _kind: type_ == authz.PERSON_SUSPENDED)
    projector = await make(folded)
    last = await log.append(Group([fact(), fact(type=authz.PERSON_SUSPENDED), fact()]))
    await projector.reached(last)
    assert await folds(owner) == [1]
    at = await owner.fetchval("select position from authz.projection where name = $1", folded.name)
    assert at == last


async def test_its_lag_grows_while_the_database_is_away(
    owner: asyncpg.Connection, log: Log, folded: Folded, make: Make
) -> None:
    """An alert on lag must not see the last good value for as long as nobody can look."""

    def lag() -> float:
        name = {"projection": folded.name}
        return REGISTRY.get_sample_value("casewarden_projection_lag_seconds", name) or 0.0

    projector = await make(folded)
    await projector.reached(await log.append(Group([fact()])))
    assert lag() == 0
    folded.fails = ConnectionError()
    last = await log.append(Group([fact()]))
    projector.start()
    await asyncio.sleep(0.7)
    before = lag()
    await asyncio.sleep(0.7)
    assert lag() > before > 0.2
    folded.fails = None
    await projector.reached(last)
    assert lag() == 0
    assert await folds(owner) == [0, 1]


async def test_a_newer_schema_stops_it_and_an_older_one_is_read_as_todays(
    log: Log, make: Make
) -> None:
    name = fact().type
    seen: list[Event] = []

    class Keeping(Folded):
        async def fold(self, _: Connection, batch: Sequence[Recorded]) -> None:
            seen.extend(r.event for r in batch)

    renamed = EventType(
        name, Service.AUTHZ, Kind.FACT, "t", 2, {1: lambda data: {"who": data["person_id"]}}
    )
    first = await log.append(Group([fact()]))
    await (await make(Keeping(), Registry([renamed]))).reached(first)
    assert [(e.schema, dict(e.data)) for e in seen] == [(2, {"who": str(UUID(int=7))})]

    newer = await log.append(Group([fact(schema=3)]))
    projector = await make(Keeping(), Registry([renamed]))
    with pytest.raises(Unavailable):
        await projector.reached(newer)
    assert projector.stopped
    assert "schema 3" in projector.stopped


async def test_types_of_services_it_does_not_follow_are_passed_over(
    owner: asyncpg.Connection, log: Log, folded: Folded, make: Make, pools: Pools
) -> None:
    cases = Log(await pools(Service.CASES), Service.CASES)
    cases.start()
    projector = await make(folded, Registry(authz.TYPES))
    await cases.append(Group([fact(service=Service.CASES)]))
    await projector.reached(await log.append(Group([fact()])))
    await cases.stop()
    assert await folds(owner) == [1]


@pytest.mark.parametrize("error", [KeyError("x"), ValueError("x"), RuntimeError("x")])
@pytest.mark.parametrize("following", [True, False])
async def test_a_fold_that_raises_stops_it_and_never_appends(
    owner: asyncpg.Connection,
    log: Log,
    folded: Folded,
    make: Make,
    error: Exception,
    *,
    following: bool,
) -> None:
    folded.fails = error
    projector = await make(folded)
    if following:
        projector.start()
    last = await log.append(Group([fact()]))
    with pytest.raises(Unavailable):
        await projector.reached(last)
    with pytest.raises(Unavailable):
        projector.check()
    assert await log.append(Group([fact()])) == last + 1, "a fold that throws stops no append"
    assert await folds(owner) == []


async def test_a_log_shorter_than_the_fold_stops_it(
    owner: asyncpg.Connection, log: Log, folded: Folded, make: Make
) -> None:
    """A restored log must not be folded from its middle."""
    await log.append(Group([fact()]))
    await owner.execute("update authz.projection set position = 7 where name = 'authz.directory'")
    projector = await make(folded)
    with pytest.raises(Unavailable):
        await projector.reached(0)
    assert projector.stopped
    assert "shorter" in projector.stopped


async def test_one_projection_ahead_of_the_log_stops_its_neighbours_too(
    owner: asyncpg.Connection, log: Log, folded: Folded, pools: Pools, registry: Registry
) -> None:
    ahead = Folded()
    ahead.name = "authz.login"
    await owner.execute("update authz.projection set position = 7 where name = 'authz.login'")
    await log.append(Group([fact()]))
    projector = Projector(await pools(Service.AUTHZ), "authz", registry, [folded, ahead])
    with pytest.raises(Unavailable):
        await projector.reached(0)
    assert projector.stopped
    assert await folds(owner) == []


async def test_a_waiter_that_hangs_up_in_mid_fold_breaks_nothing(
    owner: asyncpg.Connection, log: Log, folded: Folded, make: Make
) -> None:
    folded.slow = asyncio.Event().wait
    projector = await make(folded)
    last = await log.append(Group([fact()]))
    waiting = asyncio.create_task(projector.reached(last))
    await asyncio.sleep(0.1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    with pytest.raises(Unavailable):
        await projector.reached(last, within_s=0.1)
    folded.slow = None
    projector.check()
    await projector.reached(last)
    assert await folds(owner) == [0]


async def test_a_position_that_never_comes_is_unavailable_in_time(
    owner: asyncpg.Connection, folded: Folded, make: Make
) -> None:
    projector = await make(folded)
    with pytest.raises(Unavailable):
        await projector.reached(5, within_s=0.1)
    projector.check()
    assert await folds(owner) == []


async def test_it_goes_on_when_all_its_connections_are_killed(
    owner: asyncpg.Connection, log: Log, folded: Folded, make: Make
) -> None:
    """LISTEN hurries it; the poll needs none of it."""
    projector = await make(folded)
    projector.start()
    await projector.reached(await log.append(Group([fact()])))
    await owner.fetch(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where usename = 'casewarden_authz' and datname = current_database()"
    )
    await log.append(Group([fact()]))
    async with asyncio.timeout(3):
        while await folds(owner) != [0, 1]:  # the follower alone
            await asyncio.sleep(0.01)
    projector.check()


async def test_a_rebuild_beside_a_live_projector_gives_the_same(
    owner: asyncpg.Connection, log: Log, folded: Folded, make: Make
) -> None:
    live, other = await make(folded), await make(folded)
    live.start()
    await asyncio.gather(*(log.append(Group([fact()])) for _ in range(50)))
    await other.rebuild()
    last = await log.append(Group([fact()]))
    await live.reached(last)
    assert sorted(await folds(owner)) == list(range(51))


async def test_while_what_was_folded_is_folded_anew_nothing_is_decided(
    owner: asyncpg.Connection,
    log: Log,
    folded: Folded,
    make: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rows that were emptied elsewhere say that what is there is not; a start is no such thing."""
    monkeypatch.setattr(batches, "_BATCH", 2)
    monkeypatch.setattr(batches, "_CATCHING_UP", 2)
    live, other = await make(folded), await make(folded)
    last = await log.append(Group([fact() for _ in range(5)]))
    await live.fold_once()
    live.check_whole()
    await live.reached(last)
    await empty(other)

    await live.fold_once()

    with pytest.raises(Unavailable):
        live.check_whole()
    await live.caught_up()
    live.check_whole()
    assert await folds(owner) == [0, 1, 2, 3, 4]


async def test_catching_up_believes_the_rows_and_not_what_it_knew(
    owner: asyncpg.Connection, log: Log, folded: Folded, make: Make
) -> None:
    live, other = await make(folded), await make(folded)
    await live.reached(await log.append(Group([fact()])))
    await empty(other)
    await live.reached(0)
    assert await folds(owner) == []
    await live.caught_up()
    assert await folds(owner) == [0]


# The directory: any facts of authz, in any order.

_ids = st.sampled_from([UUID(int=n) for n in range(1, 5)])
_when = st.sampled_from([NOON + timedelta(days=n) for n in range(-2, 3)])
_ends = st.one_of(st.none(), _when)
_person = {"person_id": _ids}
Assigned = authz.AssignmentGranted | authz.AssignmentRevoked


def _assigned(payload: Assigned) -> Assigned:
    """Ids of assignments are one person's own, though perhaps given twice."""
    own = UUID(int=payload.person_id.int * 16 + payload.assignment_id.int)
    return msgspec.structs.replace(payload, assignment_id=own)


_facts: dict[str, st.SearchStrategy[Any]] = {
    authz.PERSON_REGISTERED: st.builds(
        authz.PersonRegistered, **_person, profile=st.just("p"), username=st.just("u")
    ),
    authz.PROFILE_CORRECTED: st.builds(authz.ProfileCorrected, **_person, profile=st.just("q")),
    authz.ASSIGNMENT_GRANTED: st.builds(
        authz.AssignmentGranted,
        **_person,
        assignment_id=_ids,
        starts_at=_when,
        ends_at=_ends,
        decision_id=st.none(),
    ).map(_assigned),
    authz.ASSIGNMENT_REVOKED: st.builds(authz.AssignmentRevoked, **_person, assignment_id=_ids).map(
        _assigned
    ),
    authz.PERSON_SUSPENDED: st.builds(authz.PersonSuspended, **_person, reason=st.just("r")),
    authz.PERSON_REINSTATED: st.builds(authz.PersonReinstated, **_person),
    authz.ORGANISATION_REGISTERED: st.builds(
        authz.OrganisationRegistered,
        organisation_id=_ids,
        name=st.sampled_from(["A", "B"]),
        time_zone=st.just("Pacific/Auckland"),
    ),
    authz.CATCHMENT_CHANGED: st.builds(
        authz.CatchmentChanged, provider_id=_ids, school_id=_ids, starts_at=_when, ends_at=_ends
    ),
    SESSION_STARTED: st.builds(
        SessionStarted,
        session_id=_ids,
        **_person,
        organisation_id=st.none(),
        methods=st.just(("password", "totp")),
        expires_at=_when,
        refresh_digest=st.just("d"),
    ),
    SESSION_ENDED: st.builds(
        SessionEnded,
        session_id=_ids,
        **_person,
        reason=st.just("logout"),
        duration_s=st.just(1),
    ),
    SIGNING_KEY_ADDED: st.builds(
        SigningKeyAdded, kid=st.sampled_from(["k", "l"]), public_key=st.just("AAAA")
    ),
    SIGNING_KEY_RETIRED: st.builds(SigningKeyRetired, kid=st.sampled_from(["k", "l"])),
}
_history = st.lists(
    st.sampled_from(sorted(_facts)).flatmap(lambda t: st.tuples(st.just(t), _facts[t])),
    min_size=1,
    max_size=12,
)


def stream_of(type_: str, payload: Any) -> str:  # noqa: ANN401 - any of the payloads
    if type_ in {SESSION_STARTED, SESSION_ENDED}:
        return f"session:{payload.session_id}"
    if hasattr(payload, "person_id"):
        return f"person:{payload.person_id}"
    if type_ == authz.ORGANISATION_REGISTERED:
        return f"organisation:{payload.organisation_id}"
    if type_ == authz.CATCHMENT_CHANGED:
        return f"organisation:{payload.provider_id}"
    return "signing-keys"


def test_the_directory_folds_any_history_and_rebuilds_to_the_same(
    request: pytest.FixtureRequest, registry: Registry
) -> None:
    """Whoever is unknown, ended twice or begun twice: total, and rebuilt equals live."""
    url = request.getfixturevalue("installation").server.url

    async def rows_of(connection: Connection) -> dict[str, list[Any]]:
        return {
            table: sorted(
                map(repr, [tuple(row) for row in await connection.fetch(f"table authz.{table}")])
            )
            for table in TABLES
        }

    async def check(pool: asyncpg.Pool, history: list[tuple[str, Any]], batch: int) -> None:
        log = Log(pool, Service.AUTHZ)
        live = Projector(pool, "authz", registry, [Directory("authz")])
        log.start()
        for type_, payload in history:
            stream = stream_of(type_, payload)
            version = await pool.fetchval(
                "select count(*) + 1 from log.fact where stream = $1", stream
            )
            event = fact(stream, version, type=type_, data=msgspec.to_builtins(payload))
            position = await log.append(Group([event]))
            if position % batch == 0:
                await live.reached(position)
        await log.stop()
        await live.reached(await live.head())
        async with pool.acquire() as connection:
            before = await rows_of(connection)
        await Projector(pool, "authz", registry, [Directory("authz")]).rebuild()
        async with pool.acquire() as connection:
            assert await rows_of(connection) == before

    with asyncio.Runner() as runner:

        async def open_pool() -> asyncpg.Pool:
            pool = await asyncpg.create_pool(
                url, min_size=0, max_size=3, init=_become_authz, reset=_keep
            )
            assert pool is not None
            return pool

        pool = runner.run(open_pool())

        @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
        @given(_history, st.integers(1, 4))
        def examples(history: list[tuple[str, Any]], batch: int) -> None:
            runner.run(check(pool, history, batch))

        examples()
        runner.run(pool.close())


async def _become_authz(connection: Connection) -> None:
    await connection.execute("set session authorization casewarden_authz")


async def _keep(_: Connection) -> None:
    """Leave the session as it is: a reset would give the owner's rights back."""
