"""Resets: somebody's credentials taken back, and a new invitation in their place (SG-4, SG-21).

A containment act: password, second factor and recovery codes let nobody in from now on, and every
session of the person ends at once, in every process. The invitation leads through the same
enrolment as the first one did, and is delivered to the person: whoever resets never holds it. It
serves who lost a device, too, and who let an invitation lapse.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

import msgspec

from services.authz import events as e
from services.authz.credential_events import CREDENTIALS_RESET, INVITATION_ISSUED, CredentialsReset
from services.authz.desk import Command, Desk
from services.authz.hearing import Asked, Hearing
from services.authz.invitations import Invitations
from services.authz.people import Over, ended_sessions, judge_over
from services.authz.recording import data_of, person_object, person_stream
from services.authz.session_events import login_key
from services.authz.visits import Visit
from services.kernel.errors import TooManyRequests
from services.kernel.events import Event
from services.kernel.handling import Draft
from services.kernel.idempotency import Attempt, Made

RESET: Final = "reset"
#: how often one person is reset, singled out, within :data:`_WITHIN`; each time they get a letter
_MOST: Final = 3
_WITHIN: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Reset:
    """Whose credentials were reset, and which invitation is delivered to them."""

    person_id: UUID
    invitation_id: UUID


class Resets:
    """The command that resets one person's credentials."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._invitations = Invitations(desk.runtime.installation.secret("invitation"))

    async def reset(
        self, visit: Visit, attempt: Attempt | None, person_id: UUID, reason: str
    ) -> Reset:
        """Take a person's credentials back and invite them anew (SG-21).

        Raises :class:`NotFound` for people the caller does not know of, :class:`Forbidden` for who
        is not theirs to reset: themselves included; :class:`TooManyRequests` for who was reset
        three times within an hour.
        """

        async def act(hearing: Hearing, over: Over) -> Draft[Reset]:
            if (often := await too_often(hearing, over.person.id)) is not None:
                return await hearing.refuse(often)
            data = await self._with_reason(over.person.id, reason)
            reset, events = await self.facts(hearing, over, data)
            made = {"person": over.person.id, "invitation": reset.invitation_id}
            return hearing.draft(events, reset, made)

        async def again(hearing: Hearing, over: Over, made: Made) -> Draft[Reset]:
            reply = Reset(over.person.id, made["invitation"])
            return await hearing.disclose(over.decision, reply, {"person": [str(reply.person_id)]})

        asked = Asked(RESET, person_object(person_id))
        command = Command(judge_over(person_id, RESET), act, again)
        return await self._desk.hear_once(visit, asked, attempt, command)

    async def _with_reason(self, person_id: UUID, reason: str) -> tuple[UUID, CredentialsReset]:
        reset_id = self._desk.runtime.effects.new_id()
        sealed = await self._desk.sealed_reason(person_id, reset_id, reason)
        return reset_id, CredentialsReset(person_id=person_id, reason=sealed)

    async def facts(
        self, hearing: Hearing, over: Over, change: tuple[UUID, CredentialsReset]
    ) -> tuple[Reset, list[Event]]:
        """Return the facts of one person's reset: sessions ended, credentials gone, invited anew.

        Each names the person as its object and the person's organisation, when there is one.
        """
        decision, person = over
        invitation_id = self._desk.runtime.effects.new_id()
        issued = self._invitations.of(invitation_id).issued_to(person.id)
        facts: tuple[tuple[str, UUID, msgspec.Struct], ...] = (
            (CREDENTIALS_RESET, *change),
            (INVITATION_ISSUED, invitation_id, issued),
        )
        places = {
            a.organisation_id for a in person.assignments if not a.has_ended(hearing.facts.now)
        }
        place = places.pop() if len(places) == 1 else None
        events = [
            await hearing.event(
                type_,
                decision,
                data=data_of(data),
                stream=(person_stream(person.id), person.version + offset),
                touches=(e.person_key(person.id), login_key(person.id)),
                event_id=event_id,
                organisation_id=place,
                object_=person_object(person.id),
            )
            for offset, (type_, event_id, data) in enumerate(facts, 1)
        ]
        # A login that completes meanwhile would begin a session that is not among those ended.
        hearing.guards.append(login_key(person.id))
        ended = await ended_sessions(self._desk, hearing, decision, person, RESET)
        return Reset(person.id, invitation_id), [*ended, *events]


async def too_often(hearing: Hearing, person_id: UUID) -> TooManyRequests | None:
    """Return why somebody is not reset once more just now: no mailbox is flooded with letters.

    Counted in the log, so over every process and whoever asked.
    """
    times = await hearing.facts.resets(person_id, _MOST)
    if len(times) < _MOST or hearing.facts.now >= times[-1] + _WITHIN:
        return None
    left = times[-1] + _WITHIN - hearing.facts.now
    return TooManyRequests(retry_after_s=max(1, round(left.total_seconds())))
