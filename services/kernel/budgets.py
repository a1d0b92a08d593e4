"""A budget of refusals per person: being refused is normal, being refused all day is probing.

A token bucket in the memory of one process: a burst of :data:`BURST`, refilled at
:data:`PER_SECOND`. When it is empty the answer is 429 before anything is loaded or appended, so
that nobody who is signed in can fill the log either. Several processes multiply the budget.
"""

from collections import OrderedDict
from datetime import datetime
from typing import Final
from uuid import UUID

from services.kernel.errors import (
    Conflict,
    Forbidden,
    KeyReused,
    NotFound,
    PreconditionFailed,
    PreconditionRequired,
    TooManyRequests,
)

BURST: Final = 5_000
PER_SECOND: Final = 5.0
_PEOPLE: Final = 10_000
#: the refusals that every service records, and so counts
RECORDED: Final = (
    *(KeyReused, NotFound, Forbidden),
    *(PreconditionRequired, PreconditionFailed, Conflict),
)


class RefusalBudget:
    """Counts refusals by person."""

    def __init__(self) -> None:
        self._left: OrderedDict[UUID | str, tuple[float, datetime]] = OrderedDict()

    def check(self, who: UUID | str, now: datetime) -> None:
        """Raise :class:`TooManyRequests` when ``who`` has been refused too often of late."""
        left = self._refilled(who, now)
        if left < 1:
            raise TooManyRequests(retry_after_s=max(1, int((1 - left) / PER_SECOND)))

    def spend(self, who: UUID | str, now: datetime) -> None:
        """Count one refusal of ``who``."""
        self._left[who] = (max(0.0, self._refilled(who, now) - 1), now)
        self._left.move_to_end(who)
        if len(self._left) > _PEOPLE:
            self._left.popitem(last=False)

    def _refilled(self, who: UUID | str, now: datetime) -> float:
        left, since = self._left.get(who, (float(BURST), now))
        return min(float(BURST), left + (now - since).total_seconds() * PER_SECOND)
