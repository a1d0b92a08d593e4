"""What the audit API takes and answers, as the contract spells it.

An event is shown with exactly the contract's fields: that something was touched, by whom, on what
grounds, and which ids were disclosed. Never its data, never content.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Final, Literal, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    Field,
    model_validator,
)
from pydantic_core import PydanticCustomError

from services.audit.asking import MOST_SHOWN
from services.audit.detection.rules import FINDING_RULES
from services.audit.events import Verdict
from services.authz.client_events import CLIENT_ID
from services.kernel.events import Outcome
from services.kernel.texts import Body, Line, Moment, Prose

_OBJECT: Final = (
    "What was acted upon: an id, or `type:id` (`case:…`). An event is found under its own object, "
    "and under the record that this is part of: what was done to the items and the plan of a case, "
    "looks and refusals included, is found under the case. What a list or a search showed is not"
)
_RFC_3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]", re.ASCII)


def _written_out(value: object) -> object:
    """Refuse what is a moment to nobody but the parser, such as a number of seconds."""
    if isinstance(value, str) and not _RFC_3339.match(value):
        raise PydanticCustomError("moment_not_rfc_3339", "not a time of RFC 3339")
    return value


def _actor(value: str) -> str:
    """Refuse what is neither a person's id nor of the form of a client's."""
    try:
        return str(UUID(value))
    except ValueError:
        if CLIENT_ID.fullmatch(value) is None:
            raise PydanticCustomError("actor_no_id", "not the id of a person or client") from None
        return value


_Time = Annotated[Moment, BeforeValidator(_written_out)]


class Paging(Body):
    """Where a list begins and how much of it is wanted; an unknown parameter is refused."""

    limit: Annotated[int, Field(ge=1, le=MOST_SHOWN)] = 50
    cursor: Annotated[str, Field(min_length=1, max_length=1024)] | None = None

    def question(self) -> dict[str, object]:
        """Return the filters that were given, by parameter name."""
        return self.model_dump(
            mode="json", by_alias=True, exclude={"limit", "cursor"}, exclude_none=True
        )


class Window(Paging):
    """A list within a time: ``from`` inclusive, ``to`` exclusive."""

    since: Annotated[
        _Time | None, Field(alias="from", description="Recorded at this time or later")
    ] = None
    until: Annotated[
        _Time | None, Field(alias="to", description="Recorded before this time, not at it")
    ] = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.since and self.until and self.since > self.until:
            raise PydanticCustomError("window_inverted", "from is after to")
        return self


class EventQuery(Window):
    """Which events: those that pass every filter given."""

    actor: Annotated[
        Annotated[Line, AfterValidator(_actor)] | None,
        Field(description="The id of a person or of a service client"),
    ] = None
    student: Annotated[
        UUID | None, Field(description="The learner it is about, or one of those a list showed")
    ] = None
    object: Annotated[Line | None, Field(description=_OBJECT)] = None
    type: Annotated[Line | None, Field(description="A type of event; an unknown one is 422")] = None
    action: Line | None = None
    outcome: Outcome | None = None


class SessionQuery(Paging):
    """Whose sessions."""

    person: UUID | None = None


def _known_rule(name: str) -> str:
    if name not in FINDING_RULES:
        raise PydanticCustomError("rule_unknown", "no such rule")
    return name


RuleName = Annotated[
    Line, AfterValidator(_known_rule), Field(json_schema_extra={"enum": sorted(FINDING_RULES)})
]


class AlertQuery(Paging):
    """Which alerts."""

    status: Literal["open", "resolved"] | None = None
    rule: RuleName | None = None
    person: UUID | None = None


class Resolution(Body):
    """What an alert turned out to be. The note is sealed before it is stored (SG-18)."""

    verdict: Verdict
    note: Annotated[Prose, Field(max_length=4000)] | None = None


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
