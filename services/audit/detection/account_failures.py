"""Rule `repeated_failures_account` (SG-9): five failed logins on one account in fifteen minutes.

Owns the rule, its bursts by account, and `failures_then_success` for an account: a login in
such a burst may be the guess that was right. An account is a person, or the keyed digest of
what was typed when there is no such person. In the flow: signals → here → findings.
"""

from datetime import datetime
from typing import Final

import msgspec

from services.audit.detection import bursts
from services.audit.detection.bursts import WINDOW, Burst, Bursts
from services.audit.detection.shares import share_of
from services.audit.detection.signals import (
    FAILED,
    LOGIN_FAILED,
    SESSION_STARTED,
    Finding,
    Signal,
    bounded,
    login_succeeded,
)
from services.audit.events import Own

NAME: Final = "repeated_failures_account"
THEN_SUCCESS: Final = "failures_then_success"
TYPES: Final = frozenset({LOGIN_FAILED, SESSION_STARTED})
THRESHOLD: Final = 5


class AccountBurst(Burst, omit_defaults=True):
    """`recent` are the times in the window, kept until the burst is reported."""

    recent: list[datetime] = msgspec.field(default_factory=list)


class State(Bursts[AccountBurst]):
    """The bursts, by account."""


def fold(state: State, signal: Signal) -> tuple[State, list[Finding]]:
    """Consumes `state`: use the one returned."""
    account = touches(signal)
    if account is None:
        return state, []
    if signal.type == LOGIN_FAILED and signal.outcome == FAILED:
        return state, _failed(state, account, signal)
    if login_succeeded(signal):
        return state, _succeeded(state, account, signal)
    return state, []


def touches(signal: Signal) -> str | None:
    """Return the account whose burst a signal may change."""
    return f"person:{signal.person_id.hex}" if signal.person_id else signal.account


def _failed(state: State, account: str, signal: Signal) -> list[Finding]:
    burst = bursts.failed(state, account, signal, AccountBurst)
    if burst is None or not _due(burst, signal):
        return []
    burst.reported = burst.failures
    burst.recent = []
    return [_finding(burst, signal)]


def _due(burst: AccountBurst, signal: Signal) -> bool:
    if burst.reported:
        return bursts.doubled(burst.failures, burst.reported)
    burst.recent += [signal.occurred_at] * min(signal.count, THRESHOLD)
    burst.recent = [at for at in burst.recent if at >= burst.last - WINDOW]
    return len(burst.recent) >= THRESHOLD


def _succeeded(state: State, account: str, signal: Signal) -> list[Finding]:
    burst = state.by_key.get(account)
    if burst is None or not burst.reported or not bursts.add_login(burst, signal):
        return []
    return [then_success(burst, signal, "account")]


def _finding(burst: AccountBurst, signal: Signal) -> Finding:
    share = share_of(burst.shares, signal.organisation_id)
    return Finding(
        rule=NAME,
        key=f"{NAME}:{burst.first}",
        severity="medium",
        title="Repeated failed logins on one account",
        person_id=signal.person_id,
        organisation_id=signal.organisation_id,
        occurred_at=signal.occurred_at,
        evidence=bounded(burst.evidence),
        evidence_more=burst.events - len(burst.evidence),
        details={"failures": burst.failures},
        own=Own(
            person_id=signal.person_id,
            events=share.events,
            details={"failures": share.failures},
        ),
    )


def then_success(burst: Burst, signal: Signal, burst_of: str) -> Finding:
    """Report a login within a reported burst: one alert a burst, however many logins follow.

    The logins come first in the evidence. The person is the last one who logged in.
    """
    evidence = bounded([*burst.logins, *burst.evidence])
    share = share_of(burst.shares, signal.organisation_id)
    return Finding(
        rule=THEN_SUCCESS,
        key=f"{THEN_SUCCESS}:{burst_of}:{burst.first}",
        severity="high",
        title="A login succeeded after repeated failures",
        person_id=signal.person_id,
        organisation_id=signal.organisation_id,
        occurred_at=signal.occurred_at,
        evidence=evidence,
        evidence_more=burst.login_count + burst.events - len(evidence),
        details={"failures": burst.failures, "logins": burst.login_count, "of": burst_of},
        own=Own(
            person_id=signal.person_id,
            events=share.events + share.logins,
            details={"failures": share.failures, "logins": share.logins, "of": burst_of},
        ),
    )
