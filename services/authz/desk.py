"""The desk: one request of administration from its snapshot to the log.

Place in the flow: ``snapshot -> decision -> draft -> append``. A :class:`Hearing` knows
what is asked, gathers the guards of every fact it looks at, and drafts either the facts of the
decision or its refusal; both rest on the same guards.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import msgspec

from services.authz import events as e
from services.authz.directory import Organisation, Person
from services.authz.engine import Policy
from services.authz.recording import Recorder
from services.authz.relations import Decision, Standing
from services.authz.session_ends import Limits
from services.authz.snapshot import Snapshot, snapshot
from services.authz.visits import Visit
from services.kernel.errors import Conflict, Problem
from services.kernel.events import Actor, Event, ObjectRef, Outcome
from services.kernel.handling import Draft
from services.kernel.idempotency import Attempt, Idempotency, Made
from services.kernel.log import Duplicate, Group
from services.kernel.runtime import Runtime

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

    async def organisation(self, organisation_id: UUID) -> Organisation | None:
        """Load and guard an organisation."""
        self.guards.append(e.organisation_key(organisation_id))
        return await self.facts.organisation(organisation_id)

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
        organisation = await self.organisation(organisation_id)
        towards = self.standing.towards((organisation_id,))
        return organisation if self.standing.may("read", "organisation", towards).allowed else None

    async def knows(self, person_id: UUID) -> Person | None:
        """Return a person the caller knows of: themselves, or who works where they see the staff.

        Also who works nowhere and was registered for such an organisation: whoever has gone on to
        another one is that one's. Everybody else is as unknown as somebody who does not exist, and
        is as long in being refused.
        """
        person = await self.nearest(person_id)
        places = self.places(person)
        known = person.id == self.visit.person_id or any(
            self.standing.knows(a, places) for a in self.facts.caller.assignments
        )
        return person if known and person.id == person_id else None

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

        No assignment allowed it; it is recorded for the organisation of the caller's first one, so
        that those who watch over that organisation see it (SG-8).
        """
        self.once.clear()
        refused = Decision(allowed=False, organisation_id=self.facts.caller.organisation_id)
        event = await self.event(e.REFUSED, refused, data={"code": problem.code})
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
        """Return the event of each part."""
        return [
            await self.event(e.READ, p.decision, shown=p.shown, organisation_id=organisation_id)
            for p in parts
        ]


def told(parts: Sequence[Part]) -> Sequence[Part]:
    """Return the parts that show something; the first one where none does."""
    return [part for part in parts if any(part.shown.values())] or parts[:1]


Decide = Callable[[Hearing], Awaitable[Draft[T]]]


class Desk:
    """Hears requests of administration and runs them against the log."""

    def __init__(
        self, runtime: Runtime, policy: Policy, recorder: Recorder, limits: Limits
    ) -> None:
        self.runtime = runtime
        self.policy = policy
        self.limits = limits
        self.idempotency = Idempotency(runtime)
        self.etag_secret = runtime.installation.secret("etag")
        self._recorder = recorder

    @asynccontextmanager
    async def hearing(self, visit: Visit, asked: Asked) -> AsyncIterator[Hearing]:
        """Open a hearing on one snapshot; raise ``Unauthenticated`` without a live session."""
        now = self.runtime.effects.now()
        async with snapshot(self.runtime.pool, visit, now) as facts:
            caller = facts.caller
            kinds = await facts.kinds({a.organisation_id for a in caller.assignments})
            yield Hearing(
                visit=visit,
                asked=asked,
                facts=facts,
                standing=Standing(caller, kinds, self.policy),
                recorder=self._recorder,
                guards=list(caller.guards),
                valid_until=caller.valid_until,
            )

    async def hear(self, visit: Visit, asked: Asked, decide: Decide[T]) -> T:
        """Decide and append, again whenever a fact moved; return the reply or raise it."""
        return await self.runtime.handling.run(lambda: self._once(visit, asked, decide))

    async def hear_once(
        self,
        visit: Visit,
        asked: Asked,
        attempt: Attempt | None,
        decide: Decide[T],
        repeat: Callable[[Hearing, Made], Awaitable[Draft[T]]],
    ) -> T:
        """Hear a POST: at most once per Idempotency-Key, and per once-key of its drafts.

        Who comes second to a once-key (a user name, a decision that serves once) is heard again,
        and meets what the first one made.
        """

        async def run() -> T:
            return await self.idempotency.run(
                attempt,
                lambda: self._once(visit, asked, decide),
                lambda made: self._once(visit, asked, lambda hearing: repeat(hearing, made)),
            )

        try:
            return await run()
        except Duplicate as held:
            await self.runtime.projector.reached(held.position)
        try:
            return await run()
        except Duplicate:
            # Held, and not by anything this decision could see: not possible in this state.
            raise Conflict from None

    async def _once(self, visit: Visit, asked: Asked, decide: Decide[T]) -> Draft[T]:
        async with self.hearing(visit, asked) as hearing:
            return await decide(hearing)
