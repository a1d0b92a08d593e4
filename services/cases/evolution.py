"""How each fact changes a request, a case or a learner.

:func:`evolve` and :func:`evolve_student` are pure and total over the facts of a stream. Sealed
content passes through as it came; nothing here opens anything, reads a clock, or knows who is
asking.
"""

from datetime import datetime
from typing import Final

import msgspec

from services.cases import events as e
from services.cases.content_events import ReferralLabelled
from services.cases.contents import evolve_content, labelled
from services.cases.kept import Particulars, kept, kept_if
from services.cases.record import Record, Status, Student
from services.cases.terms import RecordKind
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


def evolve(record: Record | None, event: Event, student: Student | None = None) -> Record | None:
    """Return ``record`` after ``event``; ``None`` when nothing has begun it.

    ``student`` is the learner as they stand at the event. A record that ends keeps what is known of
    them then (AC-SHARE-3): nothing, of a learner who is not known yet. What a record has from
    another one is :func:`begun`, :func:`follow` and :func:`rewritten`. Raises
    :class:`AssertionError` for a fact that no case below folds.
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
        reviewed_at=p.reviewed_at,
        allocated_at=p.allocated_at,
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
        case ReferralLabelled():
            return labelled(record, payload)
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
            return evolve_content(record, payload, moment)


def begun(case: Record, request: Record) -> Record:
    """Return ``case`` as it begins, with who reviewed the request it was (AC-SEE-21).

    The fact says when that was, and not by whom.
    """
    return _replace(case, reviewed_by=request.reviewed_by)


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
        # the request ends with the case, and shows of the learner what the case shows
        particulars=case.particulars or request.particulars,
    )
    if case.status is Status.WITHDRAWN:
        return _replace(request, provider_id=None, case_manager=None)
    return _replace(request, provider_id=case.provider_id, case_manager=case.case_manager)


def rewritten(case: Record, request: Record) -> Record:
    """Return ``case`` with the referral of the request it was, which its provider has edited."""
    return _replace(case, referral=request.referral)


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
