"""Cases: their people, plans and items.

Owns what happened on a case after its opening. Authors held their role on the
day they wrote; school staff write comments and documents only; labels are set
by providers only (AC-DO-6). A primary contact is never the person who made the
request, since nobody names themselves.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, cast
from uuid import UUID
from zoneinfo import ZoneInfo

from services.demo.chance import some, weighted
from services.demo.names import short
from services.demo.records import Case, Item, ItemKind, PlanStatus, PlanVersion
from services.demo.referrals import LEADS, known_of
from services.demo.schooldays import working_moment
from services.demo.tables import table
from services.demo.texts import compose

if TYPE_CHECKING:
    from services.demo.chance import Chance
    from services.demo.referrals import Opening
    from services.demo.schooldays import History
    from services.demo.staff import Post, Staff

FEWEST_ITEMS, MOST_ITEMS = 3, 25
ITEM_EVERY = 8  # school days
BY_SCHOOL = 0.18
SHARED_BY_SCHOOL, SHARED_BY_PROVIDER = 0.66, 0.16
SENSITIVE = 0.1  # of what the provider writes
SECOND_LABEL, SUMMARISED, DELETED = 0.15, 0.35, 0.015
WITHOUT_CONTACT, WITH_TEAM, WRITTEN_BY_LEAD = 0.08, 0.38, 0.12
PLAN_EVERY = 45  # school days
NOTIFIED_EVERY = 27  # one active case in so many is notified for potential prosecution
KINDS: dict[ItemKind, float] = {
    "note": 42,
    "activity": 20,
    "correspondence": 20,
    "comment": 10,
    "document": 8,
}
KINDS_WITH_LABELS = ("note", "correspondence", "document")


def build_cases(
    chance: Chance,
    staff: Staff,
    openings: tuple[Opening, ...],
    history: History,
) -> tuple[Case, ...]:
    """Return every case in the order of the openings."""
    active = [opening for opening in openings if opening.course.status == "active"]
    notified = {opening.request.case_id for opening in active[::NOTIFIED_EVERY]}
    return tuple(
        _Desk(chance, staff, opening, history).case(notified=opening.request.case_id in notified)
        for opening in openings
    )


class _Desk:
    """The work on one case."""

    def __init__(
        self,
        chance: Chance,
        staff: Staff,
        opening: Opening,
        history: History,
    ) -> None:
        self.chance = chance
        self.staff = staff
        self.opening = opening
        self.days = history.days
        self.today = history.today
        self.case_id = cast("UUID", opening.request.case_id)
        self.draw = chance.stream(f"case:{self.case_id}")
        self.zone = ZoneInfo(opening.school.time_zone)
        self.active = opening.course.status == "active"
        self.ended = len(self.days) if self.active else opening.opened + opening.course.lasts
        self.last_day = self.today if self.active else self.days[self.ended]
        self.contact = self._contact()

    def case(self, *, notified: bool) -> Case:
        draw, opening, course = self.draw, self.opening, self.opening.course
        ended_at = None if self.active else working_moment(draw, self.last_day, self.zone)
        closed, withdrawn = course.status == "closed", course.status == "withdrawn"
        known = self._known(self.last_day)
        return Case(
            case_id=self.case_id,
            request_id=opening.request.request_id,
            student_id=course.student.student_id,
            school_id=opening.school.organisation_id,
            provider_id=opening.provider.organisation_id,
            status=course.status or "active",
            case_manager_id=opening.manager.person.person_id,
            primary_contact_id=self.contact.person.person_id if self.contact else None,
            team=self._team(),
            opened_at=cast("datetime", opening.request.assigned_at),
            closed_at=ended_at if closed else None,
            outcome=compose(draw, "outcome", known) if closed else None,
            withdrawn_at=ended_at if withdrawn else None,
            withdrawal_reason=compose(draw, "case_withdrawal", known) if withdrawn else None,
            prosecution_notified=notified,
            plan_versions=() if withdrawn else self._plan_versions(),
            items=self._items(),
        )

    def _contact(self) -> Post | None:
        """Choose one who did not make the request and stays for the whole of the case."""
        opened = self.days[self.opening.opened]
        school = self.opening.school.organisation_id
        posts = self.staff.holders(school, ("primary_contact",), opened, self.last_day)
        others = [post for post in posts if post.person is not self.opening.maker.person]
        return (
            self.draw.choice(others) if others and self.draw.random() >= WITHOUT_CONTACT else None
        )

    def _team(self) -> tuple[UUID, ...]:
        opening = self.opening
        if opening.provider.kind != "asp" or self.draw.random() >= WITH_TEAM:
            return ()
        opened = self.days[opening.opened]
        posts = self.staff.holders(
            opening.provider.organisation_id, ("asp_case_manager",), opened, self.last_day
        )
        others = [
            post.person.person_id for post in posts if post.person is not opening.manager.person
        ]
        return tuple(some(self.draw, others, 1, 3))

    def _known(self, day: date) -> dict[str, str]:
        names = {"manager": short(self.opening.manager.person.given_name)}
        if self.contact:
            names["contact"] = short(self.contact.person.given_name)
        return known_of(self.opening.course.student, self.today, day, **names)

    def _plan_versions(self) -> tuple[PlanVersion, ...]:
        """Write a first draft within days, then agree on it and on later ones."""
        versions: list[PlanVersion] = []
        place = self.opening.opened + self.draw.randint(2, 7)
        status: PlanStatus = "draft"
        while place < self.ended:
            manager = self.opening.manager
            known = self._known(self.days[place])
            versions.append(
                PlanVersion(
                    created_at=working_moment(self.draw, self.days[place], self.zone),
                    author_assignment_id=manager.assignment.assignment_id,
                    status=status,
                    goals=compose(self.draw, "goals", known),
                    actions=compose(self.draw, "actions", known),
                )
            )
            agreed_next = status == "draft"
            place += (
                self.draw.randint(2, 9)
                if agreed_next
                else self.draw.randint(PLAN_EVERY // 2, PLAN_EVERY * 2)
            )
            status = "agreed" if agreed_next or self.draw.random() < 0.7 else "draft"  # noqa: PLR2004
        return tuple(versions)

    def _items(self) -> tuple[Item, ...]:
        draw = self.draw
        length = self.ended - self.opening.opened
        count = min(FEWEST_ITEMS + length // ITEM_EVERY + draw.randint(0, 4), MOST_ITEMS)
        places = sorted(draw.choices(range(self.opening.opened + 1, self.ended), k=count))
        moments = sorted(
            (working_moment(draw, self.days[place], self.zone), self.days[place])
            for place in places
        )
        return tuple(
            self._item(number, moment, day) for number, (moment, day) in enumerate(moments)
        )

    def _item(self, number: int, moment: datetime, day: date) -> Item:
        if self.draw.random() < BY_SCHOOL:
            return self._school_item(number, moment, day)
        draw = self.draw
        kind = weighted(draw, KINDS)
        labels = (
            self._labels() if kind in KINDS_WITH_LABELS and draw.random() < SENSITIVE * 1.4 else ()
        )
        author = self.opening.manager
        if draw.random() < WRITTEN_BY_LEAD:
            author = draw.choice(
                self.staff.holders(self.opening.provider.organisation_id, LEADS, day)
            )
        known = self._known(day)
        text = compose(draw, labels[0] if labels else kind, known)
        summary = compose(draw, "summary", known) if labels and draw.random() < SUMMARISED else None
        shared = draw.random() < SHARED_BY_PROVIDER
        return self._written(
            number, moment, author, kind, text, shared=shared, labels=labels, summary=summary
        )

    def _school_item(self, number: int, moment: datetime, day: date) -> Item:
        draw = self.draw
        school = self.opening.school.organisation_id
        authors = self.staff.holders(school, ("school_leader", "school_office"), day)
        author = self.contact if self.contact and draw.random() < 0.6 else draw.choice(authors)  # noqa: PLR2004
        kind: ItemKind = "document" if draw.random() < 0.2 else "comment"  # noqa: PLR2004
        text = compose(draw, f"school_{kind}", self._known(day))
        shared = draw.random() < SHARED_BY_SCHOOL
        return self._written(
            number, moment, author, kind, text, shared=shared, labels=(), summary=None
        )

    def _labels(self) -> tuple[str, ...]:
        data = table("labels")
        label: str = weighted(self.draw, data["weights"])
        fitting = data["together"].get(label)
        return (label, fitting) if fitting and self.draw.random() < SECOND_LABEL else (label,)

    def _written(
        self,
        number: int,
        moment: datetime,
        author: Post,
        kind: ItemKind,
        text: str,
        *,
        shared: bool,
        labels: tuple[str, ...],
        summary: str | None,
    ) -> Item:
        deleted = compose(self.draw, "deletion", {}) if self.draw.random() < DELETED else None
        return Item(
            item_id=self.chance.identify("item", f"{self.case_id}:{number}"),
            kind=kind,
            author_assignment_id=author.assignment.assignment_id,
            created_at=moment,
            text=text,
            shared_with_school=shared,
            labels=labels,
            summary=summary,
            deleted=deleted,
        )
