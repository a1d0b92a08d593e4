"""One change to one record while it is decided: what it asks, seals and writes down.

Place in the flow: handed by :mod:`services.cases.changing` to a command, which asks it for
permission, checks that the state allows the thing, and writes facts. Appends nothing.
"""

from collections.abc import Awaitable, Callable, Collection
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import msgspec

from services.authz.events import Role
from services.cases import events as e
from services.cases.basis import Basis
from services.cases.desk import Asked, Desk, staff_of
from services.cases.evolution import evolve
from services.cases.outline import Outline
from services.cases.record import Item, Record, stream_of
from services.cases.rendering import canonical
from services.cases.terms import Box, RecordKind, Staff, record_key, student_key
from services.kernel.errors import Forbidden
from services.kernel.etags import require_any
from services.kernel.events import Event, ObjectRef
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

    def __init__(self, desk: Desk, asked: Asked, seen: Outline) -> None:
        self.desk = desk
        self.asked = asked
        self.seen = seen
        self.loaded = seen.loaded
        self.sight = seen.sight
        self.view = desk.opened(seen)
        self.record = self.sight.record
        self.after: Record = self.record
        self.now = desk.now()
        self.facts: list[Fact] = []
        self.guards: list[str] = self.loaded.guards
        #: by what the caller may do all that was asked, in each assignment that lets them
        self._ways: list[tuple[Basis, ...]] = []
        #: what shows them what it is about
        self.shows = self.sight.first
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
    ) -> None:
        """Raise :class:`Forbidden` unless one assignment lets the caller do this too.

        Everything a change asks is decided in the same assignment (0003, 3): of several, one in a
        role that is preferred. For ``thing`` see :meth:`Sight.ways`.
        """
        found = self.sight.ways(action, object_, thing, owners)
        found.sort(key=lambda basis: basis.assignment.role not in prefer)
        ways = [
            (*way, basis)
            for way in self._ways or [()]
            for basis in found
            if not way or way[0].assignment.id == basis.assignment.id
        ]
        if not ways:
            raise Forbidden
        self._ways = ways

    @property
    def bases(self) -> tuple[Basis, ...]:
        """By what the caller may do all that was asked; nothing while nothing was."""
        return self._ways[0] if self._ways else ()

    @property
    def by(self) -> Staff:
        """The caller in the assignment that lets them; final once all that is needed was asked."""
        return staff_of(self._ways[0][0].assignment, self.loaded.caller.person.id)

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


Command = Callable[[Change], Awaitable[None]]
