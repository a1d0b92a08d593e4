"""The students of the region.

Owns who goes to which school and in which year. Brothers and sisters go to
schools of the same town.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

from services.demo.chance import Chance, weighted
from services.demo.households import Household, settle
from services.demo.names import Sex, given_name, short
from services.demo.records import EnrolmentStatus, Gender, Organisation, Student
from services.demo.tables import table

if TYPE_CHECKING:
    from random import Random
    from uuid import UUID

STUDENTS = 8_000
WITHOUT_SCHOOL = 48
LARGEST_HOUSEHOLD = 5
OPEN_HOUSEHOLDS = 160  # how many recent households of a town may still gain a child
LAST_YEAR, LEAVES_EARLY = 13, 0.2
MOVED_HERE, CAME_UP = 0.07, 0.53  # came from any school, or from one of the same town
HAS_SIBLING = 0.42
USES_SECOND_NAME, USES_SHORT_NAME, LONG_NAME = 0.05, 0.02, 5
GENDERS: dict[Gender, float] = {"female": 490, "male": 497, "another_gender": 13}


@dataclass(frozen=True, slots=True)
class Population:
    """Everybody who is not staff."""

    students: tuple[Student, ...]
    households: tuple[Household, ...]


def build_population(chance: Chance, schools: tuple[Organisation, ...], today: date) -> Population:
    """Fill the schools and add a few students without one."""
    return _Census(chance, schools, today).take()


def school_year(today: date) -> int:
    """Return the school year a day belongs to; January still counts with the year before."""
    return today.year if today.month > 1 else today.year - 1


class _Census:
    def __init__(self, chance: Chance, schools: tuple[Organisation, ...], today: date) -> None:
        self.chance = chance
        self.schools = schools
        self.today = today
        self.draw = chance.stream("students")
        self.households: list[Household] = []
        self.by_town: dict[str, list[Household]] = {}
        self.students: list[Student] = []
        self.numbers = self.draw.sample(range(1_000_000_000, 2_000_000_000), STUDENTS)
        self.former = {school.organisation_id: self._feeders(school) for school in schools}

    def take(self) -> Population:
        for school, count in self._rolls():
            for _ in range(count):
                self._admit(school, enrolled=True)
        for school in self.draw.choices(self.schools, k=WITHOUT_SCHOOL):
            self._admit(school, enrolled=False)
        return Population(tuple(self.students), tuple(self.households))

    def _rolls(self) -> list[tuple[Organisation, int]]:
        sizes = table("region")["rolls"]
        weights = [
            sizes[school.school_kind] * self.draw.uniform(0.75, 1.3) for school in self.schools
        ]
        places = STUDENTS - WITHOUT_SCHOOL
        counts = [int(places * weight / sum(weights)) for weight in weights]
        for index in range(places - sum(counts)):
            counts[index % len(counts)] += 1
        return list(zip(self.schools, counts, strict=True))

    def _feeders(self, school: Organisation) -> tuple[UUID, ...]:
        lowest = _years(school)[0]
        return tuple(
            other.organisation_id
            for other in self.schools
            if other.town == school.town and other is not school and _years(other)[0] <= lowest
        )

    def _admit(self, school: Organisation, *, enrolled: bool) -> None:
        draw = self.draw
        first, last = _years(school)
        leaves_early = last == LAST_YEAR and draw.random() < LEAVES_EARLY
        year = draw.randint(first, last - 2 if leaves_early else last)
        home = self._household(school, year)
        gender = weighted(draw, GENDERS)
        sex: Sex = draw.choice(("female", "male")) if gender == "another_gender" else gender
        name = _unlike(draw, home, sex)
        home.children[year] = name
        school_id, status, last_school = self._enrolment(school, enrolled=enrolled)
        number = len(self.students)
        self.students.append(
            Student(
                student_id=self.chance.identify("student", number),
                national_student_number=str(self.numbers[number]),
                given_name=name,
                family_name=home.family_name,
                preferred_name=_preferred(draw, name),
                date_of_birth=self._born(year),
                gender=gender,
                year_level=year,
                school_id=school_id,
                enrolment_status=status,
                last_school_id=last_school,
                address=home.address,
                caregivers=home.caregivers,
            )
        )

    def _enrolment(
        self, school: Organisation, *, enrolled: bool
    ) -> tuple[UUID | None, EnrolmentStatus, UUID | None]:
        if not enrolled:
            return None, "not_enrolled", school.organisation_id
        luck = self.draw.random()
        former: UUID | None = None
        if luck < MOVED_HERE:
            former = self.draw.choice(self.schools).organisation_id
        elif luck < MOVED_HERE + CAME_UP and self.former[school.organisation_id]:
            former = self.draw.choice(self.former[school.organisation_id])
        return (
            school.organisation_id,
            "enrolled",
            None if former == school.organisation_id else former,
        )

    def _household(self, school: Organisation, year: int) -> Household:
        draw = self.draw
        known = self.by_town.setdefault(school.town, [])
        if known and draw.random() < HAS_SIBLING:
            home = draw.choice(known[-OPEN_HOUSEHOLDS:])
            if year not in home.children and len(home.children) < LARGEST_HOUSEHOLD:
                return home
        home = settle(draw, school)
        known.append(home)
        self.households.append(home)
        return home

    def _born(self, year: int) -> date:
        """Choose a birthday of the cohort: year 1 turned five by the end of March."""
        first = date(school_year(self.today) - year - 5, 4, 1)
        last = min(
            date(first.year + 1, 3, 31),
            date(self.today.year - 5, self.today.month, min(self.today.day, 28)),
        )
        return first + timedelta(days=self.draw.randint(0, (last - first).days))


def _years(school: Organisation) -> tuple[int, int]:
    if school.year_levels is None:
        msg = f"{school.name} has no year levels"
        raise ValueError(msg)
    return school.year_levels


def _unlike(draw: Random, home: Household, sex: Sex) -> str:
    """Choose a given name that no other child of the household bears."""
    taken = {short(name) for name in home.children.values()}
    while True:
        name = given_name(draw, home.people, sex)
        if short(name) not in taken:
            return name


def _preferred(draw: Random, name: str) -> str | None:
    luck = draw.random()
    if luck < USES_SECOND_NAME and " " in name:
        second = name.split(" ", 1)[1]
        return second if len(second) > 1 else short(name)
    if luck < USES_SECOND_NAME + USES_SHORT_NAME and len(name.split(maxsplit=1)[0]) > LONG_NAME:
        return name[:3]
    return None
