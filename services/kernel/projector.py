"""The projector: keeps the projections of one service up to date, and says how far they are.

Place in the flow: ``append -> projection``. Whoever appended waits for a position here, and folds
as far as that themselves; otherwise the log is followed, by NOTIFY and by looking. Any number of
processes may run one. It never appends, and never skips what it cannot fold.

A fold that meets a fact it does not know, or raises, or finds the log shorter than what it folded,
stops, its service answers 503, and ``casewarden_projection_stopped`` says so. It looks again every
few seconds, and goes on when a build that knows more folded the event, or when the owner of the log
set its position aside (docs/decisions/0013).
"""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final

import asyncpg
import structlog

from services.kernel.background import ended
from services.kernel.batches import Batches, Unfoldable
from services.kernel.database import passes
from services.kernel.errors import Problem, Unavailable
from services.kernel.event_types import Registry, UnknownEvent
from services.kernel.events import NO_STREAM, CorruptEvent, Recorded, decode
from services.kernel.intake import Decode, Intake
from services.kernel.lag import FoldProgress, Lag
from services.kernel.projection import Projection
from services.kernel.reading import listening

_POLL_S: Final = 0.25
_PAUSE_S: Final = 0.005
#: how long it stands still before it looks again
_STOPPED_S: Final = 2.0
_logger = structlog.get_logger(__name__)


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
        self._registry = registry
        self._projections = projections
        self._observations = observations
        intake = Intake(registry, [p.wants for p in projections], decode_)
        self._lag = Lag(self.names)
        self._batches = Batches(
            pool, schema, projections, intake, self._lag, observations=observations
        )
        self._behind = False
        #: the last position it knows to have been folded; behind it everything is folded anew
        self._mark = -1
        self._anew = False
        self._turn = asyncio.Lock()
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._seen = -1
        self.stopped: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its projections."""
        return tuple(projection.name for projection in self._projections)

    @property
    def folded(self) -> int:
        """The position its rows are known to have stood at: those behind it were emptied since."""
        return self._mark

    @property
    def progress(self) -> FoldProgress:
        """How far it was, and how far it had to go, when it last folded."""
        return self._lag.progress

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

    def check_whole(self) -> None:
        """Raise :class:`Unavailable` when a fold has stopped, or folds anew what it once had."""
        self.check()
        if self._anew:
            raise Unavailable

    async def caught_up(self, *, within_s: float | None = 5.0) -> int:
        """Return the head when the log up to it is folded, whatever was known to be folded before.

        For who would be told that something is not there: elsewhere the rows may have been emptied,
        to be folded anew. Raises :class:`Unavailable` like :meth:`reached`. Does not guarantee that
        they are not emptied the moment after: who must know reads the position with the rows.
        """
        head = await self.head()
        await self.reached(head, within_s=within_s, afresh=True)
        return head

    async def reached(
        self, position: int, *, within_s: float | None = 5.0, afresh: bool = False
    ) -> None:
        """Return when every event up to ``position`` is folded; else raise :class:`Unavailable`.

        Without ``within_s`` however long that takes, while nothing fails. ``afresh`` asks the rows
        themselves how far they are.
        """
        self.check()
        try:
            async with asyncio.timeout(within_s):
                if afresh:
                    await self.fold_once()
                while self._seen < position:
                    self.check()
                    if not await self.fold_once(until=position) and self._seen < position:
                        await asyncio.sleep(_PAUSE_S)
        except Problem:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a fold raises stops it
            if not passes(error):
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
                folded = await self._batches.fold()
            except BaseException:
                # A server that crashed may have forgotten our last folds: look again.
                self._seen = -1
                raise
            self._seen, self._behind = folded.seen, folded.behind
            self._anew = folded.behind and folded.position < self._mark
            self._mark = max(folded.position, self._mark if folded.behind else -1)
            self.stopped = None
            return folded.count

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
                if not passes(error):
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
        async with self._turn:
            self._seen = -1
            await self._batches.empty([n for n in self.names if not names or n in names])
        folded = 0
        while count := await self.fold_once():
            folded += count
        return folded
