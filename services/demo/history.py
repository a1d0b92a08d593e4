"""The history of the region's records as what happened, one step after another.

Turns requests and cases into :class:`Step` s: who did what to which record when, and what the fact
says, with texts still open. Pure; sealing and appending come after (:mod:`services.demo.sealed`).
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from services.cases import events as e
from services.cases.content_events import ItemAdded, ItemDeleted, PlanWritten
from services.cases.terms import ItemKind, Label, PlanStatus, RecordKind, Staff
from services.demo.steps import Step, Teller, Text, json_of, number
from services.kernel.events import ObjectRef
from services.kernel.sealing import Compartment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from uuid import UUID

    from services.demo.chance import Chance
    from services.demo.posts import Posts
    from services.demo.records import Case, Item, Request
    from services.demo.region import Region

_SOON: Final = timedelta(minutes=10)


class Narrator:
    """Tells what happened to each record."""

    def __init__(self, region: Region, chance: Chance, posts: Posts) -> None:
        self._chance = chance
        self._posts = posts
        self._last_school = {s.student_id: s.last_school_id for s in region.students}
        self._cases = {case.case_id: case for case in region.cases}

    def request(self, request: Request) -> Iterator[Step]:
        """Yield the steps of a request in order and, where it became one, those of its case."""
        tell = Teller(request.student_id, RecordKind.REQUEST, request.request_id)
        maker = self._posts.of(request.made_by_assignment_id)
        school = request.school_id or self._last_school[request.student_id]
        assert school is not None  # noqa: S101 - a learner without a school had one before
        yield tell.step(
            e.RequestDrafted,
            request.created_at,
            maker,
            "create",
            fields={
                "request_id": request.request_id,
                "number": number(self._chance, "request", request.request_id),
                "student_id": request.student_id,
                "school_id": school,
                "made_by": maker,
            },
            texts={"referral": Text(_referral(request))},
        )
        if request.submitted_at:
            yield tell.step(e.RequestSubmitted, request.submitted_at, maker, "submit")
        if request.withdrawn_at:
            reason = {"reason": Text(request.withdrawal_reason or "")}
            yield tell.step(
                e.RequestWithdrawn, request.withdrawn_at, maker, "withdraw", texts=reason
            )
        if request.reviewed_at and request.reviewed_by:
            yield from self._review(tell, request, request.reviewed_at, request.reviewed_by)
        case = self._cases.get(request.case_id) if request.case_id else None
        if case is not None:
            yield from self._assigned(tell, request, case, maker)

    def _review(
        self, tell: Teller, request: Request, moment: datetime, reviewer: UUID
    ) -> Iterator[Step]:
        by = self._posts.person(reviewer, moment)
        if request.decline_reason is not None:
            reason = {"reason": Text(request.decline_reason)}
            yield tell.step(
                e.RequestDeclined, moment, by, "decline", fields={"by": by}, texts=reason
            )
            return
        yield tell.step(e.RequestAccepted, moment, by, "accept", fields={"by": by})
        if request.allocated_to and request.allocated_at:
            yield tell.step(
                e.RequestAllocated,
                request.allocated_at,
                by,
                "allocate",
                fields={"provider_id": request.allocated_to, "by": by},
            )

    def _assigned(self, tell: Teller, request: Request, case: Case, maker: Staff) -> Iterator[Step]:
        moment = case.opened_at
        lead = self._posts.person(request.assigned_by or maker.person_id, moment)
        manager = self._posts.person(case.case_manager_id, moment, at=case.provider_id)
        yield tell.step(
            e.RequestAssigned,
            moment,
            lead,
            "assign",
            fields={"case_manager": manager, "case_id": case.case_id},
        )
        yield from self._case(request, case, maker, lead, manager)

    def _case(
        self, request: Request, case: Case, maker: Staff, lead: Staff, manager: Staff
    ) -> Iterator[Step]:
        tell = Teller(case.student_id, RecordKind.CASE, case.case_id)
        yield tell.step(
            e.CaseOpened,
            case.opened_at,
            lead,
            "assign",
            fields={
                "case_id": case.case_id,
                "number": number(self._chance, "case", case.case_id),
                "request_id": case.request_id,
                "student_id": case.student_id,
                "school_id": case.school_id,
                "provider_id": case.provider_id,
                "made_by": maker,
                "case_manager": manager,
                "submitted_at": request.submitted_at,
                "reviewed_at": request.reviewed_at,
                "allocated_at": request.allocated_at,
            },
            texts={"referral": Text(_referral(request))},
        )
        yield from self._people(tell, case, manager)
        yield from self._content(tell, case)
        yield from self._ending(tell, case, lead, manager)

    def _people(self, tell: Teller, case: Case, manager: Staff) -> Iterator[Step]:
        if case.primary_contact_id:
            moment = case.opened_at + _SOON
            contact = self._posts.person(case.primary_contact_id, moment, at=case.school_id)
            leader = self._posts.holder(case.school_id, "school_leader", moment) or manager
            yield tell.step(
                e.PrimaryContactNamed,
                moment,
                leader,
                "update",
                fields={"primary_contact": contact},
            )
        for place, person_id in enumerate(case.team):
            moment = case.opened_at + (place + 2) * _SOON
            member = self._posts.person(person_id, moment, at=case.provider_id)
            yield tell.step(e.TeamMemberNamed, moment, manager, "update", fields={"member": member})

    def _content(self, tell: Teller, case: Case) -> Iterator[Step]:
        for place, version in enumerate(case.plan_versions):
            author = self._posts.of(version.author_assignment_id)
            plan_id = self._chance.identify("plan", f"{case.case_id}:{place}")
            yield tell.step(
                PlanWritten,
                version.created_at,
                author,
                "update",
                fields={
                    "plan_id": plan_id,
                    "status": PlanStatus(version.status),
                    "author": author,
                },
                texts={"content": Text(json_of(goals=version.goals, actions=version.actions))},
                about=ObjectRef("plan", str(plan_id)),
            )
        for item in case.items:
            yield from self._item(tell, item)

    def _item(self, tell: Teller, item: Item) -> Iterator[Step]:
        author = self._posts.of(item.author_assignment_id)
        about = ObjectRef("item", str(item.item_id))
        shut = Compartment.SENSITIVE if item.labels else Compartment.RECORD
        texts = {"text": Text(item.text, shut)}
        if item.summary:
            texts["summary"] = Text(item.summary)
        yield tell.step(
            ItemAdded,
            item.created_at,
            author,
            "create",
            fields={
                "item_id": item.item_id,
                "kind": ItemKind(item.kind),
                "author": author,
                "shared_with_school": item.shared_with_school,
                "labels": tuple(Label(label) for label in item.labels),
                "labelled_by": author.assignment_id if item.labels else None,
            },
            texts=texts,
            about=about,
        )
        if item.deleted is not None:
            yield tell.step(
                ItemDeleted,
                item.created_at + _SOON,
                author,
                "delete",
                fields={"item_id": item.item_id},
                texts={"reason": Text(item.deleted)},
                about=about,
            )

    def _ending(self, tell: Teller, case: Case, lead: Staff, manager: Staff) -> Iterator[Step]:
        if case.prosecution_notified:
            newest = max((item.created_at for item in case.items), default=case.opened_at)
            yield tell.step(e.ProsecutionNotified, newest + _SOON, manager, "update")
        if case.closed_at:
            outcome = {"outcome": Text(case.outcome or "")}
            yield tell.step(e.CaseClosed, case.closed_at, manager, "close", texts=outcome)
        if case.withdrawn_at:
            reason = {"reason": Text(case.withdrawal_reason or "")}
            yield tell.step(e.CaseWithdrawn, case.withdrawn_at, lead, "withdraw", texts=reason)


def _referral(request: Request) -> str:
    return json_of(
        reason=request.reason, absences=request.absences, steps_taken=request.steps_taken
    )
