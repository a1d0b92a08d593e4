"""Changing a record: permission, precondition, state, and the facts that follow from them.

Place in the flow: between the decision and the append. A command asks a :class:`Change` for
permission, checks that the state allows the thing, and writes facts; nothing is appended here.
"""

import contextlib
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import msgspec

from services.authz.events import Role
from services.cases import events as e
from services.cases.desk import Asked, Desk, View, staff_of
from services.cases.events import Box, RecordKind, Staff, record_key, student_key
from services.cases.evolution import evolve
from services.cases.loading import Loaded
from services.cases.outline import Outline, outline
from services.cases.record import Item, Record, stream_of
from services.cases.rendering import canonical
from services.cases.sight import Basis, Sight
from services.kernel.errors import Conflict, Forbidden, NotFound, Problem
from services.kernel.etags import require_any
from services.kernel.events import Event, Ground, ObjectRef
from services.kernel.handling import Draft
from services.kernel.idempotency import Made
from services.kernel.sealing import Compartment, KeyRef


class Fact(NamedTuple):
    """A fact to be appended to a record: its event id (seals are bound to it) and its payload.

    ``object_`` is what of the record it is about: all of it, an item, a version of the plan.
    """

    event_id: UUID
    payload: msgspec.Struct
    stream: str
    version: int
    touches: tuple[str, ...]
    object_: ObjectRef


class Pen:
    """Seals what a change writes about one learner."""

    def __init__(self, desk: Desk, student_id: UUID) -> None:
        self._desk = desk
        self._student_id = student_id
        #: the event that everything sealed by this pen belongs to
        self.event_id = desk.runtime.effects.new_id()

    async def box(self, field: str, text: str, *, sensitive: bool = False) -> Box:
        """Seal ``text`` for ``field`` of the pen's event."""
        compartment = Compartment.SENSITIVE if sensitive else Compartment.RECORD
        ref = KeyRef(self._student_id, compartment)
        keys = self._desk.runtime.keys
        await keys.load([ref], create=True)
        sealed = keys.seal(ref, self.event_id, field, text)
        return Box(self.event_id, field, sealed, compartment)


class Change:
    """One change to one record, while it is being decided.

    A command asks in the contract's order: ``permit`` (403), ``require_match`` (428, 412), and
    then whether the state allows it (409).
    """

    def __init__(self, desk: Desk, asked: Asked, loaded: Loaded, sight: Sight, view: View) -> None:
        self.desk = desk
        self.asked = asked
        self.loaded = loaded
        self.sight = sight
        self.view = view
        self.record = sight.record
        self.after: Record = sight.record
        self.now = desk.now()
        self.facts: list[Fact] = []
        self.guards: list[str] = loaded.guards
        self.basis: Basis | None = None
        self.made: dict[str, UUID] = {}
        #: what of the record it is about: all of it, unless the command says otherwise
        self.object_ = ObjectRef(self.record.kind, str(self.record.id))

    def about(self, kind: str, id_: UUID) -> None:
        """Say that the change, and a refusal of it, is about one thing in the record."""
        self.object_ = ObjectRef(kind, str(id_))

    def permit(
        self,
        action: str,
        object_: str,
        thing: str = "",
        owners: Collection[UUID] = (),
        prefer: Collection[Role] = (),
    ) -> Staff:
        """Return the caller in the assignment that lets them; raise :class:`Forbidden`.

        Of several, one in a role that is preferred. For ``thing`` see :meth:`Sight.may`.
        """
        preferred = self.sight.may(action, object_, thing, owners, prefer) if prefer else None
        basis = preferred or self.sight.may(action, object_, thing, owners)
        if basis is None:
            raise Forbidden
        self.basis = self.basis or basis
        return staff_of(basis.assignment, self.loaded.caller.person.id)

    def require_match(self, *versions: str) -> None:
        """Require ``If-Match`` to name what the caller sees, or one of ``versions``."""
        require_any(self.asked.if_match, self.view.version, *versions)

    def item_version(self, item: Item) -> str:
        """Return the version of one item as the caller sees it."""
        entry = self.sight.find(item.id)
        rendered = entry and self.desk.renderer.entry(self.record.student_id, entry)
        return self.desk.version(self.loaded.asking, canonical(rendered))

    def pen(self) -> Pen:
        """Return a pen for the next fact."""
        return Pen(self.desk, self.record.student_id)

    def write(self, payload: msgspec.Struct, pen: Pen | None = None) -> None:
        """Add a fact to this record's stream."""
        event_id = pen.event_id if pen else self.desk.runtime.effects.new_id()
        stream = stream_of(self.record.id, self.record.kind)
        version = self.after.version + 1
        # a request and the case it became share their referral
        pair = (self.record.id, self.record.request_id, self.record.case_id)
        touches = [record_key(one) for one in pair if one is not None]
        self.facts.append(Fact(event_id, payload, stream, version, tuple(touches), self.object_))
        evolved = evolve(self.after, _event_of(self.facts[-1], self.now), self.loaded.student)
        assert evolved is not None  # noqa: S101 - a record that exists stays one
        self.after = evolved

    def open(self, payload: e.CaseOpened) -> None:
        """Add the fact that begins the case this request becomes."""
        event_id = self.desk.runtime.effects.new_id()
        touches = (record_key(payload.case_id), student_key(payload.student_id))
        stream = stream_of(payload.case_id, RecordKind.CASE)
        object_ = ObjectRef(RecordKind.CASE, str(payload.case_id))
        self.facts.append(Fact(event_id, payload, stream, 1, touches, object_))


def _event_of(fact: Fact, now: datetime) -> Event:
    return Event(
        id=fact.event_id,
        type=e.TYPE_OF[type(fact.payload)],
        stream=fact.stream,
        version=fact.version,
        recorded_at=now,
        touches=fact.touches,
        data=msgspec.to_builtins(fact.payload),
    )


Reply = tuple[bytes, str]
Command = Callable[[Change], Awaitable[None]]
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
    the disclosure.
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
        return seen.only(overview) if item_id is None else seen.with_item(overview, item_id)

    seen = outline(desk.judge, change.loaded, change.sight)
    group = await desk.told(asked, seen, ObjectRef(kind, str(record_id)), cut)
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
    return Change(desk, asked, loaded, sight, await desk.view(loaded, sight))


async def _refused(change: Change, problem: Problem) -> Draft[Reply]:
    """Draft the refusal of a change: for whom the caller may do it, else for who shows it."""
    basis = change.basis or change.sight.first
    refused = await change.desk.refuse(
        change.asked, change.loaded, change.object_, problem, change.guards, basis
    )
    return Draft(refused.group, problem)


async def _appended(desk: Desk, change: Change, fact: Fact) -> Event:
    basis, record = change.basis, change.record
    grounds = (
        ()
        if basis is None
        else (Ground(basis.assignment.id, basis.assignment.role, basis.clause, ()),)
    )
    event = await desk.event(
        change.asked,
        change.loaded.asking,
        e.TYPE_OF[type(fact.payload)],
        grounds=grounds,
        student_id=record.student_id,
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
