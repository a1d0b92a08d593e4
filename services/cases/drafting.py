"""Beginning a request for support about a learner."""

from dataclasses import replace
from typing import Final
from uuid import UUID

import msgspec

from services.cases import events as e
from services.cases.basis import Basis
from services.cases.change import Pen
from services.cases.desk import Asked, Desk, staff_of
from services.cases.loaded import Asking
from services.cases.meanwhile import finished
from services.cases.models import NewRequest
from services.cases.numbers import request_number
from services.cases.reading import disclose
from services.cases.record import stream_of
from services.cases.rendering import canonical
from services.cases.students import Students
from services.cases.terms import RecordKind, record_key, student_key
from services.kernel.errors import Conflict, Forbidden, NotFound, Problem
from services.kernel.events import Event, Ground, ObjectRef
from services.kernel.handling import Draft
from services.kernel.idempotency import Made

Reply = tuple[bytes, str]
#: of one maker about one learner; each is passed over whenever a record of theirs is read
MOST_UNDER_WAY: Final = 10


async def draft_request(
    desk: Desk, students: Students, asked: Asked, new: NewRequest
) -> Draft[Reply]:
    """Draft a new request, or the refusal: unknown learners and hidden ones are one answer."""
    asking = await desk.loader.asking(asked.claims, desk.now())
    permitted = await _permitted_or_refused(desk, students, asked, asking, new)
    if isinstance(permitted, Draft):
        return permitted
    event, body = await _drafted(desk, asked, asking, permitted, new)
    guards = [*asking.caller.guards, student_key(new.student_id)]
    made = {"id": UUID(event.object.id)} if event.object else {}
    return Draft(desk.group(asking, [event], guards), (body, ""), made)


async def drafted_again(
    desk: Desk, students: Students, asked: Asked, new: NewRequest, made: Made
) -> Draft[Reply]:
    """Draft the answer to a repeat: the request as it is seen now, by who may still make one."""
    asking = await desk.loader.asking(asked.claims, desk.now())
    permitted = await _permitted_or_refused(desk, students, asked, asking, new, again=True)
    if isinstance(permitted, Draft):
        return permitted
    shown = await finished(
        await disclose(
            desk,
            asked.again(),
            RecordKind.REQUEST,
            made["id"],
            frozenset({"overview"}),
            lambda view: canonical(
                {"id": view.record.id, "number": view.record.number, "status": view.record.status}
            ),
        )
    )
    # The permission was read before the record was, and rests on some of the same keys.
    return replace(shown, group=replace(shown.group, at=min(asking.at, shown.group.at)))


async def _permitted_or_refused(
    desk: Desk,
    students: Students,
    asked: Asked,
    asking: Asking,
    new: NewRequest,
    *,
    again: bool = False,
) -> Basis | Draft[Reply]:
    """Return by what the caller may make a request about the learner, else the refusal.

    How many they have made already is no reason to refuse a repeat.
    """
    found = await students.acquaintance(asking, new.student_id)
    makers = desk.judge.at_own_schools(asking.caller, "create", "request")
    basis = next((m for m in makers if m.assignment.organisation_id == found.school_id), None)
    if basis is None or not found.exists:
        problem: Problem = Forbidden() if found.known else NotFound()
        tried = makers[0].assignment.organisation_id if makers and not found.known else None
        return await students.refuse(asked, asking, new.student_id, found, problem, tried)
    if not again:
        begun = await desk.loader.begun(asking, new.student_id, basis.assignment.id)
        if begun >= MOST_UNDER_WAY:
            crowded = Conflict(f"at most {MOST_UNDER_WAY} requests about a learner at a time")
            own = basis.assignment.organisation_id
            return await students.refuse(asked, asking, new.student_id, found, crowded, own)
    return basis


async def _drafted(
    desk: Desk,
    asked: Asked,
    asking: Asking,
    basis: Basis,
    new: NewRequest,
) -> tuple[Event, bytes]:
    assignment = basis.assignment
    effects = desk.runtime.effects
    request_id, number = effects.new_id(), request_number(effects)
    pen = Pen(desk, new.student_id)
    referral = msgspec.json.encode(
        {
            "reason": new.reason,
            "absences": new.absences or "",
            "steps_taken": new.steps_taken or "",
        }
    ).decode()
    payload = e.RequestDrafted(
        request_id=request_id,
        number=number,
        student_id=new.student_id,
        school_id=assignment.organisation_id,
        made_by=staff_of(assignment, asking.caller.person.id),
        referral=await pen.box("referral", referral),
    )
    event = await desk.event(
        asked,
        asking,
        e.REQUEST_DRAFTED,
        grounds=(Ground(assignment.id, assignment.role, basis.clause),),
        student_id=new.student_id,
        object_=ObjectRef(RecordKind.REQUEST, str(request_id)),
        data=msgspec.to_builtins(payload),
        event_id=pen.event_id,
    )
    fact = msgspec.structs.replace(
        event,
        stream=stream_of(request_id, RecordKind.REQUEST),
        version=1,
        touches=(record_key(request_id), student_key(new.student_id)),
    )
    body = canonical({"id": request_id, "number": number, "status": "draft"})
    return fact, body
