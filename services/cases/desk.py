"""Where a request meets a record: look, decide, write down what was shown, answer.

Every path ends in a :class:`Draft`: the events to append and the answer that goes out once they
are durable. A refusal is drafted like a disclosure; what is hidden and what is missing are drafted
alike. Nothing here knows HTTP beyond problems, and nothing here opens a record it does not show.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple, cast
from uuid import UUID

import msgspec

from services.authz.access import Claims
from services.authz.directory import Assignment
from services.authz.events import Role
from services.cases import events as e
from services.cases.events import Box, RecordKind, Staff, record_key, student_key
from services.cases.loading import Asking, Loaded, Loader
from services.cases.record import Item, Record, evolve, stream_of
from services.cases.rendering import Page, Renderer, canonical
from services.cases.sight import Basis, Judge, Sight, grounds_of
from services.kernel.errors import Forbidden, NotFound, Problem
from services.kernel.etags import etag, require_any
from services.kernel.events import Actor, Event, Ground, ObjectRef, Outcome
from services.kernel.handling import Draft
from services.kernel.http import Call
from services.kernel.log import Group
from services.kernel.runtime import Runtime
from services.kernel.sealing import Compartment, KeyRef

_FAILED: Final = frozenset({"if_match_required", "stale_version", "conflict", "malformed"})


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it reached the desk."""

    call: Call
    claims: Claims
    action: str
    if_match: tuple[str, ...] = ()


class View(NamedTuple):
    """A record as one caller sees it, with its version."""

    record: Record
    page: Page
    version: str
    #: the parts as they are sent when all of them were asked for
    parts: bytes

    def body(self, wanted: frozenset[str] | None = None) -> bytes:
        """Return the answer, cut down to the parts that were asked for."""
        overview = "overview" in self.page.parts
        parts: object = msgspec.Raw(self.parts)
        if wanted is not None:
            parts = self.page.only(wanted).parts
        return canonical(
            {
                "id": self.record.id,
                "number": self.record.number if overview else None,
                "status": self.record.status if overview else None,
                "student_id": self.record.student_id,
                "version": self.version.strip('"'),
                "parts": parts,
            }
        )


class Desk:
    """Reads, refusals and changes of one service, on records."""

    def __init__(self, runtime: Runtime, judge: Judge) -> None:
        self.runtime = runtime
        self.judge = judge
        self.loader = Loader(runtime.pool)
        self.renderer = Renderer(runtime.keys, judge)
        self._secret = runtime.installation.secret("versions")

    def now(self) -> datetime:
        """Return the time."""
        return self.runtime.effects.now()

    async def load(self, asked: Asked, kind: RecordKind, record_id: UUID) -> Loaded:
        """Load a record and who asks for it."""
        return await self.loader.record(asked.claims, kind, record_id, self.now())

    def see(self, loaded: Loaded) -> Sight | None:
        """Return what the caller sees, ``None`` when that is nothing or there is nothing.

        What is missing was loaded as its neighbour and is judged like it, to take the same time.
        """
        if loaded.record is None or loaded.student is None:
            return None
        sight = self.judge.see(loaded.caller, loaded.record, loaded.student)
        return sight if sight and loaded.exists else None

    async def view(self, loaded: Loaded, sight: Sight) -> View:
        """Render what the caller sees, and its version over exactly that."""
        page = await self.renderer.page(loaded, sight)
        parts = canonical(page.parts)
        return View(sight.record, page, self.version(loaded.asking, parts), parts)

    def version(self, asking: Asking, content: bytes) -> str:
        """Return the entity tag of ``content`` as this caller sees it."""
        return etag(self._secret, asking.caller.person.id, content)

    async def event(
        self,
        asked: Asked,
        asking: Asking,
        type_: str,
        *,
        outcome: Outcome = Outcome.ALLOWED,
        grounds: Sequence[Ground] = (),
        student_id: UUID | None = None,
        object_: ObjectRef | None = None,
        shown: Mapping[str, Sequence[UUID]] | None = None,
        data: Mapping[str, object] | None = None,
        event_id: UUID | None = None,
    ) -> Event:
        """Return an event of this request; an observation until it is given a stream."""
        effects = self.runtime.effects
        event_id = event_id or effects.new_id()
        claims = asked.claims
        return Event(
            id=event_id,
            type=type_,
            recorded_at=effects.now(),
            actor=Actor(
                person_id=claims.person_id,
                organisation_id=_organisation(asking, grounds),
            ),
            origin=await self.runtime.origins.seal(event_id, asked.call, claims.session_id),
            action=asked.action,
            outcome=outcome,
            grounds=tuple(grounds),
            policy_version=self.judge.policy.version,
            purpose=asked.call.purpose,
            student_id=student_id,
            object=object_,
            # Encoded, an id and its text are the same bytes; only who decodes gets the text.
            shown=cast("Mapping[str, Sequence[str]]", shown or {}),
            data=data or {},
        )

    def group(self, asking: Asking, events: Sequence[Event], guards: Sequence[str]) -> Group:
        """Return a group that holds only while what it rests on has not changed."""
        return Group(events, asking.at, guards, asking.caller.valid_until)

    async def refuse(
        self,
        asked: Asked,
        loaded: Loaded,
        object_: ObjectRef,
        problem: Problem,
    ) -> Draft[bytes]:
        """Draft a refusal about a record."""
        known = loaded.exists and loaded.record is not None
        event = await self.event(
            asked,
            loaded.asking,
            e.REFUSED,
            outcome=Outcome.FAILED if problem.code in _FAILED else Outcome.DENIED,
            student_id=loaded.record.student_id if known and loaded.record else None,
            object_=object_,
            data={"code": problem.code},
        )
        return Draft(self.group(loaded.asking, [event], loaded.guards), problem)

    async def refuse_plain(
        self, asked: Asked, asking: Asking, object_: ObjectRef, problem: Problem
    ) -> Draft[bytes]:
        """Draft a refusal that is about no record."""
        event = await self.event(
            asked,
            asking,
            e.REFUSED,
            outcome=Outcome.FAILED if problem.code in _FAILED else Outcome.DENIED,
            object_=object_,
            data={"code": problem.code},
        )
        return Draft(self.group(asking, [event], asking.caller.guards), problem)


def _organisation(asking: Asking, grounds: Sequence[Ground]) -> UUID | None:
    """Return for which organisation the caller acts: that of the first ground, else their first."""
    assignments = asking.caller.assignments
    if grounds:
        wanted = grounds[0].assignment_id
        return next((a.organisation_id for a in assignments if a.id == wanted), None)
    return assignments[0].organisation_id if assignments else None


def staff_of(assignment: Assignment, person_id: UUID) -> Staff:
    """Return a person in an assignment as facts name them."""
    return Staff(assignment.id, person_id, assignment.organisation_id, assignment.role)


class Fact(NamedTuple):
    """A fact to be appended to a record: its event id (seals are bound to it) and its payload."""

    event_id: UUID
    payload: msgspec.Struct
    stream: str
    version: int
    touches: tuple[str, ...]


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
        self.shown: dict[str, list[UUID]] = {}

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
        rendered = self.desk.renderer.item(self.sight, item)
        return self.desk.version(self.loaded.asking, canonical(rendered))

    def pen(self) -> Pen:
        """Return a pen for the next fact."""
        return Pen(self.desk, self.record.student_id)

    def write(self, payload: msgspec.Struct, pen: Pen | None = None) -> None:
        """Add a fact to this record's stream."""
        event_id = pen.event_id if pen else self.desk.runtime.effects.new_id()
        stream = stream_of(self.record.id, self.record.kind)
        version = self.after.version + 1
        touches = [record_key(self.record.id)]
        if self.record.request_id is not None:
            touches.append(record_key(self.record.request_id))
        self.facts.append(Fact(event_id, payload, stream, version, tuple(touches)))
        evolved = evolve(self.after, _event_of(self.facts[-1], self.now))
        assert evolved is not None  # noqa: S101 - a record that exists stays one
        self.after = evolved

    def open(self, payload: e.CaseOpened) -> None:
        """Add the fact that begins the case this request becomes."""
        event_id = self.desk.runtime.effects.new_id()
        touches = (record_key(payload.case_id), student_key(payload.student_id))
        stream = stream_of(payload.case_id, RecordKind.CASE)
        self.facts.append(Fact(event_id, payload, stream, 1, touches))


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
Answer = Callable[[Change, View | None], Mapping[str, object]]


async def read_record(
    desk: Desk,
    asked: Asked,
    kind: RecordKind,
    record_id: UUID,
    wanted: frozenset[str] | None,
    answer: Callable[[View], bytes],
) -> Draft[tuple[bytes, str]]:
    """Draft the disclosure of a record, or its refusal."""
    loaded = await desk.load(asked, kind, record_id)
    object_ = ObjectRef(kind, str(record_id))
    sight = desk.see(loaded)
    if sight is None:
        refused = await desk.refuse(asked, loaded, object_, NotFound())
        return Draft(refused.group, NotFound())
    view = await desk.view(loaded, sight)
    page = view.page.only(wanted)
    event = await desk.event(
        asked,
        loaded.asking,
        e.READ,
        grounds=grounds_of(page.basis),
        student_id=sight.record.student_id,
        object_=object_,
        shown=page.shown,
    )
    return Draft(desk.group(loaded.asking, [event], loaded.guards), (answer(view), view.version))


async def change_record(
    desk: Desk,
    asked: Asked,
    kind: RecordKind,
    record_id: UUID,
    command: Command,
    answer: Answer,
) -> Draft[tuple[bytes, str]]:
    """Draft a change of a record, or its refusal."""
    loaded = await desk.load(asked, kind, record_id)
    object_ = ObjectRef(kind, str(record_id))
    sight = desk.see(loaded)
    if sight is None:
        refused = await desk.refuse(asked, loaded, object_, NotFound())
        return Draft(refused.group, NotFound())
    change = Change(desk, asked, loaded, sight, await desk.view(loaded, sight))
    try:
        await command(change)
    except Problem as problem:
        refused = await desk.refuse(asked, loaded, object_, problem)
        return Draft(refused.group, problem)
    events = [await _appended(desk, change, fact) for fact in change.facts]
    after = await _view_after(desk, loaded, change)
    body = canonical(answer(change, after))
    group = desk.group(loaded.asking, events, list(dict.fromkeys(change.guards)))
    return Draft(group, (body, after.version if after else ""), change.made)


async def _appended(desk: Desk, change: Change, fact: Fact) -> Event:
    basis, record = change.basis, change.record
    kind, _, record_id = fact.stream.partition(":")
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
        object_=ObjectRef(kind, record_id),
        shown=change.shown,
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
    people = {s.person_id for s in (*change.after.staff, *change.after.team)}
    provider = change.after.provider_id
    if people - loaded.people.keys() or (provider and provider not in loaded.organisations):
        return None
    return await desk.view(loaded, sight)
