"""The demonstration region as a whole.

Owns the order in which its parts are made. Pure: the same seed and day give the
same region, ids included; nothing is read but package data and no clock is asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from services.demo.casework import build_cases
from services.demo.chance import Chance
from services.demo.courses import HISTORY, plan_courses
from services.demo.moves import build_moves
from services.demo.referrals import build_requests
from services.demo.schooldays import history_before
from services.demo.schools import build_landscape
from services.demo.staff import build_staff
from services.demo.students import build_population

if TYPE_CHECKING:
    from services.demo.records import Case, Catchment, Move, Organisation, Person, Request, Student


@dataclass(frozen=True, slots=True)
class Region:
    """Everything the demonstration holds, in a fixed order."""

    organisations: tuple[Organisation, ...]
    catchments: tuple[Catchment, ...]
    people: tuple[Person, ...]
    students: tuple[Student, ...]
    requests: tuple[Request, ...]
    cases: tuple[Case, ...]
    #: who of the students lived elsewhere once
    moves: tuple[Move, ...]


def build_region(seed: int, today: date) -> Region:
    """Return the region of a seed as it stands on the morning of a day.

    Everything recorded happened on a school day before it; assignments may end after it.
    """
    chance = Chance(seed)
    landscape = build_landscape(chance, today)
    population = build_population(chance, landscape.schools, today)
    staff = build_staff(chance, landscape, population.households, today)
    history = history_before(today, HISTORY)
    courses = plan_courses(chance, landscape, population.students, history)
    requests, openings = build_requests(chance, landscape, staff, courses, history)
    cases = build_cases(chance, staff, openings, history)
    return Region(
        organisations=landscape.organisations,
        catchments=landscape.catchments,
        people=staff.people,
        students=population.students,
        requests=requests,
        cases=cases,
        moves=build_moves(chance, landscape, population.students, requests, cases, today),
    )
