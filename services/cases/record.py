"""What a request or a case is, and how each fact changes it.

:func:`evolve` is pure and total over the facts of a record's stream. Sealed content passes through
as it came; nothing here opens anything, reads a clock, or knows who is asking.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from services.cases import events as e
from services.cases.events import ItemKind, Label, PlanStatus, RecordKind, Staff
from services.cases.kept import Kept, Particulars, kept, kept_if
from services.kernel.codes import Code
from services.kernel.events import Event

_replace = msgspec.structs.replace
#: the facts that end a record; a request that became a case ends with that case
ENDINGS: Final = frozenset(
    {
        e.REQUEST_DECLINED,
        e.REQUEST_WITHDRAWN,
        e.REQUEST_DELETED,
        e.CASE_CLOSED,
        e.CASE_WITHDRAWN,
    }
)


class Status(Code):
    """Where a record is in its life. Requests end ``assigned``, ``declined`` or ``withdrawn``."""

    DRAFT = "draft"
    SUBMITTED = "submitted"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    ALLOCATED = "allocated"
    ASSIGNED = "assigned"
    ACTIVE = "active"
    CLOSED = "closed"
    WITHDRAWN = "withdrawn"
    DELETED = "deleted"


class Item(msgspec.Struct, frozen=True, gc=False):
    """One thing on a case."""

    id: UUID
    kind: ItemKind
    author: Staff
    created_at: datetime
    text: Kept
    shared: bool = False
    labels: tuple[Label, ...] = ()
    #: the assignment that set each label: who set it may remove it (AC-DO-6)
    labelled_by: Mapping[Label, UUID] = {}
    summary: Kept | None = None
    edited_at: datetime | None = None


class PlanVersion(msgspec.Struct, frozen=True, gc=False):
    """One version of the support plan."""

    id: UUID
    status: PlanStatus
    author: Staff
    created_at: datetime
    content: Kept
    labels: tuple[Label, ...] = ()
    labelled_by: dict[Label, UUID] = {}


class Record(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A request or a case. The fields down to ``notified`` are the facts that decisions use."""

    id: UUID
    kind: RecordKind
    status: Status
    student_id: UUID
    school_id: UUID
    provider_id: UUID | None = None
    made_by: Staff
    case_manager: Staff | None = None
    primary_contact: Staff | None = None
    team: tuple[Staff, ...] = ()
    submitted_at: datetime | None = None
    notified: bool = False

    number: str
    created_at: datetime
    version: int
    referral: Kept
    referral_labels: tuple[Label, ...] = ()
    referral_labelled_by: dict[Label, UUID] = {}
    reviewed_by: Staff | None = None
    reviewed_at: datetime | None = None
    decline_reason: Kept | None = None
    allocated_at: datetime | None = None
    case_id: UUID | None = None
    request_id: UUID | None = None
    closed_at: datetime | None = None
    outcome: Kept | None = None
    plan: tuple[PlanVersion, ...] = ()
    items: tuple[Item, ...] = ()
    #: the learner's as they stood when the record ended (AC-SHARE-3); ``None`` while it is open
    particulars: Particulars | None = None

    def item(self, item_id: UUID) -> Item | None:
        """Return the item called ``item_id``; where it stands makes no difference in time."""
        return {item.id.int: item for item in self.items}.get(item_id.int)

    @property
    def staff(self) -> tuple[Staff, ...]:
        """Everybody the record names but for its team, once each, in order of appearance."""
        named = (self.made_by, self.primary_contact, self.case_manager, self.reviewed_by)
        authors = (*(v.author for v in self.plan), *(i.author for i in self.items))
        return tuple(dict.fromkeys(s for s in (*named, *authors) if s is not None))


def stream_of(record_id: UUID, kind: RecordKind) -> str:
    """Return the stream of a record."""
    return f"{kind}:{record_id}"


def evolve(record: Record | None, event: Event, student: "Student | None" = None) -> Record | None:
    """Return ``record`` after ``event``.

    ``student`` is the learner as they stand at the event. A record that it ends keeps their
    particulars as they are then; of one who is not known yet, none.
    """
    payload = msgspec.convert(event.data, e.PAYLOADS[event.type])
    moment = event.effective_at or event.recorded_at
    match payload:
        case e.RequestDrafted():
            return _drafted(payload, moment, event.version or 0)
        case e.CaseOpened():
            return _opened(payload, moment, event.version or 0)
        case _:
            pass
    if record is None:
        return None
    particulars = record.particulars
    if particulars is None and event.type in ENDINGS:
        particulars = Particulars() if student is None else student.particulars
    record = _replace(record, version=event.version or 0, particulars=particulars)
    if record.kind is RecordKind.REQUEST:
        return _evolve_request(record, payload, moment)
    return _evolve_case(record, payload, moment)


def _drafted(p: e.RequestDrafted, moment: datetime, version: int) -> Record:
    return Record(
        id=p.request_id,
        kind=RecordKind.REQUEST,
        status=Status.DRAFT,
        student_id=p.student_id,
        school_id=p.school_id,
        made_by=p.made_by,
        number=p.number,
        created_at=moment,
        version=version,
        referral=kept(p.referral),
    )


def _opened(p: e.CaseOpened, moment: datetime, version: int) -> Record:
    return Record(
        id=p.case_id,
        kind=RecordKind.CASE,
        status=Status.ACTIVE,
        student_id=p.student_id,
        school_id=p.school_id,
        provider_id=p.provider_id,
        made_by=p.made_by,
        case_manager=p.case_manager,
        submitted_at=p.submitted_at or moment,
        number=p.number,
        created_at=moment,
        version=version,
        referral=kept(p.referral),
        referral_labels=p.referral_labels,
        referral_labelled_by=p.referral_labelled_by,
        request_id=p.request_id,
    )


def _evolve_request(record: Record, payload: msgspec.Struct, moment: datetime) -> Record:  # noqa: PLR0911 - one per stage
    match payload:
        case e.RequestEdited():
            return _replace(record, referral=kept(payload.referral))
        case e.ReferralLabelled():
            return _labelled(record, payload)
        case e.RequestSubmitted():
            return _replace(record, status=Status.SUBMITTED, submitted_at=moment)
        case e.RequestAccepted():
            return _replace(
                record, status=Status.ACCEPTED, reviewed_by=payload.by, reviewed_at=moment
            )
        case e.RequestDeclined():
            return _replace(
                record,
                status=Status.DECLINED,
                reviewed_by=payload.by,
                reviewed_at=moment,
                decline_reason=kept_if(payload.reason),
            )
        case e.RequestAllocated():
            return _replace(
                record,
                status=Status.ALLOCATED,
                provider_id=payload.provider_id,
                allocated_at=moment,
                case_manager=None,
            )
        case e.RequestAssigned():
            return _replace(
                record,
                status=Status.ASSIGNED,
                case_manager=payload.case_manager,
                case_id=payload.case_id,
            )
        case e.RequestWithdrawn():
            return _replace(record, status=Status.WITHDRAWN, closed_at=moment)
        case e.RequestDeleted():
            return _replace(record, status=Status.DELETED, closed_at=moment)
        case _:
            raise AssertionError(payload)


def _evolve_case(record: Record, payload: msgspec.Struct, moment: datetime) -> Record:  # noqa: PLR0911 - one per fact
    match payload:
        case e.CaseAssigned():
            return _replace(record, case_manager=payload.case_manager)
        case e.CaseMoved():
            return _replace(record, provider_id=payload.provider_id, case_manager=None, team=())
        case e.PrimaryContactNamed():
            return _replace(record, primary_contact=payload.primary_contact)
        case e.TeamMemberNamed():
            left = tuple(m for m in record.team if m.person_id != payload.member.person_id)
            return _replace(record, team=(*left, payload.member))
        case e.TeamMemberRemoved():
            left = tuple(m for m in record.team if m.person_id != payload.person_id)
            return _replace(record, team=left)
        case e.ProsecutionNotified():
            return _replace(record, notified=True)
        case e.ProsecutionNoticeWithdrawn():
            return _replace(record, notified=False)
        case e.CaseClosed():
            return _replace(
                record, status=Status.CLOSED, closed_at=moment, outcome=kept_if(payload.outcome)
            )
        case e.CaseWithdrawn():
            return _replace(record, status=Status.WITHDRAWN, closed_at=moment)
        case _:
            return _evolve_content(record, payload, moment)


def _evolve_content(record: Record, payload: msgspec.Struct, moment: datetime) -> Record:
    match payload:
        case e.PlanWritten():
            version = PlanVersion(
                payload.plan_id,
                payload.status,
                payload.author,
                moment,
                kept(payload.content),
                payload.labels,
                _setters({}, payload.labels, payload.author.assignment_id),
            )
            return _replace(record, plan=(*record.plan, version))
        case e.ReferralLabelled():
            return _labelled(record, payload)
        case e.PlanLabelled():
            plan = tuple(
                _replace(
                    v,
                    content=kept(payload.content),
                    labels=payload.labels,
                    labelled_by=_setters(v.labelled_by, payload.labels, payload.labelled_by),
                )
                if v.id == payload.plan_id
                else v
                for v in record.plan
            )
            return _replace(record, plan=plan)
        case e.ItemAdded():
            item = Item(
                payload.item_id,
                payload.kind,
                payload.author,
                moment,
                kept(payload.text),
                payload.shared_with_school,
                payload.labels,
                _setters({}, payload.labels, payload.labelled_by),
                kept_if(payload.summary),
            )
            return _replace(record, items=(*record.items, item))
        case e.ItemEdited():
            items = tuple(
                _edited(i, payload, moment) if i.id == payload.item_id else i for i in record.items
            )
            return _replace(record, items=items)
        case e.ItemDeleted():
            return _replace(record, items=tuple(i for i in record.items if i.id != payload.item_id))
        case _:
            raise AssertionError(payload)


def _labelled(record: Record, payload: e.ReferralLabelled) -> Record:
    setters = _setters(record.referral_labelled_by, payload.labels, payload.labelled_by)
    return _replace(
        record,
        referral=kept(payload.referral),
        referral_labels=payload.labels,
        referral_labelled_by=setters,
    )


def _edited(item: Item, edit: e.ItemEdited, moment: datetime) -> Item:
    return _replace(
        item,
        text=kept_if(edit.text) or item.text,
        summary=None if edit.summary_withdrawn else kept_if(edit.summary) or item.summary,
        shared=item.shared if edit.shared_with_school is None else edit.shared_with_school,
        labels=item.labels if edit.labels is None else edit.labels,
        labelled_by=item.labelled_by
        if edit.labels is None
        else _setters(item.labelled_by, edit.labels, edit.labelled_by),
        edited_at=moment if edit.rewritten else item.edited_at,
    )


def _setters(
    known: Mapping[Label, UUID], labels: tuple[Label, ...], by: UUID | None
) -> dict[Label, UUID]:
    """Return who set each of ``labels``: whoever did before, else ``by``."""
    found = ((label, known.get(label, by)) for label in labels)
    return {label: setter for label, setter in found if setter is not None}


def follow(request: Record, case: Record) -> Record:
    """Return a request that became ``case`` as it stands now that the case has gone on.

    It is with the provider and the case manager that the case is with: who lost the case, by a
    move, a reassignment or its withdrawal, has lost the request too (AC-SEE-9, 12, AC-SHARE-3). Its
    referral is the case's, so that a label set there shuts it here and in every history (SE).
    """
    request = _replace(
        request,
        referral=case.referral,
        referral_labels=case.referral_labels,
        referral_labelled_by=case.referral_labelled_by,
        # it ends with the case, and shows of the learner what the case does
        particulars=case.particulars or request.particulars,
    )
    if case.status is Status.WITHDRAWN:
        return _replace(request, provider_id=None, case_manager=None)
    return _replace(request, provider_id=case.provider_id, case_manager=case.case_manager)


class Student(msgspec.Struct, frozen=True, gc=False):
    """A learner as decisions and parts need them; all that is personal stays sealed."""

    id: UUID
    school_id: UUID | None
    basic: Kept
    demographics: Kept
    family: Kept
    version: int = 1

    @property
    def particulars(self) -> Particulars:
        """What is known of them."""
        return Particulars(self.basic, self.demographics, self.family)


def evolve_student(student: Student | None, event: Event) -> Student | None:
    """Return ``student`` after ``event``."""
    if event.type != e.STUDENT_REGISTERED:
        return student
    p = msgspec.convert(event.data, e.StudentRegistered)
    return Student(
        p.student_id,
        p.school_id,
        kept(p.basic),
        kept(p.demographics),
        kept(p.family),
        event.version or 1,
    )
