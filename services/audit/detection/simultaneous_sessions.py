"""Rule `simultaneous_sessions` (SG-4): one person is logged in from two places at a time.

An account that two people share looks like this; so does somebody with a telephone beside their
desk: a low finding, once a person and day. Owns the rule and its memory of the sessions that live.
Which of them still do is said by the login itself (authz counts them); where from, by this memory.
In the flow: signals → here → findings.
"""

from datetime import date, datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from services.audit.detection import people
from services.audit.detection.calendar import local_date
from services.audit.detection.signals import (
    SESSION_ENDED,
    SESSION_STARTED,
    Finding,
    Signal,
    login_succeeded,
)
from services.audit.events import Own

NAME: Final = "simultaneous_sessions"
TYPES: Final = frozenset({SESSION_STARTED, SESSION_ENDED})

_KEPT: Final = timedelta(days=2)
_MOST_SESSIONS: Final = 16


class Begun(msgspec.Struct, array_like=True):
    """Where a session began, the event that says so, and for which organisation."""

    session: UUID
    event_id: UUID
    address: str | None
    organisation_id: UUID | None


class Living(msgspec.Struct, omit_defaults=True):
    """The sessions of one person that may live, the newest last; which day was reported."""

    last: datetime
    sessions: list[Begun] = msgspec.field(default_factory=list)
    reported: date | None = None


class State(people.ByPerson[Living]):
    """The sessions, by person."""


def fold(state: State, signal: Signal) -> tuple[State, list[Finding]]:
    """Consumes `state`: use the one returned."""
    who, session = touches(signal), signal.session
    if who is None or session is None:
        return state, []
    if login_succeeded(signal):
        return state, _started(state, who, session, signal)
    living = state.by_person.get(who)
    if signal.type == SESSION_ENDED and living is not None:
        living.sessions = [each for each in living.sessions if each.session != session]
    return state, []


def touches(signal: Signal) -> str | None:
    """Return whose session begins or ends; who ends it may be somebody else."""
    return people.key(signal.about or signal.person_id)


def _started(state: State, who: str, session: UUID, signal: Signal) -> list[Finding]:
    people.sweep(state, signal, _KEPT)
    living = state.by_person.setdefault(who, Living(signal.occurred_at))
    living.last = signal.occurred_at
    beside = living.sessions[-signal.others :] if signal.others else []
    begun = Begun(session, signal.event_id, signal.address, signal.organisation_id)
    living.sessions = [*beside, begun][-_MOST_SESSIONS:]
    elsewhere = [b for b in beside if b.address and b.address != signal.address]
    day = local_date(signal.organisation, signal.occurred_at) if signal.organisation else None
    day = day or signal.occurred_at.date()
    if signal.address is None or not elsewhere or living.reported == day:
        return []
    living.reported = day
    return [_finding(elsewhere, signal, day)]


def _finding(elsewhere: list[Begun], signal: Signal, day: date) -> Finding:
    return Finding(
        rule=NAME,
        key=f"{NAME}:{signal.person_id}:{day.isoformat()}",
        severity="low",
        title="One person logged in from two places at a time",
        person_id=signal.person_id,
        organisation_id=signal.organisation_id,
        occurred_at=signal.occurred_at,
        evidence=(*(begun.event_id for begun in elsewhere), signal.event_id),
        details={"places": _places(elsewhere)},
        own=Own(
            person_id=signal.person_id,
            details={
                "places": _places(
                    [b for b in elsewhere if b.organisation_id == signal.organisation_id]
                )
            },
        ),
    )


def _places(elsewhere: list[Begun]) -> int:
    """Count the places of sessions elsewhere, and the one of this login."""
    return len({begun.address for begun in elsewhere}) + 1
