"""What a rule remembers by person: bounded, and forgotten when nothing happened for a while.

Owns the shape of such a memory and its sweeping; knows no rule. Time comes from signals only. What
is remembered is dropped on either side of now: one wrong clock must not stay.
"""

from datetime import datetime, timedelta
from typing import Generic, Protocol, TypeVar
from uuid import UUID

import msgspec

from services.audit.detection.bursts import MOST_BURSTS, SWEEP_EVERY
from services.audit.detection.signals import Signal


class Remembered(Protocol):
    """Something about a person, and when it was last added to."""

    last: datetime


R = TypeVar("R", bound=Remembered)


class ByPerson(msgspec.Struct, Generic[R]):
    """The memory of a rule, by person. ``until_sweep`` are signals until the next sweep."""

    by_person: dict[str, R] = msgspec.field(default_factory=dict)
    until_sweep: int = SWEEP_EVERY


def key(person: UUID | None) -> str | None:
    """Return what something about a person is remembered by."""
    return person.hex if person else None


def sweep(state: ByPerson[R], signal: Signal, kept: timedelta) -> None:
    """Now and then drop what is further from now than ``kept``, then the oldest beyond a bound."""
    state.until_sweep -= 1
    if state.until_sweep > 0:
        return
    at = signal.occurred_at
    near = {who: r for who, r in state.by_person.items() if abs(at - r.last) <= kept}
    newest = sorted(near, key=lambda who: (near[who].last, who), reverse=True)[:MOST_BURSTS]
    state.by_person = near if len(near) <= MOST_BURSTS else {who: near[who] for who in newest}
    state.until_sweep = max(SWEEP_EVERY, len(state.by_person))
