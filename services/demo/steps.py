"""One step of a history: a fact to be, with its texts still open, and how a step is made.

Owns the shape of a step, and those that are the same for every record. Pure; what happened to each
record is :mod:`services.demo.history`, sealing and appending :mod:`services.demo.sealed`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from services.cases import events as e
from services.cases.numbers import ALPHABET, LENGTH, written
from services.cases.terms import record_key, student_key
from services.kernel.sealing import Compartment

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from services.cases.terms import RecordKind, Staff
    from services.demo.chance import Chance
    from services.demo.records import Student
    from services.kernel.events import ObjectRef


@dataclass(frozen=True, slots=True)
class Text:
    """A text that is still to be sealed, and under which compartment."""

    text: str
    compartment: Compartment = Compartment.RECORD


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One fact to be: its payload's type and plain fields, and the texts to seal into it.

    ``about`` is what of the record it is about, where that is one thing in it.
    """

    payload: type[msgspec.Struct]
    at: datetime | None
    actor: Staff | None
    action: str
    student_id: UUID
    kind: str
    id: UUID
    organisation_id: UUID | None
    fields: dict[str, Any] = field(default_factory=dict)
    texts: dict[str, Text] = field(default_factory=dict)
    touches: tuple[str, ...]
    about: ObjectRef | None = None


def number(chance: Chance, kind: str, record_id: UUID) -> str:
    """Return the number of a record; the same seed gives it the same one."""
    draw = chance.stream(f"number:{record_id}")
    return written(kind[0].upper(), "".join(draw.choices(ALPHABET, k=LENGTH)))


def student_step(
    student: Student, school_names: dict[UUID, str], at: datetime | None = None
) -> Step:
    """Return how a learner became known: from the enrolment register, by nobody in particular.

    ``at`` is when they moved; without it, they were known before anything happened.
    """
    last = student.last_school_id
    return Step(
        payload=e.StudentRegistered,
        at=at,
        actor=None,
        action="create",
        student_id=student.student_id,
        kind="student",
        id=student.student_id,
        organisation_id=student.school_id,
        fields={"student_id": student.student_id, "school_id": student.school_id},
        texts={
            "basic": Text(_basic(student), Compartment.STUDENT),
            "demographics": Text(
                json_of(
                    address=student.address,
                    enrolment_status=student.enrolment_status,
                    last_school=school_names[last] if last else None,
                    gender=student.gender,
                ),
                Compartment.STUDENT,
            ),
            "family": Text(
                json_of(
                    caregivers=[
                        {
                            "name": one.name,
                            "relation": one.relation,
                            "phone": one.phone,
                            "email": one.email,
                            "address": one.address,
                        }
                        for one in student.caregivers
                    ]
                ),
                Compartment.STUDENT,
            ),
        },
        touches=(student_key(student.student_id),),
    )


def _basic(student: Student) -> str:
    return json_of(
        student_number=student.national_student_number,
        given_name=student.given_name,
        family_name=student.family_name,
        preferred_name=student.preferred_name,
        year_level=student.year_level,
        date_of_birth=student.date_of_birth.isoformat(),
    )


def json_of(**fields: object) -> str:
    """Return several fields as one text, to be sealed as one."""
    return msgspec.json.encode(fields).decode()


@dataclass(frozen=True, slots=True)
class Teller:
    """Makes the steps of one record."""

    student_id: UUID
    kind: RecordKind
    record_id: UUID

    def step(
        self,
        payload: type[msgspec.Struct],
        at: datetime,
        actor: Staff,
        action: str,
        *,
        fields: dict[str, Any] | None = None,
        texts: dict[str, Text] | None = None,
        about: ObjectRef | None = None,
    ) -> Step:
        """Return a step at the organisation of who did it."""
        return Step(
            payload=payload,
            at=at,
            actor=actor,
            action=action,
            student_id=self.student_id,
            kind=str(self.kind),
            id=self.record_id,
            organisation_id=actor.organisation_id,
            fields=fields or {},
            texts=texts or {},
            touches=(record_key(self.record_id), student_key(self.student_id)),
            about=about,
        )
