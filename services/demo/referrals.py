"""Requests for support, from the first draft to the case manager.

Owns who did each step and when. Every step is taken by somebody who held the
role that day, and an allocation lies inside the provider's catchment.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from services.demo.names import short
from services.demo.records import Request, Role
from services.demo.roster import SCHOOL_ROLES
from services.demo.schooldays import working_moment
from services.demo.students import school_year
from services.demo.texts import compose

if TYPE_CHECKING:
    from datetime import date
    from uuid import UUID

    from services.demo.chance import Chance
    from services.demo.courses import Course
    from services.demo.records import Organisation, Student
    from services.demo.schooldays import History
    from services.demo.schools import Landscape
    from services.demo.staff import Post, Staff

LEADS: tuple[Role, ...] = ("asp_workflow_lead", "isp_workflow_lead")
CASE_MANAGERS: tuple[Role, ...] = ("asp_case_manager", "isp_workflow_lead")


@dataclass(frozen=True, slots=True)
class Opening:
    """What the case that follows a request begins with; `opened` is a place in the history."""

    course: Course
    request: Request
    school: Organisation
    provider: Organisation
    maker: Post
    manager: Post
    opened: int


def build_requests(
    chance: Chance,
    landscape: Landscape,
    staff: Staff,
    courses: tuple[Course, ...],
    history: History,
) -> tuple[tuple[Request, ...], tuple[Opening, ...]]:
    """Return every request, and the openings of those that became cases."""
    office = _Office(chance, landscape, staff, history)
    requests: list[Request] = []
    openings: list[Opening] = []
    for number, course in enumerate(courses):
        request, opening = office.handle(number, course)
        requests.append(request)
        if opening is not None:
            openings.append(opening)
    return tuple(requests), tuple(openings)


def known_of(student: Student, today: date, day: date, **more: str) -> dict[str, str]:
    """Return what sentence patterns may say of a student on a day."""
    year = student.year_level - (school_year(today) - school_year(day))
    return {
        "name": student.preferred_name or short(student.given_name),
        "caregiver": short(student.caregivers[0].name),
        "year": f"Year {year}",
        "contact": "the school",
    } | more


class _Office:
    def __init__(
        self,
        chance: Chance,
        landscape: Landscape,
        staff: Staff,
        history: History,
    ) -> None:
        self.chance = chance
        self.draw = chance.stream("requests")
        self.landscape = landscape
        self.staff = staff
        self.days = history.days
        self.today = history.today
        self.teams = {team.function: team for team in landscape.ministry}
        self.offices = [team for team in landscape.ministry if team.function == "regional_office"]

    def handle(self, number: int, course: Course) -> tuple[Request, Opening | None]:
        """Carry one request as far as its course goes."""
        draw = self.draw
        maker = self._maker(course)
        zone = ZoneInfo(course.school.time_zone if course.school else "Pacific/Auckland")
        request = self._draft(number, course, maker, zone)
        if course.state == "draft":
            return request, None
        place = course.created + draw.randint(1, 3)
        if course.state == "withdrawn":
            return self._withdraw(request, course, place, zone), None
        request = replace(request, submitted_at=working_moment(draw, self.days[place], zone))
        if course.state == "submitted":
            return request, None
        place += draw.randint(1, 5)
        request = self._review(request, course, place, zone)
        if course.state in ("accepted", "declined") or course.school is None:
            return request, None
        provider = self._provider(course, course.school, place)
        request = replace(
            request,
            allocated_to=provider.organisation_id,
            allocated_at=_after(request.reviewed_at, draw.randint(5, 60)),
        )
        if course.state == "allocated":
            return request, None
        place += draw.randint(1, 4)
        manager = self._manager(course, provider, place)
        case_id = self.chance.identify("case", number)
        request = self._assign(request, provider, place, zone=zone, case_id=case_id)
        return request, Opening(course, request, course.school, provider, maker, manager, place)

    def _draft(self, number: int, course: Course, maker: Post, zone: ZoneInfo) -> Request:
        draw = self.draw
        day = self.days[course.created]
        known = known_of(course.student, self.today, day)
        return Request(
            request_id=self.chance.identify("request", number),
            student_id=course.student.student_id,
            school_id=course.school.organisation_id if course.school else None,
            state=course.state,
            made_by=maker.person.person_id,
            made_by_assignment_id=maker.assignment.assignment_id,
            created_at=working_moment(draw, day, zone),
            reason=compose(draw, "reason", known),
            absences=compose(draw, "absences", known),
            steps_taken=compose(draw, "steps", known),
        )

    def _maker(self, course: Course) -> Post:
        """Choose somebody who held the role that day and, for a draft, holds it today."""
        days = [self.days[course.created]]
        if course.state == "draft":
            days.append(self.today)
        if course.by_regional_office or course.school is None:
            office = self.draw.choice(self.offices)
            return self.draw.choice(
                self.staff.holders(office.organisation_id, ("regional_office",), *days)
            )
        return self.draw.choice(
            self.staff.holders(course.school.organisation_id, SCHOOL_ROLES, *days)
        )

    def _withdraw(self, request: Request, course: Course, place: int, zone: ZoneInfo) -> Request:
        draw = self.draw
        known = known_of(course.student, self.today, self.days[place])
        submitted = working_moment(draw, self.days[place], zone) if draw.random() < 0.6 else None  # noqa: PLR2004
        ended = self.days[place + draw.randint(1, 8)]
        reason = compose(draw, "withdrawal", known)
        moment = working_moment(draw, ended, zone)
        return replace(
            request, submitted_at=submitted, withdrawn_at=moment, withdrawal_reason=reason
        )

    def _review(self, request: Request, course: Course, place: int, zone: ZoneInfo) -> Request:
        draw = self.draw
        day = self.days[place]
        team = self.teams["central_investigation"].organisation_id
        reviewer = draw.choice(self.staff.holders(team, ("central_investigation",), day))
        known = known_of(course.student, self.today, day)
        return replace(
            request,
            reviewed_at=working_moment(draw, day, zone),
            reviewed_by=reviewer.person.person_id,
            decline_reason=compose(draw, "decline", known) if course.state == "declined" else None,
        )

    def _provider(self, course: Course, school: Organisation, place: int) -> Organisation:
        in_school = self.landscape.isp_of(school.organisation_id) if course.in_school else None
        return in_school or self.landscape.asp_of(school.organisation_id, self.days[place])

    def _manager(self, course: Course, provider: Organisation, place: int) -> Post:
        """Choose a case manager who stays for the whole of the case."""
        until = self.today if course.status == "active" else self.days[place + course.lasts]
        return self.draw.choice(
            self.staff.holders(provider.organisation_id, CASE_MANAGERS, self.days[place], until)
        )

    def _assign(
        self,
        request: Request,
        provider: Organisation,
        place: int,
        *,
        zone: ZoneInfo,
        case_id: UUID,
    ) -> Request:
        day = self.days[place]
        lead = self.draw.choice(self.staff.holders(provider.organisation_id, LEADS, day))
        return replace(
            request,
            assigned_by=lead.person.person_id,
            assigned_at=working_moment(self.draw, day, zone),
            case_id=case_id,
        )


def _after(moment: datetime | None, minutes: int) -> datetime | None:
    return moment + timedelta(minutes=minutes) if moment else None
