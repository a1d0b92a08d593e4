"""The vocabulary of audit: its event types, what their data holds, and the guard keys they touch.

Questions asked of the audit log are events like any other (SG-12). An alert is a stream of facts:
raised, then perhaps updated while what it is about goes on, then resolved. Nothing in these
payloads is about a learner; the note of a resolution is sealed under ``review`` of that alert.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import NAMESPACE_URL, UUID, uuid5

import msgspec

from services.kernel.codes import Code
from services.kernel.event_types import SET_ASIDE, EventType, Kind, Registry
from services.kernel.events import Event, Outcome, Service


class Verdict(Code):
    """What an alert turned out to be."""

    TRUE_POSITIVE = "true_positive"
    FALSE_POSITIVE = "false_positive"
    BENIGN = "benign"


def alert_id(key: str) -> UUID:
    """Return the id of the alert that findings under ``key`` make: the same wherever folded."""
    return uuid5(NAMESPACE_URL, f"casewarden:alert:{key}")


def alert_key(alert: UUID) -> str:
    """Guard key of an alert's state; also the name of its stream."""
    return f"alert:{alert}"


def tells_learner(event: Event) -> bool:
    """Say whether an event tells readers outside the Ministry which learner it is about.

    A refusal does not, nor a list that showed nothing of the learner it was asked for: the one
    would say whether what own staff tried is there, and by neither did anybody see the learner.
    """
    # a list names in ``data.students`` the learners whose records are in ``shown``
    in_vain = "students" in event.data and not event.shown
    return event.outcome is not Outcome.DENIED and not in_vain


class Own(msgspec.Struct, frozen=True, kw_only=True):
    """What of an alert its own organisation's readers are told: own people, and own counts.

    ``events`` counts own events behind it, those left out of the evidence included; or 0.
    """

    person_id: UUID | None = None
    events: int = 0
    details: Mapping[str, str | int] = {}


class AlertRaised(msgspec.Struct, frozen=True, kw_only=True):
    """Detection found something (SG-9, SG-10), or more of it: ``told`` counts its findings.

    Findings under one ``key`` are one alert and the later one says more. ``evidence`` are event
    ids, ``evidence_more`` how many were left out; ``details`` holds counts, dates and codes only.
    ``own`` is what readers at ``organisation_id`` are told in place of person, details and how many
    were left out: nobody and nothing, of an alert from before that was kept.
    """

    alert_id: UUID
    key: str
    told: int
    rule: str
    severity: str
    title: str
    person_id: UUID | None
    organisation_id: UUID | None
    occurred_at: datetime
    evidence: Sequence[UUID]
    evidence_more: int = 0
    details: Mapping[str, str | int] = {}
    own: Own = Own()


class AlertResolved(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody judged an alert. ``note`` is sealed under ``review`` of the alert."""

    alert_id: UUID
    verdict: Verdict
    note: str | None = None


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Which filters a question used, by name only.

    ``clause`` is what a service client asks by, and ``scope`` which of its registered scopes let
    it: it has no assignment for ``grounds`` to name.
    ``students`` is there, and empty, where nothing was shown, of the learner asked about neither.
    """

    filters: Sequence[str] = ()
    clause: str | None = None
    scope: str | None = None
    students: tuple[()] | msgspec.UnsetType = msgspec.UNSET


#: somebody asked the audit log something, and was answered
READ: Final = "audit.read"
#: somebody asked who may not, or for what is not theirs
REFUSED: Final = "audit.refused"
#: requests without a valid session, as a counted window per address
UNAUTHENTICATED: Final = "audit.unauthenticated"
ALERT_RAISED: Final = "audit.alert_raised"
#: the same alert, with more behind it; an alert already resolved is open again
ALERT_UPDATED: Final = "audit.alert_updated"
ALERT_RESOLVED: Final = "audit.alert_resolved"

#: what the names of audit's streams begin with
STREAMS: Final = ("alert",)

TYPES: Final = (
    EventType(READ, Service.AUDIT, Kind.OBSERVATION, "audit log read"),
    EventType(REFUSED, Service.AUDIT, Kind.OBSERVATION, "refused"),
    EventType(UNAUTHENTICATED, Service.AUDIT, Kind.OBSERVATION, "unauthenticated requests"),
    EventType(ALERT_RAISED, Service.AUDIT, Kind.FACT, "alert raised", streams=STREAMS),
    EventType(ALERT_UPDATED, Service.AUDIT, Kind.FACT, "alert updated", streams=STREAMS),
    EventType(ALERT_RESOLVED, Service.AUDIT, Kind.FACT, "alert resolved", streams=STREAMS),
    SET_ASIDE,
)


class WholeLog(Registry):
    """The registry of who reads everything: a type it does not know is never somebody else's."""

    def concerns(self, name: str) -> bool:  # noqa: ARG002 - the answer is the same for every name
        """Say yes, so that an unknown type stops the fold, whichever service wrote it."""
        return True
