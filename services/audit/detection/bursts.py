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
from typing import Final, Generic, TypeVar
from uuid import UUID

import msgspec

from services.audit.detection.shares import Share, share_of
from services.audit.detection.signals import MOST_EVIDENCE, Signal

WINDOW: Final = timedelta(minutes=15)
_STRAY: Final = timedelta(days=1)
_KEPT: Final = 2 * WINDOW

# Bursts remembered at a time; beyond that those quiet the longest go first.
MOST_BURSTS: Final = 50_000
SWEEP_EVERY: Final = 1024


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


class Bursts(msgspec.Struct, Generic[B]):
    """The memory of a rule: bursts by what they are of, and failures until the next sweep."""

    by_key: dict[str, B] = msgspec.field(default_factory=dict)
    until_sweep: int = SWEEP_EVERY


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


def failed(bursts: Bursts[B], key: str, signal: Signal, kind: type[B]) -> B | None:
    """Count a failure into the burst of ``key`` it belongs to; None when it comes too late."""
    _sweep(bursts, signal.occurred_at)
    burst = _current(bursts.by_key, key, signal, kind)
    if burst is not None:
        _add(burst, signal)
    return burst


def _current(bursts: dict[str, B], key: str, signal: Signal, kind: type[B]) -> B | None:
    at = signal.occurred_at
    burst = bursts.get(key)
    where = Place.AFRESH if burst is None else place(burst, at)
    if where is Place.LATE:
        return None
    if burst is None or where is Place.AFRESH:
        burst = bursts[key] = kind(first=signal.event_id, started=at, last=at)
    return burst


def _add(burst: Burst, signal: Signal) -> None:
    """Count a failure in, and keep its id while there is room."""
    at = signal.occurred_at
    if at > burst.last:
        burst.last = at
    elif at < burst.started:
        burst.started = at
    burst.failures += signal.count
    burst.events += 1
    share = share_of(burst.shares, signal.organisation_id)
    share.failures += signal.count
    share.events += 1
    if len(burst.evidence) < MOST_EVIDENCE:
        burst.evidence.append(signal.event_id)


def add_login(burst: Burst, signal: Signal) -> bool:
    """Count in a login that followed within the burst; whether it should be reported."""
    if place(burst, signal.occurred_at) is not Place.WITHIN:
        return False
    burst.login_count += 1
    share_of(burst.shares, signal.organisation_id).logins += 1
    if len(burst.logins) < MOST_EVIDENCE:
        burst.logins.append(signal.event_id)
    if not doubled(burst.login_count, burst.logins_reported):
        return False
    burst.logins_reported = burst.login_count
    return True


def doubled(count: int, reported: int) -> bool:
    """Report at once, then at every doubling: a long burst says so in a handful of findings."""
    return count >= max(1, 2 * reported)


def _sweep(bursts: Bursts[B], at: datetime) -> None:
    """Now and then drop the bursts that are over: so rarely that it costs next to nothing each."""
    bursts.until_sweep -= 1
    if bursts.until_sweep <= 0:
        bursts.by_key = _living(bursts.by_key, at)
        bursts.until_sweep = max(SWEEP_EVERY, len(bursts.by_key))


def _living(bursts: dict[str, B], at: datetime) -> dict[str, B]:
    kept = {k: b for k, b in bursts.items() if at - _KEPT <= b.last <= at + _STRAY}
    if len(kept) <= MOST_BURSTS:
        return kept
    newest = sorted(kept, key=lambda key: (kept[key].last, key), reverse=True)[:MOST_BURSTS]
    return {key: kept[key] for key in newest}
