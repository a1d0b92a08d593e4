"""The catalogue of what happens in cases: the event types, and what their data holds.

Everything said about a learner is sealed under keys of that learner: who they are under the
``student`` compartment, casework under ``record``, and what carries a sensitive label (SE) under
``sensitive``. The facts about items, the plan and labels are in
:mod:`services.cases.content_events`, and registered here. What the facts speak of is
:mod:`services.cases.terms`.
"""

from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from services.cases import content_events
from services.cases.terms import Box, Label, Staff
from services.kernel.event_types import EventType, Kind
from services.kernel.events import Service


class StudentRegistered(msgspec.Struct, frozen=True, kw_only=True):
    """A learner is known; nothing that is personal, nor anything derived from it, is in clear."""

    student_id: UUID
    school_id: UUID | None
    basic: Box
    demographics: Box
    family: Box


class RequestDrafted(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody began a request for support."""

    request_id: UUID
    number: str
    student_id: UUID
    school_id: UUID
    made_by: Staff
    referral: Box


class RequestEdited(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a request was replaced."""

    referral: Box


class RequestSubmitted(msgspec.Struct, frozen=True, kw_only=True):
    """A request went to Central Investigation."""


class RequestAccepted(msgspec.Struct, frozen=True, kw_only=True):
    """A request meets the criteria."""

    by: Staff


class RequestDeclined(msgspec.Struct, frozen=True, kw_only=True):
    """A request does not meet the criteria."""

    by: Staff
    reason: Box


class RequestAllocated(msgspec.Struct, frozen=True, kw_only=True):
    """A request was given to a provider whose catchment holds the school."""

    provider_id: UUID
    by: Staff


class RequestAssigned(msgspec.Struct, frozen=True, kw_only=True):
    """A case manager took the request on; it became a case."""

    case_manager: Staff
    case_id: UUID


class RequestWithdrawn(msgspec.Struct, frozen=True, kw_only=True):
    """A request was taken back."""

    reason: Box | None = None


class RequestDeleted(msgspec.Struct, frozen=True, kw_only=True):
    """A draft was thrown away."""


class CaseOpened(msgspec.Struct, frozen=True, kw_only=True):
    """A request became a case."""

    case_id: UUID
    number: str
    request_id: UUID
    student_id: UUID
    school_id: UUID
    provider_id: UUID
    made_by: Staff
    case_manager: Staff
    referral: Box
    referral_labels: tuple[Label, ...] = ()
    referral_labelled_by: dict[Label, UUID] = {}
    #: of the request it was
    submitted_at: datetime | None = None
    reviewed_at: datetime | None = None
    allocated_at: datetime | None = None


class CaseAssigned(msgspec.Struct, frozen=True, kw_only=True):
    """Another case manager of the provider has the case now."""

    case_manager: Staff


class CaseMoved(msgspec.Struct, frozen=True, kw_only=True):
    """Another provider has the case now; case manager and team are cleared."""

    provider_id: UUID
    by: Staff


class PrimaryContactNamed(msgspec.Struct, frozen=True, kw_only=True):
    """The school's primary contact for the case."""

    primary_contact: Staff


class TeamMemberNamed(msgspec.Struct, frozen=True, kw_only=True):
    """A case manager of the provider joined the team."""

    member: Staff


class TeamMemberRemoved(msgspec.Struct, frozen=True, kw_only=True):
    """A member left the team."""

    person_id: UUID


class ProsecutionNotified(msgspec.Struct, frozen=True, kw_only=True):
    """The case was notified for potential prosecution (AC-DO-12)."""


class ProsecutionNoticeWithdrawn(msgspec.Struct, frozen=True, kw_only=True):
    """The notice was withdrawn."""


class CaseClosed(msgspec.Struct, frozen=True, kw_only=True):
    """Work on the case is over."""

    outcome: Box


class CaseWithdrawn(msgspec.Struct, frozen=True, kw_only=True):
    """The case was opened in error: closed to all but audit (AC-DO-14)."""

    reason: Box


STUDENT_REGISTERED: Final = "cases.student_registered"
REQUEST_DRAFTED: Final = "cases.request_drafted"
REQUEST_EDITED: Final = "cases.request_edited"
REQUEST_SUBMITTED: Final = "cases.request_submitted"
REQUEST_ACCEPTED: Final = "cases.request_accepted"
REQUEST_DECLINED: Final = "cases.request_declined"
REQUEST_ALLOCATED: Final = "cases.request_allocated"
REQUEST_ASSIGNED: Final = "cases.request_assigned"
REQUEST_WITHDRAWN: Final = "cases.request_withdrawn"
REQUEST_DELETED: Final = "cases.request_deleted"
CASE_OPENED: Final = "cases.case_opened"
CASE_ASSIGNED: Final = "cases.case_assigned"
CASE_MOVED: Final = "cases.case_moved"
PRIMARY_CONTACT_NAMED: Final = "cases.primary_contact_named"
TEAM_MEMBER_NAMED: Final = "cases.team_member_named"
TEAM_MEMBER_REMOVED: Final = "cases.team_member_removed"
PROSECUTION_NOTIFIED: Final = "cases.prosecution_notified"
PROSECUTION_NOTICE_WITHDRAWN: Final = "cases.prosecution_notice_withdrawn"
CASE_CLOSED: Final = "cases.case_closed"
CASE_WITHDRAWN: Final = "cases.case_withdrawn"
#: something was shown: a record or some parts of it, a list, a search
READ: Final = "cases.read"
#: something was refused, hidden or missing: the three are one type
REFUSED: Final = "cases.refused"
#: requests without a valid session, as a counted window per address
UNAUTHENTICATED: Final = "cases.unauthenticated"

#: what the names of cases' streams begin with
STREAMS: Final = ("student", "request", "case")
#: the payload of each fact
PAYLOADS: Final[dict[str, type[msgspec.Struct]]] = {
    STUDENT_REGISTERED: StudentRegistered,
    REQUEST_DRAFTED: RequestDrafted,
    REQUEST_EDITED: RequestEdited,
    REQUEST_SUBMITTED: RequestSubmitted,
    REQUEST_ACCEPTED: RequestAccepted,
    REQUEST_DECLINED: RequestDeclined,
    REQUEST_ALLOCATED: RequestAllocated,
    REQUEST_ASSIGNED: RequestAssigned,
    REQUEST_WITHDRAWN: RequestWithdrawn,
    REQUEST_DELETED: RequestDeleted,
    CASE_OPENED: CaseOpened,
    CASE_ASSIGNED: CaseAssigned,
    CASE_MOVED: CaseMoved,
    PRIMARY_CONTACT_NAMED: PrimaryContactNamed,
    TEAM_MEMBER_NAMED: TeamMemberNamed,
    TEAM_MEMBER_REMOVED: TeamMemberRemoved,
    PROSECUTION_NOTIFIED: ProsecutionNotified,
    PROSECUTION_NOTICE_WITHDRAWN: ProsecutionNoticeWithdrawn,
    CASE_CLOSED: CaseClosed,
    CASE_WITHDRAWN: CaseWithdrawn,
    **content_events.PAYLOADS,
}
#: the type of each payload
TYPE_OF: Final = {payload: name for name, payload in PAYLOADS.items()}

TYPES: Final = (
    *(
        EventType(
            name,
            Service.CASES,
            Kind.FACT,
            name.partition(".")[2].replace("_", " "),
            streams=STREAMS,
        )
        for name in PAYLOADS
    ),
    EventType(READ, Service.CASES, Kind.OBSERVATION, "read"),
    EventType(REFUSED, Service.CASES, Kind.OBSERVATION, "refused"),
    EventType(UNAUTHENTICATED, Service.CASES, Kind.OBSERVATION, "unauthenticated requests"),
)
