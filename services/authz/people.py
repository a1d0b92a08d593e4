"""People: suspended, reinstated, and what every command about a person has in common.

A person is the stream ``person:<id>``. Suspending touches the person's guard key, which refuses
every later answer in every process, and ends their sessions (SG-3).
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from services.authz import events as e
from services.authz.desk import Command, Desk
from services.authz.directory import Person
from services.authz.hearing import Asked, Hearing
from services.authz.recording import data_of, person_object, person_stream
from services.authz.relations import Decision, FactsOf
from services.authz.roles import leads
from services.authz.session_ends import endings
from services.authz.visits import Visit
from services.kernel.errors import Conflict, Forbidden, NotFound, Problem
from services.kernel.events import Event
from services.kernel.handling import Draft
from services.kernel.idempotency import Attempt, Made

_SUSPEND: Final = "suspend"


class Over(NamedTuple):
    """A person that the caller may act upon, and by what."""

    decision: Decision
    person: Person


class People:
    """Commands that shut people out and let them in again."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def suspend(
        self, visit: Visit, attempt: Attempt | None, person_id: UUID, reason: str
    ) -> bool:
        """Shut a person out until reinstated, sessions included; say whether they are shut out.

        Raises :class:`NotFound` for people the caller does not know of, :class:`Conflict` when
        they are suspended already.
        """

        async def act(hearing: Hearing, over: Over) -> Draft[bool]:
            if over.person.suspended:
                return await hearing.refuse(Conflict())
            return await self._suspended(hearing, over, reason)

        asked = Asked(_SUSPEND, person_object(person_id))
        command = Command(judge_over(person_id, _SUSPEND), act, _again)
        return await self._desk.hear_once(visit, asked, attempt, command)

    async def reinstate(self, visit: Visit, attempt: Attempt | None, person_id: UUID) -> bool:
        """End a suspension; sessions from before it stay ended. Say whether they are shut out."""

        async def act(hearing: Hearing, over: Over) -> Draft[bool]:
            if not over.person.suspended:
                return await hearing.refuse(Conflict())
            return await self._reinstated(hearing, over)

        asked = Asked("reinstate", person_object(person_id))
        command = Command(judge_over(person_id, _SUSPEND), act, _again)
        return await self._desk.hear_once(visit, asked, attempt, command)

    async def _suspended(self, hearing: Hearing, over: Over, reason: str) -> Draft[bool]:
        person_id, event_id = over.person.id, self._desk.runtime.effects.new_id()
        sealed = await self._desk.sealed_reason(person_id, event_id, reason)
        data = e.PersonSuspended(person_id=person_id, reason=sealed)
        return await self._changed(hearing, over, (e.PERSON_SUSPENDED, event_id, data))

    async def _reinstated(self, hearing: Hearing, over: Over) -> Draft[bool]:
        event_id = self._desk.runtime.effects.new_id()
        data = e.PersonReinstated(person_id=over.person.id)
        return await self._changed(hearing, over, (e.PERSON_REINSTATED, event_id, data))

    async def _changed(
        self, hearing: Hearing, over: Over, change: tuple[str, UUID, msgspec.Struct]
    ) -> Draft[bool]:
        decision, person = over
        event = await next_fact(hearing, decision, person, change)
        ended = await ended_sessions(self._desk, hearing, decision, person, "suspended")
        return hearing.draft([*ended, event], not person.suspended, {"person": person.id})


async def _again(hearing: Hearing, over: Over, _: Made) -> Draft[bool]:
    shown = {"person": [str(over.person.id)]}
    return await hearing.disclose(over.decision, over.person.suspended, shown)


def judge_over(
    person_id: UUID, action: str
) -> Callable[[Hearing, Made | None], Awaitable[Over | Problem]]:
    """Return who judges a command that acts upon somebody, as :func:`standing_over` does."""
    return lambda hearing, _: standing_over(hearing, person_id, action)


async def standing_over(
    hearing: Hearing, person_id: UUID, action: str, extra: Collection[str] = ()
) -> Over | Problem:
    """Return a person the caller may do ``action`` to; the problem it is refused with otherwise.

    :class:`NotFound` of whom the caller does not know of, :class:`Forbidden` of who is known only.
    """
    person = await hearing.knows(person_id)
    if person is None:
        return NotFound()
    facts = await facts_about(hearing, person, extra)
    decision = hearing.may(action, "person", facts)
    return Over(decision, person) if decision.allowed else Forbidden()


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
    now = hearing.facts.now
    places = {a.organisation_id for a in person.assignments if not a.has_ended(now)}
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
    desk: Desk, hearing: Hearing, decision: Decision, person: Person, reason: str
) -> list[Event]:
    """Return the ends of a person's live sessions (SG-3)."""
    sessions = await hearing.facts.sessions(person.id)
    actor = hearing.actor(decision)
    return endings(desk.runtime.effects, person, sessions, reason, desk.limits, actor)
