"""Drafts of changing a record: the change itself, its refusal, and its repeat.

Place in the flow: between the decision and the append. What a command wrote into its
:class:`Change` becomes events, and what its caller sees afterwards becomes the answer; nothing is
appended here.
"""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from uuid import UUID

import msgspec

from services.cases import events as e
from services.cases.basis import ground_of
from services.cases.change import Change, Command, Fact
from services.cases.desk import Asked, Desk, View
from services.cases.loaded import Loaded
from services.cases.outline import Outline
from services.cases.rendering import canonical
from services.cases.terms import RecordKind
from services.kernel.errors import Conflict, NotFound, Problem, Unavailable
from services.kernel.events import Event, ObjectRef
from services.kernel.handling import Draft
from services.kernel.idempotency import Made

Reply = tuple[bytes, str]
Answer = Callable[[Change, View | None], Mapping[str, object]]


async def change_record(
    desk: Desk,
    asked: Asked,
    kind: RecordKind,
    record_id: UUID,
    command: Command,
    answer: Answer,
) -> Draft[Reply]:
    """Draft a change of a record, or its refusal."""
    change = await _begun(desk, asked, kind, record_id)
    if not isinstance(change, Change):
        return change
    try:
        await command(change)
    except Problem as problem:
        return await _refused(change, problem)
    events = [await _appended(desk, change, fact) for fact in change.facts]
    after = await _view_after(desk, change.loaded, change)
    body = canonical(answer(change, after))
    group = desk.group(change.loaded.asking, events, list(dict.fromkeys(change.guards)))
    return Draft(group, (body, after.version if after else ""), change.made)


async def change_again(
    desk: Desk,
    asked: Asked,
    kind: RecordKind,
    record_id: UUID,
    command: Command,
    made: Made,
    answer: Callable[[View, Made], bytes],
) -> Draft[Reply]:
    """Draft the answer to a repeat of a change that was done, or its refusal.

    Whoever may not do it any more, or does not see what it made, is refused as if it were the
    first; that its state no longer allows it is what having been done means. Writes nothing but
    the disclosure, which is a read: what was asked for happened once.
    """
    change = await _begun(desk, asked, kind, record_id)
    if not isinstance(change, Change):
        return change
    item_id = made.get("item_id")
    try:
        with contextlib.suppress(Conflict):
            await command(change)
        if item_id is not None and change.sight.find(item_id) is None:
            change.about("item", item_id)
            raise NotFound
    except Problem as problem:
        return await _refused(change, problem)

    def cut(seen: Outline) -> Outline:
        overview = frozenset({"overview"})
        left = seen.only(overview) if item_id is None else seen.with_item(overview, item_id)
        case_id = made.get("case_id")
        if case_id is None or "overview" not in left.shown:
            return left
        shown = {**left.shown, "overview": [*left.shown["overview"], case_id]}
        return left._replace(shown=shown)

    group = await desk.told(asked.again(), change.seen, ObjectRef(kind, str(record_id)), cut)
    group = replace(group, guards=list(dict.fromkeys(change.guards)))
    return Draft(group, (answer(change.view, made), change.view.version))


async def _begun(
    desk: Desk, asked: Asked, kind: RecordKind, record_id: UUID
) -> "Change | Draft[Reply]":
    """Return a change of a record that the caller sees, else its refusal."""
    loaded = await desk.load(asked, kind, record_id)
    sight = desk.see(loaded)
    if sight is None:
        object_ = ObjectRef(kind, str(record_id))
        refused = await desk.refuse(asked, loaded, object_, NotFound())
        return Draft(refused.group, NotFound())
    return Change(desk, asked, await desk.outline(loaded, sight))


async def _refused(change: Change, problem: Problem) -> Draft[Reply]:
    """Draft the refusal of a change: for whom the caller may do it, else for who shows it.

    What could not be looked at (:class:`Unavailable`) is no refusal, and raised.
    """
    if isinstance(problem, Unavailable):
        raise problem
    basis = next(iter(change.bases), change.shows)
    refused = await change.desk.refuse(
        change.asked, change.loaded, change.object_, problem, change.guards, basis
    )
    return Draft(refused.group, problem)


async def _appended(desk: Desk, change: Change, fact: Fact) -> Event:
    event = await desk.event(
        change.asked,
        change.loaded.asking,
        e.TYPE_OF[type(fact.payload)],
        grounds=tuple(map(ground_of, dict.fromkeys(change.bases))),
        student_id=change.record.student_id,
        object_=fact.object_,
        data=msgspec.to_builtins(fact.payload),
        event_id=fact.event_id,
    )
    return msgspec.structs.replace(
        event,
        recorded_at=change.now,  # so that what is folded is what the answer's version was made of
        stream=fact.stream,
        version=fact.version,
        touches=fact.touches,
    )


async def _view_after(desk: Desk, loaded: Loaded, change: Change) -> View | None:
    """Return what the caller sees once the change is done; its version lets them go on editing."""
    if loaded.student is None:
        return None
    sight = desk.judge.see(loaded.caller, change.after, loaded.student)
    if not sight:
        return None
    return await desk.view(await desk.loader.completed(loaded, change.after), sight)
