"""Rule `account_reset_then_used` (SG-4, SG-9): a login from where somebody else let it in.

Somebody resets another's credentials, or registers a person and gives them their first role; then
that account logs in from the address they did it from: perhaps it is they who log in. Any login
within a day counts, and the first one for as long as an invitation lasts.

After a reset the same address is a low finding (a school has one address, and people who were
reset sit in it), the same browser on it a high one. Somebody new nearly always begins where they
were registered: there only both together count, and they are a medium finding. In the flow:
signals → here → findings, of whom the person is who reset or registered, and the organisation
that of the account; which account it is, is in the evidence.
"""

from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import UUID

import msgspec

from services.audit.detection import people, shares
from services.audit.detection.signals import (
    ASSIGNMENT_GRANTED,
    CREDENTIALS_RESET,
    PERSON_REGISTERED,
    SESSION_STARTED,
    Finding,
    Severity,
    Signal,
    done,
    login_succeeded,
)
from services.audit.events import Own

NAME: Final = "account_reset_then_used"
TYPES: Final = frozenset(
    {CREDENTIALS_RESET, PERSON_REGISTERED, ASSIGNMENT_GRANTED, SESSION_STARTED}
)
DAY: Final = timedelta(days=1)
FIRST_LOGIN: Final = timedelta(days=7)

_RANK: Final[dict[Severity | None, int]] = {None: 0, "low": 1, "medium": 2, "high": 3}


class Handover(msgspec.Struct, omit_defaults=True):
    """An account that somebody else made ready: who, from where, and what came of it.

    `organisation_id` is whom they acted for. `evidence` are their acts; the first names the
    handover. Somebody registered and without a role is not `ready`. `shares` are the logins, by
    organisation.
    """

    by: UUID
    after: Literal["reset", "registration"]
    last: datetime
    evidence: list[UUID]
    address: str | None = None
    device: str | None = None
    ready: bool = True
    logins: int = 0
    reported: Severity | None = None
    organisation_id: UUID | None = None
    shares: dict[UUID, int] = msgspec.field(default_factory=dict)


class State(people.ByPerson[Handover]):
    """The last handover of each account."""


def fold(state: State, signal: Signal) -> tuple[State, list[Finding]]:
    """Consumes `state`: use the one returned."""
    account = touches(signal)
    if account is None:
        return state, []
    if login_succeeded(signal):
        handover = state.by_person.get(account)
        return state, _used(handover, signal) if handover else []
    by = signal.person_id
    if by is None or by == signal.about:
        return state, []
    if done(signal, CREDENTIALS_RESET):
        people.sweep(state, signal, FIRST_LOGIN)
        state.by_person[account] = _begun(signal, by, "reset")
    elif done(signal, PERSON_REGISTERED):
        people.sweep(state, signal, FIRST_LOGIN)
        state.by_person[account] = _begun(signal, by, "registration")
    elif done(signal, ASSIGNMENT_GRANTED):
        _granted(state.by_person.get(account), signal, by)
    return state, []


def touches(signal: Signal) -> str | None:
    """Return the account that somebody let in, or that logs in."""
    return people.key(signal.person_id if login_succeeded(signal) else signal.about)


def _begun(signal: Signal, by: UUID, after: Literal["reset", "registration"]) -> Handover:
    return Handover(
        by=by,
        after=after,
        last=signal.occurred_at,
        evidence=[signal.event_id],
        address=signal.address,
        device=signal.device,
        ready=after == "reset",
        organisation_id=signal.organisation_id,
    )


def _granted(handover: Handover | None, signal: Signal, by: UUID) -> None:
    """Take in a first role given by who registered; by somebody else, two people looked."""
    if handover is None or handover.ready or handover.by != by:
        return
    handover.ready = True
    handover.last = signal.occurred_at
    handover.evidence.append(signal.event_id)


def _used(handover: Handover, signal: Signal) -> list[Finding]:
    handover.logins += 1
    shares.count(handover.shares, signal.organisation_id)
    since = abs(signal.occurred_at - handover.last)
    if since > (FIRST_LOGIN if handover.logins == 1 else DAY):
        return []
    severity = _severity(handover, signal)
    if severity is None or _RANK[severity] <= _RANK[handover.reported]:
        return []
    handover.reported = severity
    return [_finding(handover, signal, severity)]


def _severity(handover: Handover, signal: Signal) -> Severity | None:
    if not handover.ready or handover.address is None or handover.address != signal.address:
        return None
    same_device = handover.device is not None and handover.device == signal.device
    if handover.after == "registration":
        return "medium" if same_device else None
    return "high" if same_device else "low"


def _finding(handover: Handover, signal: Signal, severity: Severity) -> Finding:
    minutes = int(abs(signal.occurred_at - handover.last).total_seconds() // 60)
    return Finding(
        rule=NAME,
        key=f"{NAME}:{handover.evidence[0]}",
        severity=severity,
        title="An account was used from where somebody else let it in",
        person_id=handover.by,
        organisation_id=signal.organisation_id,
        occurred_at=signal.occurred_at,
        evidence=(*handover.evidence, signal.event_id),
        details={"after": handover.after, "minutes": minutes, "logins": handover.logins},
        own=_own(handover, signal, minutes),
    )


def _own(handover: Handover, signal: Signal, minutes: int) -> Own:
    """Name who let the account in, and say when, where they acted for the same organisation."""
    logins = shares.counted(handover.shares, signal.organisation_id)
    details: dict[str, str | int] = {"after": handover.after, "logins": logins}
    if handover.organisation_id != signal.organisation_id:
        return Own(details=details)
    return Own(person_id=handover.by, details={**details, "minutes": minutes})
