"""Learners who have moved: what the enrolment register knew of them until then.

Owns who moved and when: whoever has an earlier record from another school, or with another
provider, moved house after it had ended and before the later one began. The draws are of streams
of their own, so that nothing else of the region depends on them.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from services.demo.names import street_address
from services.demo.records import Move
from services.demo.schools import town
from services.demo.students import school_year

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date, datetime
    from uuid import UUID

    from services.demo.chance import Chance
    from services.demo.records import Case, Organisation, Request, Student
    from services.demo.schools import Landscape


def build_moves(
    chance: Chance,
    landscape: Landscape,
    students: tuple[Student, ...],
    requests: tuple[Request, ...],
    cases: tuple[Case, ...],
    today: date,
) -> tuple[Move, ...]:
    """Return the last move of everybody who has moved, in the order of the students."""
    schools = {school.organisation_id: school for school in landscape.schools}
    closed = {case.case_id: case.closed_at or case.withdrawn_at for case in cases}
    of: dict[UUID, list[Request]] = {}
    for request in sorted(requests, key=lambda one: one.created_at):
        of.setdefault(request.student_id, []).append(request)
    moves: list[Move] = []
    for student in students:
        for earlier, later in pairwise(of.get(student.student_id, ())):
            ended = _ended(earlier, closed)
            if ended is None or earlier.school_id is None or not _elsewhere(earlier, later):
                continue
            school = schools[earlier.school_id]
            former = _as_known(chance, student, school, school_year(today) - school_year(ended))
            moves.append(Move(former, ended + (later.created_at - ended) / 2))
    return tuple({move.former.student_id: move for move in moves}.values())


def _ended(request: Request, closed: Mapping[UUID, datetime | None]) -> datetime | None:
    if request.case_id is not None:
        return closed[request.case_id]
    return request.withdrawn_at or (request.reviewed_at if request.decline_reason else None)


def _elsewhere(earlier: Request, later: Request) -> bool:
    """Tell whether two requests of a learner come from two schools or went to two providers."""
    providers = {earlier.allocated_to, later.allocated_to} - {None}
    return earlier.school_id != later.school_id or len(providers) > 1


def _as_known(chance: Chance, student: Student, school: Organisation, years: int) -> Student:
    """Return a learner as known years ago, when all of the family lived in the town of a school."""
    draw = chance.stream(f"move:{student.student_id}")
    place = town(school.town)
    todays = dict.fromkeys((student.address, *(one.address for one in student.caregivers)))
    homes: dict[str, str] = {}
    for home in todays:
        former = home
        while former in todays:
            former = street_address(draw, place.name, place.postcode)
        homes[home] = former
    last = student.last_school_id
    return replace(
        student,
        year_level=student.year_level - years,
        school_id=school.organisation_id,
        last_school_id=None if last == school.organisation_id else last,
        address=homes[student.address],
        caregivers=tuple(replace(one, address=homes[one.address]) for one in student.caregivers),
    )
