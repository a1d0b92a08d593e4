"""Appends through the public call against a raw multi-row INSERT and against ``eventsourcing``.

The same bodies everywhere: events of about a kilobyte that carry one sealed text. Ours are made,
sealed, encoded, guarded by four keys each and offered concurrently; the others are handed bytes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import perf_counter
from typing import Any, Final, cast
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import asyncpg
import uvloop
from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore

from services.cases import events as cases
from services.kernel.events import Actor, Event, Ground, ObjectRef, Origin, Service, encode
from services.kernel.groups import Group, bodies_of
from services.kernel.runtime import Installation, Runtime
from services.kernel.sealing import Compartment, KeyRef
from tests.bench import place
from tests.bench.results import Results, middle

_BATCH: Final = 100
_GUARDS: Final = 4
_TEXT: Final = "Rang the whānau at nine; the bus no longer stops there. " * 4
_WRITERS: Final = (1, 16, 48)
_RAW: Final = (
    "insert into raw_event (position, id, type, body)"
    " select * from unnest($1::bigint[], $2::uuid[], $3::text[], $4::bytea[])"
)
#: the shape of ``log.event``: partitioned, its primary key, and bodies that are not compressed
_TABLE: Final = """
create table raw_event (
    position bigint not null, id uuid not null, type text not null, body bytea not null,
    primary key (position)
) partition by range (position);
create table raw_event_0 partition of raw_event for values from (0) to (5000000);
alter table raw_event_0 alter column body set storage external;
"""


class _Ours:
    """Makes and appends events as a request does."""

    def __init__(self, runtime: Runtime, student_id: UUID) -> None:
        self._runtime = runtime
        self._ref = KeyRef(student_id, Compartment.RECORD)
        self._places = [uuid4() for _ in range(60)]

    async def prepare(self) -> None:
        await self._runtime.keys.load([self._ref], create=True)

    def event(self) -> Event:
        effects, keys = self._runtime.effects, self._runtime.keys
        event_id = effects.new_id()
        return Event(
            id=event_id,
            type=cases.READ,
            recorded_at=effects.now(),
            actor=Actor(person_id=event_id, organisation_id=self._ref.subject),
            origin=Origin(request_id=str(event_id), session_id=event_id),
            action="read",
            grounds=(Ground(event_id, "asp_case_manager", "AC-SEE-9", ("overview", "items")),),
            policy_version="0123456789abcdef",
            student_id=self._ref.subject,
            object=ObjectRef("case", str(event_id)),
            # as a request has them: encoded, an id and its text are the same bytes
            shown=cast("Mapping[str, Sequence[str]]", {"items": self._places[:3]}),
            data={"text": keys.seal(self._ref, event_id, "text", _TEXT)},
        )

    def group(self) -> Group:
        event = self.event()
        return Group([event], 1 << 40, _guards(event))

    async def make(self) -> None:
        """Make as many events, sealed and encoded, and append none of them."""
        for _ in range(_BATCH):
            bodies_of(self.group())

    async def append(self) -> None:
        await self._runtime.log.append(self.group())

    async def batch(self) -> None:
        """Append them as independent groups, each with an answer of its own."""
        await asyncio.gather(*(self.append() for _ in range(_BATCH)))

    async def unit(self) -> None:
        """Append as many events under as many guards as one group, which lands or fails whole."""
        events = [self.event() for _ in range(_BATCH)]
        guards = [guard for event in events for guard in _guards(event)]
        await self._runtime.log.append(Group(events, 1 << 40, guards))


def _guards(event: Event) -> list[str]:
    text = str(event.id)
    return [f"record:{text}:{n}" for n in range(_GUARDS)]


class _Raw:
    """Inserts the same bytes with one statement."""

    def __init__(self, connection: asyncpg.Connection, events: Sequence[Event]) -> None:
        self._connection = connection
        self._events = events
        self._bodies = [encode(event) for event in events]
        self._next = 0

    async def batch(self) -> None:
        positions = list(range(self._next, self._next + _BATCH))
        self._next += _BATCH
        ids = [event.id for event in self._events]
        types = [event.type for event in self._events]
        await self._connection.execute(_RAW, positions, ids, types, self._bodies)


class _Recorder:
    """Inserts the same bytes with the recorder of ``eventsourcing``, by its faster way."""

    def __init__(self, url: str, bodies: Sequence[bytes], *, functions: bool) -> None:
        parts = urlsplit(url)
        host = parse_qs(parts.query)["host"][0]
        self._datastore = PostgresDatastore(
            parts.path[1:], host, 5432, parts.username or "", "", enable_db_functions=functions
        )
        self._recorder = PostgresApplicationRecorder(
            self._datastore, events_table_name=f"stored_{'functions' if functions else 'plain'}"
        )
        self._recorder.create_table()
        self._bodies = bodies

    async def batch(self) -> None:
        """Insert all of them in one call, as one unit."""
        stored = [StoredEvent(uuid4(), 1, "cases:Read", body) for body in self._bodies]
        self._recorder.insert_events(stored)

    async def units(self) -> None:
        """Insert each in a call of its own, as the library does for what it saves one by one."""
        for body in self._bodies:
            self._recorder.insert_events([StoredEvent(uuid4(), 1, "cases:Read", body)])

    def close(self) -> None:
        self._datastore.close()


def measure(results: Results, installation: Installation, *, quick: bool) -> None:
    """Measure throughput against the peers, and latency by writers, into ``results``."""
    uvloop.run(_measure(results, installation, 6 if quick else 24, 1.0 if quick else 3.0))


async def _measure(
    results: Results, installation: Installation, rounds: int, seconds: float
) -> None:
    owner = await asyncpg.connect(installation.server.url)
    await owner.execute("create schema if not exists bench; set search_path = bench")
    await owner.execute(_TABLE)
    async with place.appender(installation, Service.CASES) as runtime:
        ours = _Ours(runtime, uuid4())
        await ours.prepare()
        events = [ours.event() for _ in range(_BATCH)]
        raw = _Raw(owner, events)
        bodies = [encode(event) for event in events]
        url = installation.server.url
        recorders = [_Recorder(url, bodies, functions=way) for way in (False, True)]
        print(f"append: events of {len(bodies[0]):,} bytes, {_GUARDS} guards, {_BATCH} at a time")
        sides: dict[str, Callable[[], Awaitable[None]]] = {
            "ours": ours.batch,
            "unit": ours.unit,
            "made": ours.make,
            "raw": raw.batch,
            "plain": recorders[0].batch,
            "functions": recorders[1].batch,
            "plain_units": recorders[0].units,
            "functions_units": recorders[1].units,
        }
        rates = await _interleaved(sides, rounds)
        results.figure("append_events_per_s", rates["ours"], "events/s")
        results.figure("append_made_per_s", rates["made"], "events/s, not appended")
        results.ratio("append_vs_raw_insert", rates["ours"], rates["raw"], "events/s")
        results.ratio("append_vs_raw_insert_one_unit", rates["unit"], rates["raw"], "events/s")
        for name, side, ways in (
            ("append_vs_eventsourcing", "ours", ("plain_units", "functions_units")),
            ("append_vs_eventsourcing_one_unit", "unit", ("plain", "functions")),
        ):
            best = max(rates[way] for way in ways)
            results.ratio(name, rates[side], best, "events/s")
        for recorder in recorders:
            recorder.close()
        await _latencies(results, ours, seconds, "")
        await asyncio.to_thread(_slow, installation, 4000)
        await _latencies(results, ours, seconds, "_4ms")
        await asyncio.to_thread(_slow, installation, 0)
    await owner.close()


def _slow(installation: Installation, microseconds: int) -> None:
    asyncio.run(place.set_delay(installation, microseconds))


async def _interleaved(
    sides: dict[str, Callable[[], Awaitable[None]]], rounds: int
) -> dict[str, float]:
    """Return events a second of each side: the median of rounds of five batches."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, batch in sides.items():
            began = perf_counter()
            for _ in range(5):
                await batch()
            if number:
                taken[name].append(5 * _BATCH / (perf_counter() - began))
    return {name: middle(values) for name, values in taken.items()}


async def _latencies(results: Results, ours: _Ours, seconds: float, suffix: str) -> None:
    for writers in _WRITERS:
        taken: list[float] = []
        until = perf_counter() + seconds
        await asyncio.gather(*(_writer(ours, until, taken) for _ in range(writers)))
        taken.sort()
        for share in (50, 99):
            value: Any = taken[len(taken) * share // 100] * 1000
            results.figure(f"append_p{share}_ms_{writers}_writers{suffix}", value, "ms")


async def _writer(ours: _Ours, until: float, taken: list[float]) -> None:
    while (began := perf_counter()) < until:
        await ours.append()
        taken.append(perf_counter() - began)
