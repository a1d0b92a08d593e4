"""People: suspended, reinstated, and what every command about a person has in common.

A person is the stream ``person:<id>``. Suspending touches the person's guard key, which refuses
every later answer in every process, and ends their sessions (SG-3).
"""

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

import msgspec

from services.authz import events as e
from services.authz.desk import Asked, Desk, Hearing
from services.authz.directory import Person
from services.authz.recording import data_of, person_object, person_stream
from services.authz.relations import Decision, FactsOf, leads
from services.authz.session_ends import endings
from services.authz.visits import Visit
from services.kernel.errors import Conflict, Forbidden, NotFound
from services.kernel.events import Event
from services.kernel.handling import Draft
from services.kernel.idempotency import Attempt, Made
from services.kernel.sealing import Compartment, KeyRef


class People:
    """Commands that shut people out and let them in again."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def suspend(
        self, visit: Visit, attempt: Attempt | None, person_id: UUID, reason: str
    ) -> UUID:
        """Shut a person out until reinstated, sessions included; return their id.

        Raises :class:`NotFound` for people the caller does not know of, :class:`Conflict` when
        they are suspended already.
        """

        async def decide(hearing: Hearing) -> Draft[UUID]:
            person, decision = await standing_over(hearing, person_id, "suspend")
            if person is None:
                return await hearing.refuse(NotFound())
            if not decision.allowed:
                return await hearing.refuse(Forbidden())
            if person.suspended:
                return await hearing.refuse(Conflict())
            return await self._suspended(hearing, decision, person, reason)

        asked = Asked("suspend", person_object(person_id))
        return await self._desk.hear_once(visit, asked, attempt, decide, self._again)

    async def reinstate(self, visit: Visit, attempt: Attempt | None, person_id: UUID) -> UUID:
        """End a suspension; sessions from before it stay ended."""

        async def decide(hearing: Hearing) -> Draft[UUID]:
            person, decision = await standing_over(hearing, person_id, "suspend")
            if person is None:
                return await hearing.refuse(NotFound())
            if not decision.allowed:
                return await hearing.refuse(Forbidden())
            if not person.suspended:
                return await hearing.refuse(Conflict())
            return await self._reinstated(hearing, decision, person)

        asked = Asked("reinstate", person_object(person_id))
        return await self._desk.hear_once(visit, asked, attempt, decide, self._again)

    async def _again(self, hearing: Hearing, made: Made) -> Draft[UUID]:
        person, decision = await standing_over(hearing, made["person"], "suspend")
        if person is None or not decision.allowed:
            return await hearing.refuse(NotFound() if person is None else Forbidden())
        return await hearing.disclose(decision, person.id, {"person": [str(person.id)]})

    async def _suspended(
        self, hearing: Hearing, decision: Decision, person: Person, reason: str
    ) -> Draft[UUID]:
        keys, event_id = self._desk.runtime.keys, self._desk.runtime.effects.new_id()
        ref = KeyRef(person.id, Compartment.STAFF)
        await keys.load([ref], create=True)
        sealed = keys.seal(ref, event_id, "reason", reason)
        data = e.PersonSuspended(person_id=person.id, reason=sealed)
        event = await next_fact(hearing, decision, person, (e.PERSON_SUSPENDED, event_id, data))
        ended = await ended_sessions(self._desk, hearing, decision, person.id, "suspended")
        return hearing.draft([*ended, event], person.id, {"person": person.id})

    async def _reinstated(
        self, hearing: Hearing, decision: Decision, person: Person
    ) -> Draft[UUID]:
        event_id = self._desk.runtime.effects.new_id()
        data = e.PersonReinstated(person_id=person.id)
        event = await next_fact(hearing, decision, person, (e.PERSON_REINSTATED, event_id, data))
        ended = await ended_sessions(self._desk, hearing, decision, person.id, "suspended")
        return hearing.draft([*ended, event], person.id, {"person": person.id})


async def standing_over(
    hearing: Hearing, person_id: UUID, action: str, extra: Collection[str] = ()
) -> tuple[Person | None, Decision]:
    """Return a person the caller knows of, and whether they may do ``action`` to them."""
    person = await hearing.knows(person_id)
    if person is None:
        return None, Decision(allowed=False)
    facts = await facts_about(hearing, person, extra)
    return person, hearing.standing.may(action, "person", facts)


async def facts_about(hearing: Hearing, person: Person, extra: Collection[str] = ()) -> FactsOf:
    """Return the facts of acting upon an account: whose alone the person is, whether they lead.

    Who works nowhere is of the organisation they were registered for.
    """
    current = [a for a in person.assignments if not a.has_ended(hearing.facts.now)]
    places = hearing.places(person)
    kinds = await hearing.facts.kinds(places)
    leading = "leads" if leads(current, kinds) else "not_leading"
    about = hearing.standing.about(person, places, kinds, [*extra, leading])
    return hearing.standing.knowing(places, about)


async def next_fact(
    hearing: Hearing,
    decision: Decision,
    person: Person,
    change: tuple[str, UUID, msgspec.Struct],
    shown: Mapping[str, Sequence[str]] | None = None,
) -> Event:
    """Return the next fact of a person, which changes every staff list they are on."""
    type_, event_id, data = change
    places = {a.organisation_id for a in person.assignments}
    return await hearing.event(
        type_,
        decision,
        data=data_of(data),
        stream=(person_stream(person.id), person.version + 1),
        touches=(e.person_key(person.id), *map(e.organisation_key, sorted(places))),
        event_id=event_id,
        shown=shown,
    )


async def ended_sessions(
    desk: Desk, hearing: Hearing, decision: Decision, person_id: UUID, reason: str
) -> list[Event]:
    """Return the ends of a person's live sessions (SG-3)."""
    sessions = await hearing.facts.sessions(person_id)
    actor = hearing.actor(decision)
    return endings(desk.runtime.effects, sessions, reason, desk.limits, actor)
