"""The courses that requests and cases take: which student, which school, how far, from when.

Owns the numbers of the demonstration's case work and keeps them consistent with
each student's school years: at most one request or case of a student is open at
a time, and an earlier case ended before the later one began. Days are places in
the list of past school days.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.demo.students import school_year

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from services.demo.chance import Chance
    from services.demo.records import CaseStatus, Organisation, RequestState, Student
    from services.demo.schooldays import History
    from services.demo.schools import Landscape

HISTORY = 400  # school days, about two years

# What a request came to: how many, and the places in the history between which it was made.
PENDING: dict[RequestState, tuple[int, int, int]] = {
    "draft": (45, HISTORY - 25, HISTORY - 1),
    "submitted": (28, HISTORY - 18, HISTORY - 6),
    "accepted": (12, HISTORY - 25, HISTORY - 11),
    "allocated": (20, HISTORY - 25, HISTORY - 11),
    "declined": (38, 5, HISTORY - 15),
    "withdrawn": (35, 5, HISTORY - 14),
}
WITHOUT_SCHOOL: dict[RequestState, tuple[int, int, int]] = {
    "submitted": (6, HISTORY - 18, HISTORY - 6),
    "accepted": (2, HISTORY - 25, HISTORY - 11),
}
DECLINED_BEFORE = 10  # students with an active case and an earlier, declined request
ACTIVE, CLOSED, OPENED_IN_ERROR = 218, 96, 10  # cases of students without an earlier case
# Students with an earlier closed case: what the later request or case came to.
RETURNING: dict[RequestState | CaseStatus, int] = {"active": 32, "closed": 4, "submitted": 4}
FROM_ANOTHER_SCHOOL, FROM_THE_IN_SCHOOL_PROVIDER, FROM_THE_FORMER_PROVIDER = 14, 8, 4
BY_REGIONAL_OFFICE = 0.05
TO_THE_IN_SCHOOL_PROVIDER = 0.5


@dataclass(frozen=True, slots=True)
class Course:
    """One request and, when `status` is set, the case it became.

    `created` is a place in the history; `lasts` is the length of an ended case
    in school days; `in_school` says that the in-school provider takes it.
    """

    student: Student
    school: Organisation | None
    state: RequestState
    created: int
    status: CaseStatus | None = None
    lasts: int = 0
    in_school: bool = False
    by_regional_office: bool = False


def plan_courses(
    chance: Chance,
    landscape: Landscape,
    students: tuple[Student, ...],
    history: History,
) -> tuple[Course, ...]:
    """Return every course, oldest first."""
    planner = _Planner(chance, landscape, students, history)
    planner.plan_returning()
    planner.plan_cases()
    planner.plan_pending()
    return tuple(sorted(planner.courses, key=lambda course: course.created))


class _Planner:
    def __init__(
        self,
        chance: Chance,
        landscape: Landscape,
        students: tuple[Student, ...],
        history: History,
    ) -> None:
        self.draw = chance.stream("courses")
        self.landscape = landscape
        self.schools = {school.organisation_id: school for school in landscape.schools}
        self.days = history.days
        self.today = history.today
        self.free = self.draw.sample(students, len(students))
        self.courses: list[Course] = []

    def plan_returning(self) -> None:
        """Give forty students an earlier closed case, some of them by another provider."""
        laters = [came_to for came_to, count in RETURNING.items() for _ in range(count)]
        for number, later in enumerate(laters):
            first, second = self.draw.randint(5, HISTORY // 5), self._recent(later)
            student, former = self._returning_student(number, first, second)
            current = self.schools[student.school_id] if student.school_id else None
            by_isp = (
                FROM_ANOTHER_SCHOOL <= number < FROM_ANOTHER_SCHOOL + FROM_THE_IN_SCHOOL_PROVIDER
            )
            lasts = self.draw.randint(20, 60)
            self.courses.append(
                Course(student, former, "assigned", first, "closed", lasts, in_school=by_isp)
            )
            if later in ("active", "closed"):
                status: CaseStatus = "active" if later == "active" else "closed"
                self.courses.append(
                    Course(student, current, "assigned", second, status, self.draw.randint(20, 60))
                )
            else:
                self.courses.append(Course(student, current, "submitted", second))

    def plan_cases(self) -> None:
        """Give the other students with a case their one case."""
        for number in range(ACTIVE):
            declined_before = number < DECLINED_BEFORE
            low = int(HISTORY * (0.6 if declined_before else 0.4))
            created = int(self.draw.triangular(low, HISTORY - 22, HISTORY - 22))
            refused = (
                self.draw.randint(int(HISTORY * 0.3), HISTORY // 2) if declined_before else created
            )
            student, school = self._student(refused)
            self._add_case(student, school, created, "active")
            if declined_before:
                self.courses.append(Course(student, school, "declined", refused))
        for _ in range(CLOSED):
            created = self.draw.randint(0, HISTORY - 130)
            self._add_case(*self._student(created), created, "closed", self.draw.randint(25, 110))
        for _ in range(OPENED_IN_ERROR):
            created = self.draw.randint(HISTORY // 3, HISTORY - 40)
            self._add_case(*self._student(created), created, "withdrawn", self.draw.randint(3, 15))

    def plan_pending(self) -> None:
        """Add the requests that have not become a case."""
        for state, (count, earliest, latest) in PENDING.items():
            for _ in range(count):
                created = self.draw.randint(earliest, latest)
                student, school = self._student(created)
                may_be_office = state != "withdrawn"  # AC-DO-10: they make, edit and submit only
                by_office = may_be_office and self.draw.random() < 3 * BY_REGIONAL_OFFICE
                self.courses.append(
                    Course(student, school, state, created, by_regional_office=by_office)
                )
        for state, (count, earliest, latest) in WITHOUT_SCHOOL.items():
            for _ in range(count):
                student = self._take(lambda student: student.school_id is None)
                created = self.draw.randint(earliest, latest)
                self.courses.append(Course(student, None, state, created, by_regional_office=True))

    def _add_case(
        self,
        student: Student,
        school: Organisation,
        created: int,
        status: CaseStatus,
        lasts: int = 0,
    ) -> None:
        has_isp = self.landscape.isp_of(school.organisation_id) is not None
        in_school = has_isp and self.draw.random() < TO_THE_IN_SCHOOL_PROVIDER
        by_office = self.draw.random() < BY_REGIONAL_OFFICE
        self.courses.append(
            Course(student, school, "assigned", created, status, lasts, in_school, by_office)
        )

    def _recent(self, came_to: RequestState | CaseStatus) -> int:
        if came_to == "submitted":
            return self.draw.randint(HISTORY - 18, HISTORY - 6)
        return self.draw.randint(int(HISTORY * 0.6), HISTORY - (22 if came_to == "active" else 90))

    def _student(self, created: int) -> tuple[Student, Organisation]:
        """Take a student who was at the present school that day already."""
        student = self._take(lambda student: self._was_at(student, student.school_id, created))
        return student, self._school(student.school_id)

    def _returning_student(
        self, number: int, first: int, second: int
    ) -> tuple[Student, Organisation]:
        """Take a student for the kind of earlier case this number means, and the school of it."""
        if number < FROM_ANOTHER_SCHOOL:
            student = self._take(lambda one: self._moved_between(one, first, second))
            return student, self._school(student.last_school_id)
        number -= FROM_ANOTHER_SCHOOL
        if number < FROM_THE_IN_SCHOOL_PROVIDER:
            student = self._take(
                lambda one: self._was_at(one, one.school_id, first) and self._has_isp(one.school_id)
            )
        elif number < FROM_THE_IN_SCHOOL_PROVIDER + FROM_THE_FORMER_PROVIDER:
            student = self._take(
                lambda one: (
                    self._was_at(one, one.school_id, first)
                    and self._provider(one.school_id, first)
                    != self._provider(one.school_id, second)
                )
            )
        else:
            return self._student(first)
        return student, self._school(student.school_id)

    def _moved_between(self, student: Student, first: int, second: int) -> bool:
        """Tell whether the student was at another provider's school at first, and here later."""
        return (
            self._was_at(student, student.last_school_id, first)
            and self._was_at(student, student.school_id, second)
            and self._provider(student.last_school_id, first)
            != self._provider(student.school_id, second)
        )

    def _has_isp(self, school_id: UUID | None) -> bool:
        return school_id is not None and self.landscape.isp_of(school_id) is not None

    def _take(self, suits: Callable[[Student], bool]) -> Student:
        """Remove and return the first free student who suits; `StopIteration` when none does."""
        place = next(index for index, student in enumerate(self.free) if suits(student))
        return self.free.pop(place)

    def _was_at(self, student: Student, school_id: UUID | None, created: int) -> bool:
        if school_id is None or student.school_id is None:
            return False
        lowest, highest = self.schools[school_id].year_levels or (1, 13)
        year_then = student.year_level - (school_year(self.today) - school_year(self.days[created]))
        return lowest <= year_then <= highest

    def _provider(self, school_id: UUID | None, created: int) -> Organisation | None:
        return self.landscape.asp_of(school_id, self.days[created]) if school_id else None

    def _school(self, school_id: UUID | None) -> Organisation:
        if school_id is None:
            msg = "a student without a school was taken for one at a school"
            raise ValueError(msg)
        return self.schools[school_id]
