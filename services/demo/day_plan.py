"""What a school day is made of, decided before anybody logs in.

Owns how many work and how much they get round to, from seeds and a scale alone: the same seeds make
the same day. Pure; :mod:`services.demo.day` drives it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from services.demo.cast import Cast, Casting
from services.demo.work import Scene

if TYPE_CHECKING:
    from datetime import datetime

    from services.demo.region import Region

_ROUNDS: Final = 24


@dataclass(frozen=True, slots=True)
class Plan:
    """What a day is made of."""

    region: Region
    scene: Scene
    cast: Cast
    base: str
    seed: int
    scale: float
    #: an address nobody called from lately: one that was stopped stays stopped for a while
    sprayer: str


def plan(
    region: Region, *, seed: int, day_seed: int, scale: float, base: str, now: datetime
) -> Plan:
    """Return the day that these seeds make of the region."""
    cast = Casting(region, seed, day_seed, now).cast(scale)
    sprayer = f"127.66.{now.hour}.{now.minute + 1}"
    return Plan(region, _scene(region, now), cast, base, day_seed, scale, sprayer)


def expected(day: Plan) -> int:
    """Return about how many requests the day makes."""
    per_round = {"asp_case_manager": 4.0, "asp_workflow_lead": 2.3, "central_investigation": 3.0}
    people = sum(per_round.get(one.held.role, 2.3) for one in day.cast.working)
    return round(people * rounds(day.scale)) + 3 * len(day.cast.sprayed)


def rounds(scale: float) -> int:
    """Return how many things each person gets round to on a day of ``scale``."""
    return max(3, round(_ROUNDS * (math.sqrt(scale) if scale < 1 else scale)))


def _scene(region: Region, now: datetime) -> Scene:
    today = now.date()
    by_school: dict[Any, list[Any]] = {}
    for student in region.students:
        if student.school_id:
            by_school.setdefault(student.school_id, []).append(student)
    asps = {o.organisation_id for o in region.organisations if o.kind == "asp"}
    held: dict[tuple[str, str], list[str]] = {}
    for person in region.people:
        for one in person.assignments:
            # moved and departing people are left out: what they hold may end during the day
            if one.in_force(today) and one.until is None:
                place = (one.role, str(one.organisation_id))
                held.setdefault(place, []).append(str(person.person_id))
    return Scene(
        by_school={school: tuple(students) for school, students in by_school.items()},
        asp_of={
            str(row.school_id): str(row.provider_id)
            for row in region.catchments
            if row.provider_id in asps and row.in_force(today)
        },
        managers={o: tuple(p) for (role, o), p in held.items() if role == "asp_case_manager"},
        contacts={o: tuple(p) for (role, o), p in held.items() if role == "primary_contact"},
    )
