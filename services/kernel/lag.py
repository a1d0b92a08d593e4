"""How far the projections of one projector are, and how far behind, as gauges.

While the database is away nothing is folded and nobody knows the head: the lag then grows with the
time since the last fold that went well.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from services.kernel import telemetry


@dataclass(frozen=True, slots=True)
class FoldProgress:
    """How far a fold has come: how many positions of the log are folded, and are still to be."""

    folded: int = 0
    to_fold: int = 0


class Lag:
    """The gauges of some projections, by their names."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._seconds = 0.0
        self._folded_at: float | None = None
        self.progress = FoldProgress()

    def folded(self, position: int, head: int, age: timedelta | None) -> None:
        """Say that ``position`` is folded, and its ``age``; ``None`` when no more is to come."""
        seen = head if age is None else position
        self.progress = FoldProgress(seen + 1, head - seen)
        self._seconds = 0.0 if age is None else max(0.0, age.total_seconds())
        self._folded_at = asyncio.get_running_loop().time()
        for name in self._names:
            telemetry.PROJECTION_POSITION.labels(name).set(position)
            telemetry.PROJECTION_LAG_EVENTS.labels(name).set(self.progress.to_fold)
            telemetry.PROJECTION_LAG_SECONDS.labels(name).set(self._seconds)
            telemetry.PROJECTION_STOPPED.labels(name).set(0)
        telemetry.LOG_POSITION.set(head)

    def away(self) -> None:
        """Say that the log cannot be read: what is folded may be as old as the last time it was."""
        now = asyncio.get_running_loop().time()
        if self._folded_at is None:
            self._folded_at = now
        for name in self._names:
            seconds = self._seconds + now - self._folded_at
            telemetry.PROJECTION_LAG_SECONDS.labels(name).set(seconds)

    def stopped(self) -> None:
        """Say that a fold has stopped."""
        for name in self._names:
            telemetry.PROJECTION_STOPPED.labels(name).set(1)
