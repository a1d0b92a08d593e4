"""People: registered, invited, suspended, reinstated.

A person is the stream ``person:<id>``. Registering seals the profile (``staff``) and the user name
(``credential``) and issues a one-time invitation. Suspending touches the person's guard key, which
refuses every later answer in every process, and ends their sessions (SG-3).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import msgspec

from services.authz import events as e
from services.authz.desk import Asked, Desk, Hearing
from services.authz.directory import Organisation, Person
from services.authz.invitations import Invitation, Invitations
from services.authz.recording import data_of, person_object
from services.authz.relations import LEAD, Decision
from services.authz.sessions import endings
from services.authz.staff_views import over
from services.authz.usernames import Usernames, username_once
from services.authz.visits import Visit
from services.kernel.errors import Conflict, Forbidden, NotFound
from services.kernel.events import Event
from services.kernel.handling import Draft
from services.kernel.idempotency import Attempt, Made
from services.kernel.sealing import Compartment, KeyRef


@dataclass(frozen=True, slots=True)
class Register:
    """A person as they are to be registered, for an organisation."""

    username: str
    profile: e.Profile
    organisation_id: UUID


@dataclass(frozen=True, slots=True)
class Registered:
    """A new person, with the invitation that lets them set a password, once."""

    person_id: UUID
    organisation_id: UUID
    invitation: Invitation


def person_stream(person_id: UUID) -> str:
    """Return the stream of a person."""
    return f"person:{person_id}"


class People:
    """Commands about people."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        installation = desk.runtime.installation
        self._usernames = Usernames(installation.secret("username"))
        self._invitations = Invitations(installation.secret("invitation"))

    async def register(
        self, visit: Visit, attempt: Attempt | None, command: Register
    ) -> Registered:
        """Register a person for an organisation (AC-DO-1, 3, 5 and 16).

        Raises :class:`Conflict` when the user name is taken.
        """
        new_id = self._desk.runtime.effects.new_id()

        async def decide(hearing: Hearing) -> Draft[Registered]:
            organisation = await hearing.sees_organisation(command.organisation_id)
            if organisation is None:
                return await hearing.refuse(NotFound())
            decision = await _may_register(hearing, organisation)
            if not decision.allowed:
                return await hearing.refuse(Forbidden())
            username_digest = self._usernames.digest(command.username)
            hearing.once.append(username_once(username_digest))
            if await hearing.facts.username_taken(username_digest):
                return await hearing.refuse(Conflict())
            return await self._registered(hearing, decision, new_id, command)

        async def repeat(hearing: Hearing, made: Made) -> Draft[Registered]:
            organisation = await hearing.sees_organisation(command.organisation_id)
            if organisation is None:
                return await hearing.refuse(NotFound())
            decision = await _may_register(hearing, organisation)
            if not decision.allowed:
                return await hearing.refuse(Forbidden())
            invitation = self._invitations.of(made["invitation"])
            reply = Registered(made["person"], organisation.id, invitation)
            shown = {"person": [str(made["person"])]}
            return await hearing.disclose(decision, reply, shown, (made["person"],))

        asked = Asked("create", person_object(new_id))
        return await self._desk.hear_once(visit, asked, attempt, decide, repeat)

    async def _registered(
        self, hearing: Hearing, decision: Decision, new_id: UUID, command: Register
    ) -> Draft[Registered]:
        effects, keys = self._desk.runtime.effects, self._desk.runtime.keys
        event_id, invitation_id = effects.new_id(), effects.new_id()
        staff, credential = (
            KeyRef(new_id, Compartment.STAFF),
            KeyRef(new_id, Compartment.CREDENTIAL),
        )
        await keys.load([staff, credential], create=True)
        profile = msgspec.json.encode(command.profile).decode()
        invitation = self._invitations.of(invitation_id)
        registered = e.PersonRegistered(
            person_id=new_id,
            profile=keys.seal(staff, event_id, "profile", profile),
            username_digest=self._usernames.digest(command.username),
            username=keys.seal(credential, event_id, "username", command.username),
        )
        events = [
            await hearing.event(
                type_,
                decision,
                data=data_of(data),
                stream=(person_stream(new_id), version),
                touches=(e.person_key(new_id),),
                event_id=id_,
                organisation_id=command.organisation_id,
            )
            for version, (type_, id_, data) in enumerate(
                (
                    (e.PERSON_REGISTERED, event_id, registered),
                    (e.INVITATION_ISSUED, invitation_id, invitation.issued_to(new_id)),
                ),
                1,
            )
        ]
        reply = Registered(new_id, command.organisation_id, invitation)
        return hearing.draft(events, reply, {"person": new_id, "invitation": invitation_id})

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
    hearing: Hearing, person_id: UUID, action: str
) -> tuple[Person | None, Decision]:
    """Return a person the caller knows of, and whether they may do ``action`` to them."""
    person = await hearing.knows(person_id)
    if person is None:
        return None, Decision(allowed=False)
    places = {a.organisation_id for a in person.assignments if not over(a, hearing.facts.now)}
    if not places and (home := hearing.facts.home(person_id)):
        places = {home}
    facts = hearing.standing.about(person, places, await hearing.facts.kinds(places))
    return person, hearing.standing.may(action, "person", facts)


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


async def _may_register(hearing: Hearing, organisation: Organisation) -> Decision:
    """Decide on registering somebody for an organisation (AC-DO-1, 3, 5 and 16)."""
    extra = []
    if organisation.kind is e.OrganisationKind.MINISTRY:
        extra.append("ministry_staff")
    elif not await hearing.facts.holders(organisation.id, LEAD[organisation.kind]):
        extra.append("first_lead")
    facts = hearing.standing.over(organisation, extra)
    return hearing.standing.may("create", "person", facts)
