"""The history of the region's records as what happened, one step after another.

Turns requests and cases into :class:`Step` s: who did what to which record when, and what the fact
says, with texts still open. Pure; sealing and appending come after (:mod:`services.demo.sealing`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec

from services.cases import events as e
from services.cases.events import ItemKind, Label, PlanStatus, RecordKind, Staff
from services.kernel.sealing import Compartment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from uuid import UUID

    from services.demo.chance import Chance
    from services.demo.posts import Posts
    from services.demo.records import Case, Item, Request, Student
    from services.demo.region import Region

_ALPHABET: Final = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
_SOON: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Text:
    """A text that is still to be sealed, and under which compartment."""

    text: str
    compartment: Compartment = Compartment.RECORD


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One fact to be: its payload's type and plain fields, and the texts to seal into it."""

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


def number(chance: Chance, kind: str, record_id: UUID) -> str:
    """Return the number of a record: ten letters that say nothing of another's or of a count."""
    draw = chance.stream(f"number:{record_id}")
    letters = "".join(draw.choices(_ALPHABET, k=10))
    return f"{kind[0].upper()}-{letters[:5]}-{letters[5:]}"


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
                _json(
                    address=student.address,
                    enrolment_status=student.enrolment_status,
                    last_school=school_names[last] if last else None,
                    gender=student.gender,
                ),
                Compartment.STUDENT,
            ),
            "family": Text(
                _json(
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
        touches=(e.student_key(student.student_id),),
    )


def _basic(student: Student) -> str:
    return _json(
        student_number=student.national_student_number,
        given_name=student.given_name,
        family_name=student.family_name,
        preferred_name=student.preferred_name,
        year_level=student.year_level,
        date_of_birth=student.date_of_birth.isoformat(),
    )


def _json(**fields: object) -> str:
    return msgspec.json.encode(fields).decode()


class Narrator:
    """Tells what happened to each record."""

    def __init__(self, region: Region, chance: Chance, posts: Posts) -> None:
        self._chance = chance
        self._posts = posts
        self._last_school = {s.student_id: s.last_school_id for s in region.students}
        self._cases = {case.case_id: case for case in region.cases}

    def request(self, request: Request) -> Iterator[Step]:
        """Yield the steps of a request in order and, where it became one, those of its case."""
        tell = _Teller(request.student_id, RecordKind.REQUEST, request.request_id)
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
        self, tell: _Teller, request: Request, moment: datetime, reviewer: UUID
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

    def _assigned(
        self, tell: _Teller, request: Request, case: Case, maker: Staff
    ) -> Iterator[Step]:
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
        tell = _Teller(case.student_id, RecordKind.CASE, case.case_id)
        yield tell.step(
            e.CaseOpened,
            case.opened_at,
            lead,
            "create",
            fields={
                "case_id": case.case_id,
                "number": number(self._chance, "case", case.case_id),
                "request_id": case.request_id,
                "student_id": case.student_id,
                "school_id": case.school_id,
                "provider_id": case.provider_id,
                "made_by": maker,
                "case_manager": manager,
            },
            texts={"referral": Text(_referral(request))},
        )
        yield from self._people(tell, case, manager)
        yield from self._content(tell, case)
        yield from self._ending(tell, case, lead, manager)

    def _people(self, tell: _Teller, case: Case, manager: Staff) -> Iterator[Step]:
        if case.primary_contact_id:
            moment = case.opened_at + _SOON
            contact = self._posts.person(case.primary_contact_id, moment, at=case.school_id)
            leader = self._posts.holder(case.school_id, "school_leader", moment) or manager
            yield tell.step(
                e.PrimaryContactNamed,
                moment,
                leader,
                "name_primary_contact",
                fields={"primary_contact": contact},
            )
        for place, person_id in enumerate(case.team):
            moment = case.opened_at + (place + 2) * _SOON
            member = self._posts.person(person_id, moment, at=case.provider_id)
            yield tell.step(
                e.TeamMemberNamed, moment, manager, "name_team", fields={"member": member}
            )

    def _content(self, tell: _Teller, case: Case) -> Iterator[Step]:
        for place, version in enumerate(case.plan_versions):
            author = self._posts.of(version.author_assignment_id)
            yield tell.step(
                e.PlanWritten,
                version.created_at,
                author,
                "update",
                fields={
                    "plan_id": self._chance.identify("plan", f"{case.case_id}:{place}"),
                    "status": PlanStatus(version.status),
                    "author": author,
                },
                texts={"content": Text(_json(goals=version.goals, actions=version.actions))},
            )
        for item in case.items:
            yield from self._item(tell, item)

    def _item(self, tell: _Teller, item: Item) -> Iterator[Step]:
        author = self._posts.of(item.author_assignment_id)
        shut = Compartment.SENSITIVE if item.labels else Compartment.RECORD
        texts = {"text": Text(item.text, shut)}
        if item.summary:
            texts["summary"] = Text(item.summary)
        yield tell.step(
            e.ItemAdded,
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
        )
        if item.deleted is not None:
            yield tell.step(
                e.ItemDeleted,
                item.created_at + _SOON,
                author,
                "delete",
                fields={"item_id": item.item_id},
                texts={"reason": Text(item.deleted)},
            )

    def _ending(self, tell: _Teller, case: Case, lead: Staff, manager: Staff) -> Iterator[Step]:
        if case.prosecution_notified:
            newest = max((item.created_at for item in case.items), default=case.opened_at)
            yield tell.step(e.ProsecutionNotified, newest + _SOON, manager, "notify_prosecution")
        if case.closed_at:
            outcome = {"outcome": Text(case.outcome or "")}
            yield tell.step(e.CaseClosed, case.closed_at, manager, "close", texts=outcome)
        if case.withdrawn_at:
            reason = {"reason": Text(case.withdrawal_reason or "")}
            yield tell.step(e.CaseWithdrawn, case.withdrawn_at, lead, "withdraw", texts=reason)


def _referral(request: Request) -> str:
    return _json(reason=request.reason, absences=request.absences, steps_taken=request.steps_taken)


@dataclass(frozen=True, slots=True)
class _Teller:
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
    ) -> Step:
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
            touches=(e.record_key(self.record_id), e.student_key(self.student_id)),
        )
