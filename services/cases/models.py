"""What requests to the cases service may say. An unknown field is an error."""

from typing import Final
from uuid import UUID

from pydantic import Field

from services.cases.terms import ItemKind, Label, PlanStatus
from services.kernel.cursors import LONGEST
from services.kernel.texts import Body, Flag, Line, Prose

_LABELS = Field(default=(), max_length=len(Label))
#: learners on a page of a search
MOST_FOUND: Final = 100


class NewRequest(Body):
    """A request for support about a learner of the caller's school."""

    student_id: UUID
    reason: Prose
    absences: Prose | None = None
    steps_taken: Prose | None = None


class RequestEdit(Body):
    """Fields of the referral to replace."""

    reason: Prose | None = None
    absences: Prose | None = None
    steps_taken: Prose | None = None


class Reason(Body):
    """Why."""

    reason: Prose


class OptionalReason(Body):
    """Why, if the caller says."""

    reason: Prose | None = None


class ToOrganisation(Body):
    """To which organisation."""

    organisation_id: UUID


class ToPerson(Body):
    """Which person."""

    person_id: UUID


class Closing(Body):
    """How a case ended."""

    outcome: Prose


class NewItem(Body):
    """An item to add to a case."""

    kind: ItemKind
    text: Prose
    labels: tuple[Label, ...] = _LABELS
    shared_with_school: Flag = False
    summary: Prose | None = None


class ItemEdit(Body):
    """What to change of an item; what is absent stays, and a null summary is withdrawn."""

    text: Prose | None = None
    labels: tuple[Label, ...] | None = Field(default=None, max_length=14)
    shared_with_school: Flag | None = None
    summary: Prose | None = None


class Plan(Body):
    """A version of the support plan."""

    goals: Prose
    actions: Prose
    status: PlanStatus = PlanStatus.DRAFT
    labels: tuple[Label, ...] = _LABELS


class Labels(Body):
    """The labels that a thing is to carry, all of them."""

    labels: tuple[Label, ...] = Field(max_length=14)


class StudentQuery(Body):
    """Words of a learner's name, or their student number; how many to show, and from where on."""

    query: Line
    limit: int = Field(default=50, ge=1, le=MOST_FOUND, strict=True)
    cursor: str | None = Field(default=None, max_length=LONGEST)
