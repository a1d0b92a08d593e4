"""The shapes of the demonstration region: what exists and how it hangs together.

Owns the record types only. They describe facts and know no rules: who may see
them is decided elsewhere. Every moment is an aware UTC datetime; every day is a
calendar day at the organisation concerned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from datetime import date, datetime
    from uuid import UUID

OrganisationKind: TypeAlias = Literal["school", "asp", "isp", "ministry"]
SchoolKind: TypeAlias = Literal[
    "primary", "intermediate", "secondary", "composite", "kura_kaupapa_maori", "special"
]
MinistryFunction: TypeAlias = Literal[
    "central_investigation",
    "national_contracts",
    "regional_contracts",
    "regional_office",
    "prosecutions",
    "technical_support",
    "security_privacy",
    "administration",
]
Role: TypeAlias = Literal[
    "school_leader",
    "primary_contact",
    "school_office",
    "isp_workflow_lead",
    "asp_workflow_lead",
    "asp_case_manager",
    "central_investigation",
    "national_contracts",
    "regional_contract_manager",
    "regional_office",
    "prosecutions",
    "technical_support",
    "security_analyst",
    "privacy_officer",
    "administrator",
]
Gender: TypeAlias = Literal["female", "male", "another_gender"]
EnrolmentStatus: TypeAlias = Literal["enrolled", "not_enrolled"]
RequestState: TypeAlias = Literal[
    "draft", "submitted", "accepted", "declined", "allocated", "assigned", "withdrawn"
]
CaseStatus: TypeAlias = Literal["active", "closed", "withdrawn"]
ItemKind: TypeAlias = Literal["note", "comment", "document", "correspondence", "activity"]
PlanStatus: TypeAlias = Literal["draft", "agreed"]


@dataclass(frozen=True, slots=True)
class Organisation:
    """A school, a provider or a team of the Ministry.

    `holidays` is a subdivision code of the `holidays` library (the anniversary
    day kept there). `serves` names the school of an ISP; `monitors` the ASPs a
    regional contract team watches; `function` is set for the Ministry alone.
    """

    organisation_id: UUID
    kind: OrganisationKind
    name: str
    town: str
    time_zone: str
    holidays: str
    address: str
    phone: str
    email: str
    school_kind: SchoolKind | None = None
    year_levels: tuple[int, int] | None = None
    function: MinistryFunction | None = None
    serves: UUID | None = None
    monitors: tuple[UUID, ...] = ()


@dataclass(frozen=True, slots=True)
class Catchment:
    """One provider serves one school from a day until (not including) another."""

    provider_id: UUID
    school_id: UUID
    from_: date
    until: date | None

    def in_force(self, day: date) -> bool:
        """Tell whether the provider serves the school on that day."""
        return self.from_ <= day and (self.until is None or day < self.until)


@dataclass(frozen=True, slots=True)
class Assignment:
    """One role at one organisation from a day until (not including) another."""

    assignment_id: UUID
    role: Role
    organisation_id: UUID
    from_: date
    until: date | None

    def in_force(self, day: date) -> bool:
        """Tell whether the role is held on that day."""
        return self.from_ <= day and (self.until is None or day < self.until)


@dataclass(frozen=True, slots=True)
class Person:
    """A member of staff with an account."""

    person_id: UUID
    username: str
    given_name: str
    family_name: str
    email: str
    phone: str
    address: str
    assignments: tuple[Assignment, ...]


@dataclass(frozen=True, slots=True)
class Caregiver:
    """An adult who looks after a student."""

    name: str
    relation: str
    phone: str
    email: str | None
    address: str


@dataclass(frozen=True, slots=True)
class Student:
    """A learner, as the enrolment register knows them."""

    student_id: UUID
    national_student_number: str
    given_name: str
    family_name: str
    preferred_name: str | None
    date_of_birth: date
    gender: Gender
    year_level: int
    school_id: UUID | None
    enrolment_status: EnrolmentStatus
    last_school_id: UUID | None
    address: str
    caregivers: tuple[Caregiver, ...]


@dataclass(frozen=True, slots=True)
class Move:
    """A learner as the enrolment register knew them until they moved, and when that was."""

    former: Student
    at: datetime


@dataclass(frozen=True, slots=True)
class Request:
    """A request for support and how far it has come.

    `school_id` is the student's school when it was made, none for a request of
    a regional office about a student without one. `case_id` is set exactly when
    the state is `assigned`.
    """

    request_id: UUID
    student_id: UUID
    school_id: UUID | None
    state: RequestState
    made_by: UUID
    made_by_assignment_id: UUID
    created_at: datetime
    reason: str
    absences: str
    steps_taken: str
    submitted_at: datetime | None = None
    reviewed_at: datetime | None = None
    reviewed_by: UUID | None = None
    decline_reason: str | None = None
    allocated_to: UUID | None = None
    allocated_at: datetime | None = None
    assigned_by: UUID | None = None
    assigned_at: datetime | None = None
    withdrawn_at: datetime | None = None
    withdrawal_reason: str | None = None
    case_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class PlanVersion:
    """One version of a support plan."""

    created_at: datetime
    author_assignment_id: UUID
    status: PlanStatus
    goals: str
    actions: str


@dataclass(frozen=True, slots=True)
class Item:
    """One thing written on a case; `deleted` is the reason of its deletion by the author."""

    item_id: UUID
    kind: ItemKind
    author_assignment_id: UUID
    created_at: datetime
    text: str
    shared_with_school: bool
    labels: tuple[str, ...]
    summary: str | None
    deleted: str | None


@dataclass(frozen=True, slots=True)
class Case:
    """A case, its people, its plan and its items, oldest first."""

    case_id: UUID
    request_id: UUID
    student_id: UUID
    school_id: UUID
    provider_id: UUID
    status: CaseStatus
    case_manager_id: UUID
    primary_contact_id: UUID | None
    team: tuple[UUID, ...]
    opened_at: datetime
    closed_at: datetime | None
    outcome: str | None
    withdrawn_at: datetime | None
    withdrawal_reason: str | None
    prosecution_notified: bool
    plan_versions: tuple[PlanVersion, ...]
    items: tuple[Item, ...]
