"""Projections: named read models, folded from the log, resumable, and rebuilt at will.

Place in the flow: ``append -> projection``, and back to the reader by position only. A
:class:`Projector` folds all projections of one service in order, in transactions that also move
their positions; any number of processes may run one, the row lock on the position lets one fold
at a time. It never appends inside a fold.

A fold that meets a fact it does not know, or raises, or finds the log shorter than what it folded,
stops, its service answers 503, and ``casewarden_projection_stopped`` says so. It never skips; it
looks again every few seconds, and goes on when a build that knows more folded the event, or when
the owner of the log set its position aside (docs/decisions/0013).
"""

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

import asyncpg
import structlog

from services.kernel.background import ended
from services.kernel.database import CONNECTION_ERRORS
from services.kernel.errors import Problem, Unavailable
from services.kernel.events import CorruptEvent, Recorded, Registry, UnknownEvent, decode
from services.kernel.intake import NO_STREAM, Decode, Intake, decode_envelope
from services.kernel.lag import Lag
from services.kernel.reading import listening, rows_of_all, rows_of_facts

_BATCH: Final = 500
#: while more than a batch is to come: a record that several events change is written once
_CATCHING_UP: Final = 1_000
_POLL_S: Final = 0.25
_PAUSE_S: Final = 0.005
#: how long it stands still before it looks again
_STOPPED_S: Final = 2.0
_PASSING: Final = (
    *CONNECTION_ERRORS,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.QueryCanceledError,
    Unavailable,
)
_logger = structlog.get_logger(__name__)

Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy


class Unfoldable(Exception):  # noqa: N818 - a state of the world, not of the code
    """The fold of one event raised; the message names its position and type, never content."""


class Projection(Protocol):
    """A read model: a name, the tables it owns, and its fold."""

    name: str
    #: tables it owns, which a rebuild empties (``schema.table``)
    tables: Sequence[str]

    def wants(self, type_: str, kind: str) -> bool:
        """Say whether it folds events of ``type_`` in streams of ``kind``, ``-`` for no stream.

        A kind is what the name of a stream begins with, up to the colon. What it does not want it
        is not given. The answer is always the same.
        """

    async def fold(self, connection: Connection, batch: Sequence[Recorded]) -> None:
        """Apply ``batch``, in order, through ``connection``. The same batch gives the same rows."""


def _passes(error: Exception) -> bool:
    """Say whether ``error`` goes away by itself; any other one would meet the same event again.

    A value that the protocol cannot carry is an ``InterfaceError`` too, and a ``ValueError``.
    """
    return isinstance(error, _PASSING) and not isinstance(error, ValueError)


async def _fold(projection: Projection, connection: Connection, batch: Sequence[Recorded]) -> None:
    try:
        await projection.fold(connection, batch)
    except Exception as error:
        if _passes(error) or len(batch) > 1 or isinstance(error, UnknownEvent):
            raise
        where = f"position {batch[0].position} ({batch[0].event.type}) in {projection.name}"
        raise Unfoldable(f"{where}: {type(error).__name__}") from error


def _age(batch: Sequence[asyncpg.Record], now: datetime) -> timedelta:
    """Return how old the last event of ``batch`` is, wanted or not; zero when nobody can tell."""
    try:
        last = decode_envelope(batch[-1]["position"], batch[-1]["body"])
    except CorruptEvent:
        return timedelta()
    return now - last.event.recorded_at


class Projector:
    """Keeps the projections of one service up to date."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        schema: str,
        registry: Registry,
        projections: Sequence[Projection],
        *,
        observations: bool = False,
        decode_: Decode = decode,
    ) -> None:
        self._pool = pool
        self._schema = schema
        self._registry = registry
        self._intake = Intake(registry, [p.wants for p in projections], decode_)
        self._lag = Lag([p.name for p in projections])
        self._behind = False
        self._projections = projections
        self._observations = observations
        self._turn = asyncio.Lock()
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._seen = -1
        self.stopped: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its projections."""
        return tuple(projection.name for projection in self._projections)

    def start(self) -> None:
        """Begin to follow the log."""
        self._tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._listen())]

    async def stop(self) -> None:
        """Stop following; what is folded stays folded."""
        await ended(*self._tasks)

    def nudge(self) -> None:
        """Say that something was appended."""
        self._wake.set()

    def check(self) -> None:
        """Raise :class:`Unavailable` when a fold has stopped."""
        if self.stopped:
            raise Unavailable

    async def reached(self, position: int, *, within_s: float = 5.0) -> None:
        """Return when every event up to ``position`` is folded; else raise :class:`Unavailable`."""
        self.check()
        try:
            async with asyncio.timeout(within_s):
                while self._seen < position:
                    self.check()
                    if not await self.fold_once(until=position) and self._seen < position:
                        await asyncio.sleep(_PAUSE_S)
        except Problem:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a fold raises stops it
            if not _passes(error):
                self._halt(error)
            raise Unavailable from None

    async def head(self) -> int:
        """Return the position of the newest event of the log, -1 when it is empty."""
        head = await self._pool.fetchval("select coalesce(max(position), -1) from log.event")
        return int(head)

    async def fold_once(self, *, until: int | None = None) -> int:
        """Fold the next batch; return how many events it had.

        None when ``until`` is folded once it is our turn: somebody else did it meanwhile.
        """
        async with self._turn:
            if until is not None and self._seen >= until:
                return 0
            try:
                count, self._seen = await self._fold_or_single_out()
            except BaseException:
                # A server that crashed may have forgotten our last folds: look again.
                self._seen = -1
                raise
            self.stopped = None
            return count

    async def _fold_or_single_out(self) -> tuple[int, int]:
        """Fold the next batch; when it cannot be, all before the event that cannot, and raise."""
        limit = _CATCHING_UP if self._behind else _BATCH
        try:
            return await self._fold_batch(limit)
        except Exception as error:
            if _passes(error):
                raise
        # what cannot be folded is among the next ``limit``, each time
        while limit > 1:
            limit = (limit + 1) // 2
            try:
                await self._fold_batch(limit)
            except Exception as error:
                if _passes(error):
                    raise
        return await self._fold_batch(1)

    async def _fold_batch(self, limit: int) -> tuple[int, int]:
        names = self.names
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute("set local synchronous_commit = off")
            rows = await connection.fetch(
                f"select name, position from {self._schema}.projection where name = any($1)"
                " order by name for update",
                names,
            )
            positions = {row["name"]: row["position"] for row in rows}
            after = min(positions[name] for name in names)
            head, now = await connection.fetchval(
                "select (coalesce(max(position), -1), clock_timestamp()) from log.event"
            )
            read = rows_of_all if self._observations else rows_of_facts
            batch = await read(connection, after, limit)
            if head < max(positions.values()):
                msg = "the log is shorter than its projection"
                raise UnknownEvent(msg)
            position = batch[-1]["position"] if batch else after
            if batch:
                taken = self._intake.take((row["position"], row["body"]) for row in batch)
                await self._apply(connection, taken, positions, position)
        behind = len(batch) == limit
        self._behind = behind
        self._lag.folded(position, head, _age(batch, now) if behind else timedelta())
        return len(batch), position if behind else head

    async def _apply(
        self,
        connection: Connection,
        taken: Sequence[Sequence[Recorded]],
        positions: dict[str, int],
        position: int,
    ) -> None:
        for projection, wanted in zip(self._projections, taken, strict=True):
            mine = [r for r in wanted if r.position > positions[projection.name]]
            if mine:
                await _fold(projection, connection, mine)
        await connection.execute(
            f"update {self._schema}.projection set position = greatest(position, $2)"
            " where name = any($1)",
            list(positions),
            position,
        )

    def folding(self, recorded: Recorded) -> list[str]:
        """Return the names of its projections that fold such an event."""
        type_, stream = recorded.event.type, recorded.event.stream
        if not self._registry.concerns(type_) or not (self._observations or stream):
            return []
        kind = (stream or NO_STREAM).partition(":")[0]
        return [p.name for p in self._projections if p.wants(type_, kind)]

    async def _follow(self) -> None:
        while True:
            try:
                await self.fold_once()
                if not self._behind:
                    await self._pause(_POLL_S)
            except Exception as error:  # noqa: BLE001 - whatever a fold raises stops it
                if not _passes(error):
                    self._halt(error)
                    await asyncio.sleep(_STOPPED_S)
                    continue
                self._lag.away()
                _logger.warning("projection_waiting", error=type(error).__name__)
                await asyncio.sleep(_POLL_S)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        self._wake.clear()

    def _halt(self, error: Exception) -> None:
        # What a database or a decoder says may repeat what it was given.
        known = isinstance(error, UnknownEvent | CorruptEvent | Unfoldable)
        reason = f"{type(error).__name__}: {error}" if known else type(error).__name__
        if reason != self.stopped:
            _logger.error("projection_stopped", reason=reason)
        self.stopped = reason
        self._lag.stopped()

    async def _listen(self) -> None:
        """Wake the follower by NOTIFY while a connection lives; the poll needs none of it."""
        while True:
            with contextlib.suppress(Exception):  # the poll goes on without it
                async with listening(self._pool, self._wake) as connection:
                    while not connection.is_closed():  # noqa: ASYNC110 - a lost one sets no event
                        await asyncio.sleep(1)
            await asyncio.sleep(1)

    async def rebuild(self, names: Sequence[str] = ()) -> int:
        """Empty the projections (those called ``names``, or all) and fold the log from its start.

        Returns the events folded.
        """
        emptied = [p for p in self._projections if not names or p.name in names]
        async with self._turn, self._pool.acquire() as connection, connection.transaction():
            # First the rows that a fold elsewhere holds, so that nothing it writes is left behind.
            await connection.execute(
                f"select from {self._schema}.projection where name = any($1)"
                " order by name for update",
                [p.name for p in emptied],
            )
            self._seen = -1
            for projection in emptied:
                for table in projection.tables:
                    await connection.execute(f"delete from {table}")
            await connection.execute(
                f"update {self._schema}.projection set position = -1 where name = any($1)",
                [p.name for p in emptied],
            )
        folded = 0
        while count := await self.fold_once():
            folded += count
        return folded
