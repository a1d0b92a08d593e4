"""Hearings: one request of administration while it is decided, and what it drafts.

Place in the flow: the desk opens a hearing on one snapshot; a command or query asks it, and it
drafts what the desk appends. Owns the guards of every fact that was looked at, the events of the
request, and that what is shown is told to each organisation whose posts show it, in an event of
its own; a refusal, to the one whose post lets the caller do it, else shows them what it is about. A
refusal rests on the same guards as the facts would have. Appends nothing, and leaves what is
decided to whoever asks.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import msgspec

from services.authz import events as e
from services.authz.directory import Organisation, Person, told
from services.authz.recording import Recorder
from services.authz.relations import Decision, FactsOf, Standing
from services.authz.snapshot import Snapshot
from services.authz.visits import Visit
from services.kernel.errors import Problem, outcome_of
from services.kernel.events import Actor, Event, ObjectRef, Outcome
from services.kernel.groups import Group
from services.kernel.handling import Draft
from services.kernel.idempotency import Made

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks: the action of the contract, and upon what."""

    action: str
    object: ObjectRef


class Part(NamedTuple):
    """What one organisation's posts of the caller show of an answer: ids by part, and why."""

    decision: Decision
    shown: Mapping[str, Sequence[str]]


@dataclass(slots=True)
class Hearing:
    """One request being decided: its facts, its standing, and the guards gathered so far."""

    visit: Visit
    asked: Asked
    facts: Snapshot
    standing: Standing
    recorder: Recorder
    guards: list[str]
    valid_until: datetime
    once: list[bytes] = field(default_factory=list)
    #: whose post lets the caller do what they ask, as far as that is known
    lets: UUID | None = None
    #: whose post shows the caller whom, else which organisation, they ask about
    shows: UUID | None = None

    def made_before(self, object_: ObjectRef) -> "Hearing":
        """Return the hearing of a repeat: about what the first attempt made."""
        return replace(self, asked=replace(self.asked, object=object_))

    def only_reads(self) -> None:
        """Have what is recorded from here on be a read: what was asked for is done already."""
        self.asked = replace(self.asked, action="read")

    def may(self, action: str, object_: str, facts_of: FactsOf) -> Decision:
        """Decide whether the caller may do what they ask; what is allowed is what ``lets`` them."""
        decision = self.standing.may(action, object_, facts_of)
        self.lets = self.lets or decision.organisation_id
        return decision

    async def organisation(self, organisation_id: UUID) -> Organisation | None:
        """Load and guard an organisation."""
        return (await self._seen(organisation_id))[0]

    async def _seen(self, organisation_id: UUID) -> tuple[Organisation | None, bool]:
        """Load and guard an organisation; with it, whether the caller sees one of that id."""
        self.guards.append(e.organisation_key(organisation_id))
        organisation = await self.facts.organisation(organisation_id)
        towards = self.standing.towards((organisation_id,))
        decision = self.standing.may("read", "organisation", towards)
        if organisation is not None:
            self.shows = self.shows or decision.organisation_id
        return organisation, decision.allowed

    async def person(self, person_id: UUID) -> Person | None:
        """Load and guard a person."""
        self.guards.append(e.person_key(person_id))
        return await self.facts.person(person_id)

    async def nearest(self, person_id: UUID) -> Person:
        """Load and guard a person; somebody else when missing, to be judged and not shown."""
        self.guards.append(e.person_key(person_id))
        return await self.facts.nearest(person_id)

    async def sees_organisation(self, organisation_id: UUID) -> Organisation | None:
        """Return an organisation that the caller belongs to, or sees as an administrator.

        Judged by its id, so that a missing one and a hidden one take the same path.
        """
        organisation, seen = await self._seen(organisation_id)
        return organisation if seen else None

    async def knows(self, person_id: UUID) -> Person | None:
        """Return a person the caller knows of: themselves, or who works where they see the staff.

        Also who works nowhere and was registered for such an organisation: whoever has gone on to
        another one is that one's. Everybody else is as unknown as somebody who does not exist, and
        is as long in being refused.
        """
        person = await self.nearest(person_id)
        places, posts = self.places(person), self.facts.caller.assignments
        post = next((a for a in posts if self.standing.knows(a, places)), None)
        if person.id != person_id or (post is None and person.id != self.visit.person_id):
            return None
        self.shows = post.organisation_id if post else self.facts.caller.organisation_id
        return person

    def places(self, person: Person) -> set[UUID]:
        """Return where somebody works or is to; who works nowhere, whom they were registered for.

        Of somebody loaded here.
        """
        now, home = self.facts.now, self.facts.home(person.id)
        current = {a.organisation_id for a in person.assignments if not a.has_ended(now)}
        return current or ({home} if home else set())

    def actor(self, decision: Decision) -> Actor:
        """Return who acts: for the organisation of the assignment the decision rests on."""
        return Actor(person_id=self.visit.person_id, organisation_id=decision.organisation_id)

    async def event(
        self,
        type_: str,
        decision: Decision,
        *,
        data: Mapping[str, Any] | None = None,
        stream: tuple[str, int] | None = None,
        touches: Sequence[str] = (),
        effective_at: datetime | None = None,
        event_id: UUID | None = None,
        shown: Mapping[str, Sequence[str]] | None = None,
        organisation_id: UUID | None = None,
        object_: ObjectRef | None = None,
    ) -> Event:
        """Return an event of this request, resting on ``decision``.

        ``organisation_id`` is what it concerns, when that is not whom the caller acts for, and
        ``object_`` what it is about, when that is not what was asked about.
        """
        event = await self.recorder.event(
            type_,
            self.visit.call,
            action=self.asked.action,
            actor=self.actor(decision),
            session_id=self.visit.session_id,
            event_id=event_id,
            stream=stream,
            outcome=Outcome.ALLOWED if decision.allowed else Outcome.DENIED,
            effective_at=effective_at,
            grounds=decision.grounds,
            policy_version=self.standing.policy.version,
            object_=object_ or self.asked.object,
            shown=shown,
            touches=touches,
            data=data,
        )
        place = organisation_id or decision.organisation_id
        return msgspec.structs.replace(event, organisation_id=place)

    def draft(
        self, events: Sequence[Event], reply: T | Problem, made: Made | None = None
    ) -> Draft[T]:
        """Return the draft of ``events``, resting on everything looked at so far."""
        group = Group(
            events,
            at=self.facts.at,
            guards=tuple(dict.fromkeys(self.guards)),
            valid_until=self.valid_until,
            once=tuple(self.once),
        )
        return Draft(group, reply, made or {})

    async def refuse(self, problem: Problem) -> Draft[Any]:
        """Return the draft of a refusal: recorded before it is told, missing or hidden alike.

        It is recorded for the organisation of the assignment that lets the caller do it, else of
        the one that shows them what they asked about; where none does, for their first one's. So
        those who watch over that organisation see it (SG-8), and nobody else.
        """
        self.once.clear()
        place = self.lets or self.shows or self.facts.caller.organisation_id
        refused = Decision(allowed=False, organisation_id=place)
        event = await self.event(e.REFUSED, refused, data={"code": problem.code})
        event = msgspec.structs.replace(event, outcome=outcome_of(problem))
        return self.draft([event], problem)

    async def disclose(
        self,
        decision: Decision,
        reply: T,
        shown: Mapping[str, Sequence[str]],
        people: Collection[UUID] = (),
        organisation_id: UUID | None = None,
    ) -> Draft[T]:
        """Return the draft of an answer that shows ``shown``, profiles of ``people`` included."""
        return await self.disclose_each([Part(decision, shown)], reply, people, organisation_id)

    async def disclose_each(
        self,
        parts: Sequence[Part],
        reply: T,
        people: Collection[UUID] = (),
        organisation_id: UUID | None = None,
    ) -> Draft[T]:
        """Return the draft of an answer that posts at several organisations show.

        An event for each, since each has an audit of its own; there is always one.
        """
        self.guards.extend(e.person_key(person_id) for person_id in people)
        return self.draft(await self.reads(told(parts), organisation_id), reply)

    async def reads(
        self, parts: Sequence[Part], organisation_id: UUID | None = None
    ) -> list[Event]:
        """Return the event of each part.

        Of an organisation that one of the parts is told to anyhow, the others are told to their own
        alone: it would learn whom else its people act for (docs/decisions/0003, 44).
        """
        if any(part.decision.organisation_id == organisation_id for part in parts):
            organisation_id = None
        return [
            await self.event(e.READ, p.decision, shown=p.shown, organisation_id=organisation_id)
            for p in parts
        ]
