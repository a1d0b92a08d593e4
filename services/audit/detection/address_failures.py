"""Rule `repeated_failures_address` (SG-9): failures on eight accounts from one address.

Owns the rule (password spraying, within fifteen minutes), its bursts by address, and
`failures_then_success` for an address. A throttled window says how many failures it stands
for, not whose: it keeps a burst going and counts as failures; forty of them within the window
are reported by themselves, at medium severity, since eight accounts could hide in there. In
the flow: signals → here → findings, which never name the address: their evidence does.
"""

from datetime import datetime
from typing import Final

import msgspec

from services.audit.detection import account_failures, bursts
from services.audit.detection.bursts import WINDOW, Burst, Bursts
from services.audit.detection.signals import (
    FAILED,
    LOGIN_FAILED,
    LOGIN_THROTTLED,
    SESSION_STARTED,
    Finding,
    Signal,
    bounded,
    login_succeeded,
)

NAME: Final = "repeated_failures_address"
TYPES: Final = frozenset({LOGIN_FAILED, LOGIN_THROTTLED, SESSION_STARTED})
THRESHOLD: Final = 8
THROTTLED_THRESHOLD: Final = THRESHOLD * account_failures.THRESHOLD

# Accounts and throttled windows remembered for one address; both thresholds lie far below.
_MOST_ACCOUNTS: Final = 64
_MOST_WINDOWS: Final = 64


class AddressBurst(Burst, omit_defaults=True):
    """`accounts`: when each failed last; `throttled`: when and how many. `sprayed`: ≥ 8 were."""

    accounts: dict[str, datetime] = msgspec.field(default_factory=dict)
    throttled: list[tuple[datetime, int]] = msgspec.field(default_factory=list)
    most_accounts: int = 0
    throttled_total: int = 0
    sprayed: bool = False


class State(Bursts[AddressBurst]):
    """The bursts, by address."""


def fold(state: State, signal: Signal) -> tuple[State, list[Finding]]:
    """Consumes `state`: use the one returned."""
    if signal.address is None:
        return state, []
    if login_succeeded(signal):
        return state, _succeeded(state, signal.address, signal)
    throttled = signal.type == LOGIN_THROTTLED
    if throttled or (signal.type == LOGIN_FAILED and signal.outcome == FAILED):
        return state, _failed(state, signal.address, signal)
    return state, []


def touches(signal: Signal) -> str | None:
    """Return the address whose burst a signal may change."""
    return signal.address


def _failed(state: State, address: str, signal: Signal) -> list[Finding]:
    burst = bursts.failed(state, address, signal, AddressBurst)
    if burst is None:
        return []
    _count(burst, signal)
    if not _due(burst):
        return []
    burst.reported = burst.failures
    return [_finding(burst, signal)]


def _count(burst: AddressBurst, signal: Signal) -> None:
    at, since = signal.occurred_at, burst.last - WINDOW
    if signal.type == LOGIN_THROTTLED:
        burst.throttled_total += signal.count
        burst.throttled = [w for w in burst.throttled if w[0] >= since][1 - _MOST_WINDOWS :]
        burst.throttled.append((at, signal.count))
        return
    account = signal.person_id.hex if signal.person_id else signal.account
    if account is None:
        return
    # Put last again: the order stays that of the latest failure, so the stale ones lead.
    burst.accounts[account] = max(at, burst.accounts.pop(account, at))
    if len(burst.accounts) >= THRESHOLD:
        burst.accounts = {a: t for a, t in burst.accounts.items() if t >= since}
    if len(burst.accounts) > _MOST_ACCOUNTS:
        del burst.accounts[next(iter(burst.accounts))]
    burst.most_accounts = max(burst.most_accounts, len(burst.accounts))


def _due(burst: AddressBurst) -> bool:
    if not burst.sprayed and len(burst.accounts) >= THRESHOLD:
        burst.sprayed = _all_recent(burst)
        if burst.sprayed:
            return True
    if burst.reported:
        return bursts.doubled(burst.failures, burst.reported)
    since = burst.last - WINDOW
    return sum(n for at, n in burst.throttled if at >= since) >= THROTTLED_THRESHOLD


def _all_recent(burst: AddressBurst) -> bool:
    since = burst.last - WINDOW
    return sum(at >= since for at in burst.accounts.values()) >= THRESHOLD


def _succeeded(state: State, address: str, signal: Signal) -> list[Finding]:
    """Only after spraying: where accounts are unknown, everybody behind the address is suspect."""
    burst = state.by_key.get(address)
    if burst is None or not burst.sprayed or not bursts.add_login(burst, signal):
        return []
    return [account_failures.then_success(burst, signal, "address")]


def _finding(burst: AddressBurst, signal: Signal) -> Finding:
    return Finding(
        rule=NAME,
        key=f"{NAME}:{burst.first}",
        severity="high" if burst.sprayed else "medium",
        title="Repeated failed logins from one address",
        person_id=None,
        organisation_id=None,
        occurred_at=signal.occurred_at,
        evidence=bounded(burst.evidence),
        evidence_more=burst.events - len(burst.evidence),
        details={
            "accounts": burst.most_accounts,
            "failures": burst.failures,
            "throttled": burst.throttled_total,
        },
    )
