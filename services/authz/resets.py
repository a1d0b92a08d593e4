"""Resets: somebody's credentials taken back, and a new invitation in their place (SG-4, SG-21).

A containment act: password, second factor and recovery codes let nobody in from now on, and every
session of the person ends at once, in every process. The invitation leads through the same
enrolment as the first one did. It serves who lost a device, too, and who let an invitation lapse.
"""

from dataclasses import dataclass
from uuid import UUID

import msgspec

from services.authz import events as e
from services.authz.desk import Asked, Desk, Hearing
from services.authz.directory import Person
from services.authz.invitations import Invitation, Invitations
from services.authz.people import ended_sessions, person_stream, standing_over
from services.authz.recording import data_of, person_object
from services.authz.relations import Decision
from services.authz.visits import Visit
from services.kernel.errors import Forbidden, NotFound
from services.kernel.handling import Draft
from services.kernel.idempotency import Attempt, Made
from services.kernel.sealing import Compartment, KeyRef

_ACTION = "reset"


@dataclass(frozen=True, slots=True)
class Reset:
    """Whose credentials were reset, and the invitation to set new ones."""

    person_id: UUID
    invitation: Invitation


class Resets:
    """The command that resets credentials."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._invitations = Invitations(desk.runtime.installation.secret("invitation"))

    async def reset(
        self, visit: Visit, attempt: Attempt | None, person_id: UUID, reason: str
    ) -> Reset:
        """Take a person's credentials back and invite them anew (SG-21).

        Raises :class:`NotFound` for people the caller does not know of, :class:`Forbidden` for who
        is not theirs to reset: themselves, and who also works elsewhere, included.
        """

        async def decide(hearing: Hearing) -> Draft[Reset]:
            person, decision = await standing_over(hearing, person_id, _ACTION)
            if person is None:
                return await hearing.refuse(NotFound())
            if not decision.allowed:
                return await hearing.refuse(Forbidden())
            return await self._reset(hearing, decision, person, reason)

        async def repeat(hearing: Hearing, made: Made) -> Draft[Reset]:
            person, decision = await standing_over(hearing, made["person"], _ACTION)
            if person is None:
                return await hearing.refuse(NotFound())
            if not decision.allowed:
                return await hearing.refuse(Forbidden())
            reply = Reset(person.id, self._invitations.of(made["invitation"]))
            return await hearing.disclose(decision, reply, {"person": [str(person.id)]})

        asked = Asked(_ACTION, person_object(person_id))
        return await self._desk.hear_once(visit, asked, attempt, decide, repeat)

    async def _reset(
        self, hearing: Hearing, decision: Decision, person: Person, reason: str
    ) -> Draft[Reset]:
        keys, effects = self._desk.runtime.keys, self._desk.runtime.effects
        reset_id, invitation_id = effects.new_id(), effects.new_id()
        ref = KeyRef(person.id, Compartment.STAFF)
        await keys.load([ref], create=True)
        sealed = keys.seal(ref, reset_id, "reason", reason)
        invitation = self._invitations.of(invitation_id)
        facts: tuple[tuple[str, UUID, msgspec.Struct], ...] = (
            (e.CREDENTIALS_RESET, reset_id, e.CredentialsReset(person_id=person.id, reason=sealed)),
            (e.INVITATION_ISSUED, invitation_id, invitation.issued_to(person.id)),
        )
        events = [
            await hearing.event(
                type_,
                decision,
                data=data_of(data),
                stream=(person_stream(person.id), person.version + offset),
                touches=(e.person_key(person.id), e.login_key(person.id)),
                event_id=event_id,
            )
            for offset, (type_, event_id, data) in enumerate(facts, 1)
        ]
        # A login that completes meanwhile would begin a session that is not among those ended.
        hearing.guards.append(e.login_key(person.id))
        ended = await ended_sessions(self._desk, hearing, decision, person.id, _ACTION)
        made = {"person": person.id, "invitation": invitation_id}
        return hearing.draft([*ended, *events], Reset(person.id, invitation), made)
