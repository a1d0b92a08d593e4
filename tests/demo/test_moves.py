"""What the demonstration shows of learners who have moved: in old records, their former homes."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date
from functools import cache
from typing import Any, cast
from uuid import UUID

from services.cases.evolution import evolve, evolve_student, follow
from services.cases.record import Record, Status, Student
from services.cases.terms import RecordKind
from services.demo.region import Region, build_region
from services.demo.sealed import Sealer
from services.demo.seed import _steps
from services.kernel.events import Event
from services.kernel.keystore import KeyStore
from services.kernel.sealing import KeyRef
from tests.conftest import Clock

SEED, TODAY = 20, date(2026, 5, 14)


class Open:
    """Seals nothing."""

    def seal(self, _ref: KeyRef, _event_id: UUID, _field: str, text: str) -> str:
        """Return the text as it is."""
        return text


@cache
def region() -> Region:
    """Return the region, cut down to learners with several requests."""
    whole = build_region(SEED, TODAY)
    first: dict[UUID, UUID] = {}
    several = {
        one.student_id
        for one in whole.requests
        if first.setdefault(one.student_id, one.request_id) != one.request_id
    }
    return replace(
        whole,
        students=tuple(one for one in whole.students if one.student_id in several),
        requests=tuple(one for one in whole.requests if one.student_id in several),
        cases=tuple(one for one in whole.cases if one.student_id in several),
    )


def events() -> list[Event]:
    """Return what happened, in the order in which it is loaded."""
    sealer = Sealer(cast("KeyStore", Open()), Clock().effects())
    return sealer.events(_steps(region(), SEED))


@cache
def folded() -> tuple[dict[UUID, Student], list[Record]]:
    """Return every learner and record as the cases service folds them."""
    students: dict[UUID, Student] = {}
    records: dict[UUID, Record] = {}
    for event in events():
        assert event.student_id is not None
        student = evolve_student(students.get(event.student_id), event)
        assert student is not None
        students[event.student_id] = student
        if event.stream and not event.stream.startswith("student:"):
            subject = UUID(event.stream.partition(":")[2])
            record = evolve(records.get(subject), event, student)
            assert record is not None
            records[subject] = record
            if record.request_id is not None:
                records[record.request_id] = follow(records[record.request_id], record)
    return students, list(records.values())


def addresses(record: Record, student: Student) -> set[str]:
    """Return every address that a record shows, the learner's first of all."""
    shown = record.particulars or student
    assert shown.demographics is not None
    assert shown.family is not None
    told: Any = json.loads(shown.demographics.box.text)
    carers: Any = json.loads(shown.family.box.text)["caregivers"]
    return {told["address"], *(one["address"] for one in carers)}


def pairs() -> Iterator[tuple[Record, Record, Student]]:
    """Yield each ended record with an open one of the learner's that another provider has."""
    students, records = folded()
    for old in records:
        for new in records:
            if (
                old.student_id == new.student_id
                and None not in (old.provider_id, new.provider_id)
                and old.provider_id != new.provider_id
                and old.particulars is not None
                and new.particulars is None
            ):
                yield old, new, students[old.student_id]


def test_a_former_provider_finds_the_former_addresses_in_what_it_closed() -> None:
    """AC-SHARE-3: of every learner who is with another provider now; case and request alike."""
    found = list(pairs())
    assert {old.status for old, _, _ in found} == {Status.CLOSED, Status.ASSIGNED}
    assert sum(o.kind is n.kind is RecordKind.CASE for o, n, _ in found) >= 20
    for old, new, student in found:
        assert not addresses(old, student) & addresses(new, student)


def test_whoever_moved_was_known_at_the_former_school_and_anew_before_the_later_record() -> None:
    """The register told of it in between: the loaded order has two versions, in their places."""
    towns = {one.organisation_id: one.town for one in region().organisations}
    moved = {move.former.student_id: move for move in region().moves}
    assert moved
    for student in region().students:
        move = moved.pop(student.student_id, None)
        if move is None:
            continue
        former = move.former
        assert former.school_id is not None
        assert towns[former.school_id] in former.address
        assert former.year_level < student.year_level
        spans = [
            (one.created_at, one.school_id)
            for one in region().requests
            if one.student_id == student.student_id
        ]
        (_, school), (again, _) = sorted(spans)
        assert school == former.school_id
        ended = [one.closed_at for one in region().cases if one.student_id == student.student_id]
        assert any(end is not None and end < move.at < again for end in ended)
        assert move.at.tzinfo is UTC
    assert not moved


def test_everybody_else_is_known_once() -> None:
    """A learner is registered anew by a move alone, and the later version is today's."""
    moved = {move.former.student_id for move in region().moves}
    students, _ = folded()
    assert {one.id for one in students.values() if one.version > 1} == moved
    assert {one.id: one.school_id for one in students.values()} == {
        one.student_id: one.school_id for one in region().students
    }
