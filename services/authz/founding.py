"""Founding: the first organisation and its administrator, where there is nobody yet (AC-DO-16).

Everybody else is registered over HTTP by somebody who may, so somebody has to be there first. Run
by whoever holds the installation (``casewarden bootstrap``), never by a request. The administrator
sets a password and a second factor by an invitation like everybody's (SG-2); nobody is shown it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from services.authz import events as e
from services.authz.credential_events import INVITATION_ISSUED
from services.authz.credentials import Carried
from services.authz.invitations import Invitations
from services.authz.seeding import as_person, needed_keys, organisation_event, registered
from services.authz.usernames import Usernames, username_once
from services.kernel.events import Event
from services.kernel.groups import Group
from services.kernel.log import Duplicate

if TYPE_CHECKING:
    from uuid import UUID

    from services.kernel.runtime import Runtime

_ONCE: Final = b"founded"


class AlreadyFounded(Exception):  # noqa: N818 - an answer, not a fault
    """The log has people in it: its administrators register whoever else is needed."""


@dataclass(frozen=True, slots=True)
class Founder:
    """The first administrator, and the organisation they administrate from."""

    organisation: str
    time_zone: str
    username: str
    profile: e.Profile


async def found(runtime: "Runtime", founder: Founder) -> "UUID":
    """Record the organisation and its administrator, invited; return the person's id.

    Raises :class:`AlreadyFounded` when anybody is registered, also by another call at this moment,
    and :class:`Unavailable` when the log cannot be written.
    """
    await runtime.projector.caught_up()
    if await runtime.pool.fetchval("select exists (select from authz.person)"):
        raise AlreadyFounded
    person_id = runtime.effects.new_id()
    await runtime.keys.load(needed_keys(person_id), create=True)
    usernames = Usernames(runtime.installation.secret("username"))
    once = (_ONCE, username_once(usernames.digest(founder.username)))
    events = _facts(runtime, usernames, person_id, founder)
    try:
        position = await runtime.log.append(Group(events, once=once))
    except Duplicate:
        raise AlreadyFounded from None
    await runtime.projector.reached(position)
    return person_id


def _facts(
    runtime: "Runtime", usernames: Usernames, person_id: "UUID", founder: Founder
) -> list[Event]:
    effects, keys, now = runtime.effects, runtime.keys, runtime.effects.now()
    organisation = e.OrganisationRegistered(
        organisation_id=effects.new_id(),
        kind=e.OrganisationKind.MINISTRY,
        name=founder.organisation,
        time_zone=founder.time_zone,
    )
    invitation_id = effects.new_id()
    invitation = Invitations(runtime.installation.secret("invitation")).of(invitation_id)
    granted = e.AssignmentGranted(
        assignment_id=effects.new_id(),
        person_id=person_id,
        role=e.Role.ADMINISTRATOR,
        organisation_id=organisation.organisation_id,
        starts_at=now,
    )
    carried = (
        registered(
            keys,
            effects,
            usernames,
            person_id=person_id,
            username=founder.username,
            profile=founder.profile,
        ),
        Carried(e.ASSIGNMENT_GRANTED, effects.new_id(), granted),
        Carried(INVITATION_ISSUED, invitation_id, invitation.issued_to(person_id)),
    )
    return [
        organisation_event(effects, organisation, now),
        *as_person(person_id, carried, now, organisation.organisation_id),
    ]
