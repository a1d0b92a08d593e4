"""Where a request meets a record: look, decide, write down what was shown, answer.

Every path ends in a :class:`Draft`: the events to append and the answer that goes out once they
are durable. A refusal is drafted like a disclosure; what is hidden and what is missing are drafted
alike. Nothing here knows HTTP beyond problems, and nothing here opens a record it does not show.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, NamedTuple, cast
from uuid import UUID

import msgspec

from services.authz.access import Claims
from services.authz.directory import Assignment
from services.cases import events as e
from services.cases.basis import Basis, ground_of, grounds_of
from services.cases.judge import Judge
from services.cases.loaded import Asking, Loaded
from services.cases.loading import Loader
from services.cases.outline import Cut, Outline, apart, outline, summaries_in
from services.cases.record import Record
from services.cases.rendering import Renderer, canonical
from services.cases.sight import Sight
from services.cases.terms import RecordKind, Staff
from services.kernel.errors import Problem, outcome_of
from services.kernel.etags import etag
from services.kernel.events import Actor, Event, Ground, ObjectRef, Outcome
from services.kernel.groups import Group
from services.kernel.handling import Draft
from services.kernel.http import Call
from services.kernel.runtime import Runtime

_RECORDS: Final = frozenset(map(str, RecordKind))


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it reached the desk."""

    call: Call
    claims: Claims
    action: str
    if_match: tuple[str, ...] = ()

    def again(self) -> "Asked":
        """Return the same as its repeat is written down: what it did happened once, this reads."""
        return replace(self, action="read")


class View(NamedTuple):
    """A record as one caller sees it, with its version."""

    record: Record
    parts: Mapping[str, object]
    #: the parts as they are sent when all of them were asked for
    content: bytes
    version: str

    def body(self, wanted: frozenset[str] | None = None) -> bytes:
        """Return the answer, cut down to the parts that were asked for."""
        overview = "overview" in self.parts
        parts: object = msgspec.Raw(self.content)
        if wanted is not None:
            parts = {part: content for part, content in self.parts.items() if part in wanted}
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
        self.loader = Loader(runtime.pool, judge.policy)
        self.renderer = Renderer(runtime.keys)
        self._secret = runtime.installation.secret("versions")

    def now(self) -> datetime:
        """Return the time."""
        return self.runtime.effects.now()

    async def load(self, asked: Asked, kind: RecordKind, record_id: UUID) -> Loaded:
        """Load a record and who asks for it."""
        return await self.loader.record(asked.claims, kind, record_id, self.now())

    def see(self, loaded: Loaded) -> Sight | None:
        """Return what the caller sees, ``None`` when that is nothing or there is nothing."""
        if loaded.record is None or loaded.student is None:
            return None
        return self.judge.see(loaded.caller, loaded.record, loaded.student) or None

    async def outline(self, loaded: Loaded, sight: Sight) -> Outline:
        """Return what ``sight`` shows, its keys in reach: opening it waits for nothing more."""
        seen = outline(self.judge, loaded, sight)
        await self.renderer.load(seen)
        return seen

    def opened(self, seen: Outline) -> View:
        """Render what the caller sees, and its version over exactly that."""
        parts = self.renderer.parts(seen)
        content = canonical(parts)
        version = self.version(seen.loaded.asking, content)
        return View(seen.sight.record, parts, content, version)

    async def view(self, loaded: Loaded, sight: Sight) -> View:
        """Render what the caller sees."""
        return self.opened(await self.outline(loaded, sight))

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
        organisation_id: UUID | None = None,
    ) -> Event:
        """Return an event of this request; an observation until it is given a stream.

        The caller acts for ``organisation_id``, else for that of the first ground.
        """
        effects = self.runtime.effects
        event_id = event_id or effects.new_id()
        claims = asked.claims
        return Event(
            id=event_id,
            type=type_,
            recorded_at=effects.now(),
            actor=Actor(
                person_id=claims.person_id,
                organisation_id=organisation_id or _organisation(asking, grounds),
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

    async def told(self, asked: Asked, seen: Outline, object_: ObjectRef, cut: Cut) -> Group:
        """Return the events of disclosing what ``cut`` leaves of ``seen``."""
        loaded = seen.loaded
        events = [
            await self.event(
                asked,
                loaded.asking,
                e.READ,
                grounds=grounds_of(one.basis) or _known_by(one.sight),
                student_id=loaded.student_id,
                object_=object_,
                shown=one.shown,
                data=summaries_in(one),
            )
            for own in apart(self.judge, seen, cut)
            for one in own.by_event()
        ]
        return self.group(loaded.asking, events, loaded.guards)

    def group(self, asking: Asking, events: Sequence[Event], guards: Sequence[str]) -> Group:
        """Return a group that holds only while what it rests on has not changed."""
        return Group(events, asking.at, guards, asking.caller.valid_until)

    async def refuse(
        self,
        asked: Asked,
        loaded: Loaded,
        object_: ObjectRef,
        problem: Problem,
        guards: Sequence[str] = (),
        basis: Basis | None = None,
    ) -> Draft[bytes]:
        """Draft a refusal about a record, resting on ``guards`` beside what was loaded.

        It was asked for whoever ``basis`` is of: what let them, else what shows them the record.
        """
        event = await self.event(
            asked,
            loaded.asking,
            e.REFUSED,
            outcome=outcome_of(problem),
            student_id=loaded.student_id if loaded.exists else None,
            object_=object_,
            data={"code": problem.code, **record_of(object_, loaded.record_id)},
            organisation_id=basis.assignment.organisation_id if basis else None,
        )
        rests_on = list(dict.fromkeys((*loaded.guards, *guards)))
        return Draft(self.group(loaded.asking, [event], rests_on), problem)

    async def refuse_plain(
        self,
        asked: Asked,
        asking: Asking,
        object_: ObjectRef,
        problem: Problem,
        student_id: UUID | None = None,
        organisation_id: UUID | None = None,
    ) -> Draft[bytes]:
        """Draft a refusal that is about no record, but perhaps about a learner.

        It was asked for ``organisation_id``, else for the caller's first.
        """
        event = await self.event(
            asked,
            asking,
            e.REFUSED,
            student_id=student_id,
            outcome=outcome_of(problem),
            object_=object_,
            data={"code": problem.code},
            organisation_id=organisation_id,
        )
        return Draft(self.group(asking, [event], asking.caller.guards), problem)


def _organisation(asking: Asking, grounds: Sequence[Ground]) -> UUID | None:
    """Return for which organisation the caller acts: that of the first ground, else their first."""
    if grounds:
        wanted, held = grounds[0].assignment_id, asking.caller.assignments
        return next((a.organisation_id for a in held if a.id == wanted), None)
    return asking.caller.organisation_id


def _known_by(sight: Sight) -> tuple[Ground, ...]:
    """Return by what the caller knows of the record, where none of what they asked for is seen."""
    return (ground_of(sight.first),) if sight.first else ()


def record_of(object_: ObjectRef, record_id: UUID) -> Mapping[str, object]:
    """Return, for the data of an event, the case that ``object_`` belongs to if it is none.

    A fact says it by its stream; what is only seen or refused has none.
    """
    if object_.type in _RECORDS:
        return {}
    return {"record": {"type": RecordKind.CASE, "id": record_id}}


def staff_of(assignment: Assignment, person_id: UUID) -> Staff:
    """Return a person in an assignment as facts name them."""
    return Staff(assignment.id, person_id, assignment.organisation_id, assignment.role)
