"""The terms in which casework is spoken of, by facts, states and decisions alike.

The kinds of things, the labels (SE), a sealed text, a person in a post, and the guard keys of a
record and of a learner. Decides nothing and knows no event.
"""

from uuid import UUID

import msgspec

from services.kernel.codes import Code
from services.kernel.sealing import Compartment


class RecordKind(Code):
    """The two kinds of record."""

    REQUEST = "request"
    CASE = "case"


class ItemKind(Code):
    """What an item of a case is."""

    NOTE = "note"
    COMMENT = "comment"
    DOCUMENT = "document"
    CORRESPONDENCE = "correspondence"
    ACTIVITY = "activity"


class Label(Code):
    """Sensitive categories (SE): a label shuts a thing to all but those who are cleared."""

    SAFEGUARDING = "safeguarding"
    HEALTH = "health"
    LEARNING_SUPPORT = "learning_support"
    ALLEGATION = "allegation"
    FINANCE = "finance"
    ETHNICITY = "ethnicity"
    POLITICAL = "political"
    RELIGION = "religion"
    UNION = "union"
    GENETIC = "genetic"
    SEXUALITY = "sexuality"
    CRIMINAL = "criminal"
    BIOMETRIC = "biometric"
    COURT_ORDER = "court_order"


class PlanStatus(Code):
    """Whether a version of the support plan has been agreed with the family and the school."""

    DRAFT = "draft"
    AGREED = "agreed"


class Box(msgspec.Struct, frozen=True, gc=False):
    """A sealed text, and where it was sealed; opens nowhere else."""

    event: UUID
    field: str
    text: str
    compartment: Compartment = Compartment.RECORD


class Staff(msgspec.Struct, frozen=True, gc=False):
    """A person in one assignment: who moves elsewhere takes nothing along."""

    assignment_id: UUID
    person_id: UUID
    organisation_id: UUID
    role: str


def record_key(record_id: UUID) -> str:
    """Guard key of one request or case and everything in it."""
    return f"record:{record_id}"


def student_key(student_id: UUID) -> str:
    """Guard key of where a student is enrolled and which records they have."""
    return f"student:{student_id}"
