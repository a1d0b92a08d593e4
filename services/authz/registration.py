"""Registration: a person exists, for an organisation, and is invited (AC-DO-1, 3, 4, 5 and 16).

Registering seals the profile (``staff``) and the user name (``credential``) and issues a one-time
invitation, which is delivered to the person and never answered.
"""

from dataclasses import dataclass
from uuid import UUID

import msgspec

from services.authz import events as e
from services.authz.credential_events import INVITATION_ISSUED
from services.authz.desk import Command, Desk
from services.authz.hearing import Asked, Hearing
from services.authz.invitations import Invitations
from services.authz.mailboxes import mailbox
from services.authz.recording import data_of, person_object, person_stream
from services.authz.relations import Decision
from services.authz.roles import LEAD
from services.authz.usernames import Usernames, username_once
from services.authz.visits import Visit
from services.kernel.errors import Conflict, Forbidden, NotFound, Problem
from services.kernel.handling import Draft
from services.kernel.idempotency import Attempt, Made
from services.kernel.sealing import Compartment, KeyRef, SealBroken


@dataclass(frozen=True, slots=True)
class Register:
    """A person as they are to be registered, for an organisation."""

    username: str
    profile: e.Profile
    organisation_id: UUID


@dataclass(frozen=True, slots=True)
class Registered:
    """A new person, and which invitation to set a password is delivered to them."""

    person_id: UUID
    organisation_id: UUID
    invitation_id: UUID


class Registration:
    """The command that registers people."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        installation = desk.runtime.installation
        self._usernames = Usernames(installation.secret("username"))
        self._invitations = Invitations(installation.secret("invitation"))

    async def register(
        self, visit: Visit, attempt: Attempt | None, command: Register
    ) -> Registered:
        """Register a person for an organisation (AC-DO-1, 3, 4, 5 and 16), and invite them.

        The invitation goes to the person's address and to nobody else: raises :class:`Conflict`
        when that is one of the caller's own, and when the user name is taken.
        """
        new_id = self._desk.runtime.effects.new_id()

        async def judge(hearing: Hearing, _: Made | None) -> Decision | Problem:
            return await _may_register(hearing, command.organisation_id)

        async def act(hearing: Hearing, decision: Decision) -> Draft[Registered]:
            username_digest = self._usernames.digest(command.username)
            hearing.once.append(username_once(username_digest))
            taken = await hearing.facts.username_taken(username_digest)
            if taken or await has_address(self._desk, hearing, command.profile.email):
                return await hearing.refuse(Conflict())
            return await self._registered(hearing, decision, new_id, command)

        async def again(hearing: Hearing, decision: Decision, made: Made) -> Draft[Registered]:
            if await hearing.knows(made["person"]) is None:
                return await hearing.refuse(NotFound())
            reply = Registered(made["person"], command.organisation_id, made["invitation"])
            shown = {"person": [str(made["person"])]}
            return await hearing.made_before(person_object(made["person"])).disclose(
                decision, reply, shown, (made["person"],)
            )

        asked = Asked("create", person_object(new_id))
        return await self._desk.hear_once(visit, asked, attempt, Command(judge, act, again))

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
                    (INVITATION_ISSUED, invitation_id, invitation.issued_to(new_id)),
                ),
                1,
            )
        ]
        reply = Registered(new_id, command.organisation_id, invitation_id)
        return hearing.draft(events, reply, {"person": new_id, "invitation": invitation_id})


async def has_address(desk: Desk, hearing: Hearing, email: str) -> bool:
    """Say whether ``email`` is the caller's own: no account has two persons behind it (SG-4).

    Theirs are the newest address and the one that messages still go to, however they are spelt.
    """
    sealed = await hearing.facts.addresses(hearing.visit.person_id)
    await desk.runtime.keys.load(one.ref for one in sealed)
    try:
        opened = [desk.runtime.keys.open_sealed(one) for one in sealed]
    except SealBroken:
        return False
    own = {mailbox(msgspec.json.decode(one, type=e.Profile).email) for one in opened}
    return mailbox(email) in own


async def _may_register(hearing: Hearing, organisation_id: UUID) -> Decision | Problem:
    """Decide on registering somebody for an organisation (AC-DO-1, 3, 5 and 16).

    Returns the problem it is refused with for one the caller does not see, and where they may not.
    """
    organisation = await hearing.sees_organisation(organisation_id)
    if organisation is None:
        return NotFound()
    extra = []
    if organisation.kind is e.OrganisationKind.MINISTRY:
        extra.append("ministry_staff")
    elif not await hearing.facts.posts.filled(organisation.id, LEAD[organisation.kind]):
        extra.append("first_lead")
    facts = hearing.standing.over(organisation.id, extra)
    decision = hearing.may("create", "person", facts)
    return decision if decision.allowed else Forbidden()
