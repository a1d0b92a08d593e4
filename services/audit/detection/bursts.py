"""Bursts: failures that follow one another with no quiet gap of fifteen minutes.

Owns what counts as one burst, and forgetting the ones that ended. Knows nothing of accounts,
addresses or alerts. Time comes from signals only. Positions order signals; their times may be
late or wrong:

- a signal up to fifteen minutes before a burst began still joins it;
- an older one is left out, for its own burst is over and forgotten (not detected: that is the
  price of bounded memory);
- one more than a day away says that some clock is or was wrong: the burst begins anew, so that
  one wrong time never blinds a rule for good.
"""

from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Final, TypeVar
from uuid import UUID

import msgspec

from services.audit.detection.signals import MOST_EVIDENCE, Signal

WINDOW: Final = timedelta(minutes=15)
_STRAY: Final = timedelta(days=1)
_KEPT: Final = 2 * WINDOW

# Bursts remembered at a time; beyond that those quiet the longest go first.
MOST_BURSTS: Final = 50_000
SWEEP_EVERY: Final = 1024


class Share(msgspec.Struct, array_like=True):
    """What of a burst is one organisation's."""

    failures: int = 0
    events: int = 0
    logins: int = 0


class Burst(msgspec.Struct):
    """One burst. `first` names it: the event that was folded first. `shares` by organisation."""

    first: UUID
    started: datetime
    last: datetime
    failures: int = 0
    evidence: list[UUID] = msgspec.field(default_factory=list)
    events: int = 0
    reported: int = 0
    logins: list[UUID] = msgspec.field(default_factory=list)
    login_count: int = 0
    logins_reported: int = 0
    shares: dict[UUID, Share] = msgspec.field(default_factory=dict)


B = TypeVar("B", bound=Burst)


class Place(Enum):
    """Where a moment lies, seen from a burst."""

    WITHIN = auto()
    LATE = auto()
    AFRESH = auto()


def place(burst: Burst, at: datetime) -> Place:
    """Exactly fifteen minutes after the last failure is still within; a second more is not."""
    if at > burst.last + WINDOW or at < burst.last - _STRAY:
        return Place.AFRESH
    return Place.WITHIN if at >= burst.started - WINDOW else Place.LATE


def current(bursts: dict[str, B], key: str, signal: Signal, kind: type[B]) -> B | None:
    """Find or begin the burst this failure belongs to; None when it comes too late."""
    at = signal.occurred_at
    burst = bursts.get(key)
    where = Place.AFRESH if burst is None else place(burst, at)
    if where is Place.LATE:
        return None
    if burst is None or where is Place.AFRESH:
        burst = bursts[key] = kind(first=signal.event_id, started=at, last=at)
    return burst


def add(burst: Burst, signal: Signal) -> None:
    """Count a failure in, and keep its id while there is room."""
    at = signal.occurred_at
    if at > burst.last:
        burst.last = at
    elif at < burst.started:
        burst.started = at
    burst.failures += signal.count
    burst.events += 1
    share = share_of(burst, signal)
    share.failures += signal.count
    share.events += 1
    if len(burst.evidence) < MOST_EVIDENCE:
        burst.evidence.append(signal.event_id)


def add_login(burst: Burst, signal: Signal) -> bool:
    """Count in a login that followed within the burst; whether it should be reported."""
    if place(burst, signal.occurred_at) is not Place.WITHIN:
        return False
    burst.login_count += 1
    share_of(burst, signal).logins += 1
    if len(burst.logins) < MOST_EVIDENCE:
        burst.logins.append(signal.event_id)
    if not doubled(burst.login_count, burst.logins_reported):
        return False
    burst.logins_reported = burst.login_count
    return True


def share_of(burst: Burst, signal: Signal) -> Share:
    """Return the share of a signal's organisation; what is of none is in no share."""
    if signal.organisation_id is None:
        return Share()
    return burst.shares.setdefault(signal.organisation_id, Share())


def doubled(count: int, reported: int) -> bool:
    """Report at once, then at every doubling: a long burst says so in a handful of findings."""
    return count >= max(1, 2 * reported)


def until_next_sweep(bursts: dict[str, B]) -> int:
    """How many failures to fold before the next sweep, so that it costs next to nothing each."""
    return max(SWEEP_EVERY, len(bursts))


def swept(bursts: dict[str, B], at: datetime) -> dict[str, B]:
    """Drop the bursts that are over."""
    kept = {k: b for k, b in bursts.items() if at - _KEPT <= b.last <= at + _STRAY}
    if len(kept) <= MOST_BURSTS:
        return kept
    newest = sorted(kept, key=lambda key: (kept[key].last, key), reverse=True)[:MOST_BURSTS]
    return {key: kept[key] for key in newest}
