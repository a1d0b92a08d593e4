"""What the cases service answers, as its OpenAPI document describes it.

Answers are rendered by :mod:`services.cases.rendering` from what the caller sees; these models
describe them and are held against real answers by a test.
"""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from services.authz.events import Role
from services.cases.record import Status
from services.cases.terms import ItemKind, Label, PlanStatus, RecordKind


class Answer(BaseModel):
    """What is described is all there is."""

    model_config = ConfigDict(extra="forbid")


class Named(Answer):
    """An organisation."""

    id: UUID
    name: str


class Overview(Answer):
    """The high-level information of a record."""

    kind: RecordKind
    number: str
    status: Status
    created_at: datetime
    submitted_at: datetime | None
    reviewed_at: datetime | None
    allocated_at: datetime | None
    closed_at: datetime | None
    outcome: str | None
    decline_reason: str | None
    school: Named | None
    provider: Named | None
    region: str | None
    prosecution_notified: bool


class StudentBasic(Answer):
    """Who the learner is; the id is left out where it stands around it."""

    student_id: UUID | None = None
    student_number: str
    given_name: str
    family_name: str
    preferred_name: str | None
    year_level: int
    date_of_birth: date


class Demographics(Answer):
    """Where the learner lives and goes to school; granted field by field."""

    address: str | None = None
    enrolment_status: str | None = None
    last_school: str | None = None
    gender: str | None = None


class Caregiver(Answer):
    """A caregiver, and how to reach them."""

    name: str
    relation: str | None = None
    phone: str | None = None
    email: str | None = None
    address: str | None = None


class Family(Answer):
    """The learner's caregivers."""

    caregivers: list[Caregiver] = []


class Contact(Answer):
    """A member of staff who is involved."""

    person_id: UUID
    role: Role
    organisation: Named | None
    organisation_phone: str | None
    name: str | None
    email: str | None = None
    phone: str | None = None


class Referral(Answer):
    """The content of the request for support."""

    reason: str
    absences: str
    steps_taken: str
    labels: list[Label]


class PlanVersion(Answer):
    """One version of the support plan."""

    id: UUID
    status: PlanStatus
    author: UUID
    created_at: datetime
    labels: list[Label]
    goals: str
    actions: str


class Item(Answer):
    """One item. Only ``id``, ``kind``, ``created_at`` and ``summary`` where a label shuts it."""

    id: UUID
    kind: ItemKind
    created_at: datetime
    summary: str | None
    author: UUID | None = None
    edited_at: datetime | None = None
    shared_with_school: bool | None = None
    labels: list[Label] | None = None
    text: str | None = None


class ItemAnswer(Item):
    """One item, read on its own; ``version`` is the ``ETag`` without its quotes."""

    version: str


class HistoryEntry(Answer):
    """An earlier request or closed case of the same learner.

    The referral is left out where a label shuts it.
    """

    id: UUID
    overview: Overview
    referral: Referral | None = None


class Parts(Answer):
    """The parts the caller may see; the others are absent."""

    overview: Overview | None = None
    student_basic: StudentBasic | None = None
    demographics: Demographics | None = None
    family: Family | None = None
    contacts: list[Contact] | None = None
    referral: Referral | None = None
    plan: list[PlanVersion] | None = None
    items: list[Item] | None = None
    agency_requests: list[dict[str, Any]] | None = None
    support_requests: list[dict[str, Any]] | None = None
    disclosures: list[dict[str, Any]] | None = None
    attendance: list[dict[str, Any]] | None = None
    team: list[Contact] | None = None
    history: list[HistoryEntry] | None = None


class RecordAnswer(Answer):
    """A request or a case, as the caller sees it."""

    id: UUID
    number: str | None
    status: Status | None
    student_id: UUID
    version: str
    parts: Parts


class Listed(Answer):
    """A record in a list."""

    id: UUID
    number: str
    status: Status
    student_id: UUID
    parts: Parts


class RecordPage(Answer):
    """A page of records, newest first."""

    items: list[Listed]
    next_cursor: str | None


class Changed(Answer):
    """A change done: the record (or what was made), and the record's version where still seen.

    Of an item that was made, ``id`` is the item's and ``version`` its case's.
    """

    id: UUID
    status: Status | None = None
    version: str | None = None
    case_id: UUID | None = None


class Drafted(Answer):
    """A request begun."""

    id: UUID
    number: str
    status: Status


class Because(Answer):
    """What a part rests on."""

    clause: str
    role: Role
    assignment_id: UUID
    organisation_id: UUID


class Why(Answer):
    """Why a part is seen."""

    part: str
    allowed: bool
    because: list[Because]
    policy_version: str
    valid_until: datetime


class StudentAnswer(Answer):
    """A learner, as far as the caller may know them; who they are stands beside the parts too."""

    id: UUID
    version: str
    parts: Parts
    student_number: str | None = None
    given_name: str | None = None
    family_name: str | None = None
    preferred_name: str | None = None
    year_level: int | None = None
    date_of_birth: date | None = None


class StudentPage(Answer):
    """Learners found."""

    items: list[StudentBasic]
    next_cursor: str | None
