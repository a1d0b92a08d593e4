"""Rule `out_of_hours_login` (SG-9): somebody logged in when their organisation is shut.

Owns the rule and its memory of who was already reported for which day. Says nothing about
people whose organisation's hours are not known. In the flow: signals → here → findings.
"""

from datetime import date, timedelta
from typing import Final
from uuid import UUID

import msgspec

from services.audit.detection.calendar import Hours, Reason, local_date, outside
from services.audit.detection.signals import (
    SESSION_STARTED,
    Finding,
    Severity,
    Signal,
    login_succeeded,
)
from services.audit.events import Own

NAME: Final = "out_of_hours_login"
TYPES: Final = frozenset({SESSION_STARTED})

# Days remembered. A login later than that is reported again, under the same key.
REMEMBERED: Final = timedelta(days=3)

_SEVERITY: Final[dict[Reason, Severity]] = {
    Reason.NIGHT: "medium",
    Reason.WEEKEND: "medium",
    Reason.PUBLIC_HOLIDAY: "low",
    Reason.SCHOOL_HOLIDAY: "low",
}


class State(msgspec.Struct):
    """Who was reported, by local date."""

    reported: dict[date, set[UUID]] = msgspec.field(default_factory=dict)


def fold(state: State, signal: Signal) -> tuple[State, list[Finding]]:
    """At most one finding a person and local date. Consumes `state`: use the one returned."""
    hours, person = signal.organisation, signal.person_id
    if hours is None or person is None or not login_succeeded(signal):
        return state, []
    reason = outside(hours, signal.occurred_at)
    if reason is None:
        return state, []
    day = local_date(hours, signal.occurred_at)
    if person in state.reported.get(day, ()):
        return state, []
    _remember(state, day, person)
    return state, [_finding(signal, hours, person, day, reason)]


def touches(signal: Signal) -> date | None:
    """Return the day, where the organisation is, that a signal may be reported for."""
    hours = signal.organisation
    return None if hours is None else local_date(hours, signal.occurred_at)


def _remember(state: State, day: date, person: UUID) -> None:
    """Days far from this one are dropped, on either side: one wrong clock must not stay."""
    state.reported.setdefault(day, set()).add(person)
    for other in [other for other in state.reported if abs(other - day) > REMEMBERED]:
        del state.reported[other]


def _finding(signal: Signal, hours: Hours, person: UUID, day: date, reason: Reason) -> Finding:
    details = {"reason": reason.value, "local_date": day.isoformat(), "kind": hours.kind}
    return Finding(
        rule=NAME,
        key=f"{NAME}:{person}:{day.isoformat()}",
        severity=_SEVERITY[reason],
        title="Login outside the organisation's hours",
        person_id=person,
        organisation_id=signal.organisation_id,
        occurred_at=signal.occurred_at,
        evidence=(signal.event_id,),
        details=details,
        own=Own(person_id=person, details=details),
    )
