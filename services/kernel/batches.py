"""The next batch of the log, folded: everything of it in one transaction with the positions.

Owns the transaction of a fold: the rows that hold the positions are locked first, so one process
folds at a time; nothing is appended in it. What cannot be folded is singled out, and everything
before it folded. Never waits, never begins by itself and never decides what a failure means: that
is :mod:`services.kernel.projector`, whose turn each batch is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import asyncpg

from services.kernel.database import passes
from services.kernel.event_types import UnknownEvent
from services.kernel.events import CorruptEvent, Recorded
from services.kernel.intake import Intake, decode_envelope
from services.kernel.lag import Lag
from services.kernel.projection import Connection, Projection
from services.kernel.reading import rows_of_all, rows_of_facts

_BATCH: Final = 500
#: while more than a batch is to come: a record that several events change is written once
_CATCHING_UP: Final = 1_000


class Unfoldable(Exception):  # noqa: N818 - a state of the world, not of the code
    """The fold of one event raised; the message names its position and type, never content."""


@dataclass(frozen=True, slots=True)
class Folded:
    """What a batch came to: how many events it had, and whether more are to come."""

    count: int
    #: of the last event folded, as the projections hold it
    position: int
    #: the position up to which nothing is left to fold
    seen: int
    behind: bool


async def _fold(projection: Projection, connection: Connection, batch: Sequence[Recorded]) -> None:
    try:
        await projection.fold(connection, batch)
    except Exception as error:
        if passes(error) or len(batch) > 1 or isinstance(error, UnknownEvent):
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


class Batches:
    """Folds the projections of one service, a batch at a time."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        schema: str,
        projections: Sequence[Projection],
        intake: Intake,
        lag: Lag,
        *,
        observations: bool,
    ) -> None:
        self._pool = pool
        self._schema = schema
        self._projections = projections
        self._intake = intake
        self._read = rows_of_all if observations else rows_of_facts
        self._lag = lag
        self._behind = False

    async def fold(self) -> Folded:
        """Fold the next batch; when it cannot be, all before the event that cannot, and raise.

        Raises what the fold or the database did; :class:`Unfoldable` for the fold of one event,
        :class:`UnknownEvent` also for a log that is shorter than what was folded of it.
        """
        limit = _CATCHING_UP if self._behind else _BATCH
        try:
            return await self._fold(limit)
        except Exception as error:
            if passes(error):
                raise
        # what cannot be folded is among the next ``limit``, each time
        while limit > 1:
            limit = (limit + 1) // 2
            try:
                await self._fold(limit)
            except Exception as error:
                if passes(error):
                    raise
        return await self._fold(1)

    async def _fold(self, limit: int) -> Folded:
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute("set local synchronous_commit = off")
            names = [projection.name for projection in self._projections]
            positions = await self._locked(connection, names)
            after = min(positions[name] for name in names)
            head, now = await connection.fetchval(
                "select (coalesce(max(position), -1), clock_timestamp()) from log.event"
            )
            batch = await self._read(connection, after, limit)
            if head < max(positions.values()):
                msg = "the log is shorter than its projection"
                raise UnknownEvent(msg)
            position = batch[-1]["position"] if batch else after
            if batch:
                taken = self._intake.take((row["position"], row["body"]) for row in batch)
                await self._apply(connection, taken, positions, position)
        self._behind = behind = len(batch) == limit
        self._lag.folded(position, head, _age(batch, now) if behind else None)
        return Folded(len(batch), position, position if behind else head, behind)

    async def _locked(self, connection: Connection, names: Sequence[str]) -> dict[str, int]:
        """Return the positions of these projections; nobody else folds them meanwhile."""
        rows = await connection.fetch(
            f"select name, position from {self._schema}.projection where name = any($1)"
            " order by name for update",
            names,
        )
        return {row["name"]: row["position"] for row in rows}

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

    async def empty(self, names: Sequence[str]) -> None:
        """Empty the projections called ``names``: they are folded from the log's start."""
        async with self._pool.acquire() as connection, connection.transaction():
            # First the rows that a fold elsewhere holds, so that nothing it writes is left behind.
            await self._locked(connection, names)
            for projection in self._projections:
                for table in projection.tables if projection.name in names else ():
                    await connection.execute(f"delete from {table}")
            await connection.execute(
                f"update {self._schema}.projection set position = -1 where name = any($1)", names
            )
