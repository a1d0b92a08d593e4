"""What the audit API answers, as the contract spells it.

An event is shown with exactly the contract's fields: that something was touched, by whom, on what
grounds, and which ids were disclosed. Never its data, never content.
"""

from collections.abc import Mapping, Sequence
from typing import Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field

from services.audit.events import Verdict
from services.kernel.events import Outcome


class Actor(BaseModel):
    """Who acted, for which organisation; the organisation alone, where that is not the reader's."""

    person_id: UUID | None
    client_id: str | None
    organisation_id: UUID | None


class Origin(BaseModel):
    """Where from (AC-USE-1). The first three are null once the period's key is destroyed.

    All are null where who acted is not named to the reader.
    """

    ip: str | None
    device: str | None
    user_agent: str | None
    request_id: str | None
    session_id: UUID | None


class Ground(BaseModel):
    """Which assignment and clause let which parts be shown or done; with the actor only."""

    assignment_id: UUID
    role: str
    clause: str
    parts: Sequence[str]


class ObjectRef(BaseModel):
    """What was acted upon."""

    type: str
    id: str


class Event(BaseModel):
    """An event as the contract shows it."""

    position: int
    id: UUID
    type: str
    occurred_at: AwareDatetime
    effective_at: AwareDatetime | None
    actor: Actor
    origin: Origin
    action: str
    outcome: Outcome
    grounds: Sequence[Ground]
    policy_version: str | None
    purpose: str | None
    student_id: UUID | None
    object: ObjectRef | None
    shown: Mapping[str, Sequence[str]]


class EventPage(BaseModel):
    """A page of events, newest first."""

    items: Sequence[Event]
    next_cursor: str | None


class Session(BaseModel):
    """A login: from when until when, from where. ``ended_at`` of a lapsed one is when it lapsed."""

    id: UUID
    person_id: UUID
    organisation_id: UUID | None
    started_at: AwareDatetime
    last_seen_at: AwareDatetime
    ended_at: AwareDatetime | None
    duration_s: int
    end_reason: str | None
    live: bool
    ip: str | None
    device: str | None


class SessionPage(BaseModel):
    """A page of sessions, the latest begun first."""

    items: Sequence[Session]
    next_cursor: str | None


class Resolved(BaseModel):
    """How an alert was judged, by whom and when; the note is null once its key is destroyed.

    Note and by whom are null where that was for an organisation that is not the reader's.
    """

    verdict: Verdict
    note: str | None
    resolved_by: UUID | None
    resolved_at: AwareDatetime


class Alert(BaseModel):
    """Something that should be looked at (SG-9, SG-10)."""

    id: UUID
    rule: str
    severity: Literal["low", "medium", "high"]
    title: str
    status: Literal["open", "resolved"]
    person_id: UUID | None
    organisation_id: UUID | None
    occurred_at: AwareDatetime = Field(description="When the newest event behind it happened")
    raised_at: AwareDatetime = Field(description="When it was first raised; more may come after")
    details: Mapping[str, str | int]
    resolution: Resolved | None


class AlertPage(BaseModel):
    """A page of alerts, the latest raised first."""

    items: Sequence[Alert]
    next_cursor: str | None


class AlertWithEvidence(Alert):
    """An alert and the events behind it that its reader may see; ``evidence_more`` are left out."""

    evidence: Sequence[Event]
    evidence_more: int
