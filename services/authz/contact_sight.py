"""Whose e-mail address and telephone a caller sees: of fewer people than whose name.

A staff list says who has access, and in which role (AC-SEE-7, 11); how to reach somebody is no part
of it. That is shown to themselves (AC-SEE-22), to whoever may correct it (AC-DO-13), and to
administrators of those whose post is theirs to give or to take back (AC-DO-16): the Ministry's own,
and an organisation's first leader or lead. Place in the flow: beside the decision who is shown at
all, for those who are. Opens nothing and records nothing.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple
from uuid import UUID

from services.authz.directory import Person
from services.authz.events import OrganisationKind, Role
from services.authz.hearing import Hearing
from services.authz.relations import Standing
from services.authz.roles import LEAD, role_facts


class Appointments(NamedTuple):
    """What of posts at some organisations an administrator's rights depend on."""

    kinds: Mapping[UUID, OrganisationKind]
    #: organisations that somebody leads, now or from a later day
    led: frozenset[UUID]
    #: grants of a lead's post that are an administrator's to take back
    firsts: frozenset[UUID]


_NONE = Appointments({}, frozenset(), frozenset())


async def appointments_at(hearing: Hearing, places: Collection[UUID]) -> Appointments:
    """Return what there is of posts at ``places``; nothing for who sees no staff everywhere."""
    standing = hearing.standing
    if not standing.may("read", "staff", standing.towards(())).allowed:
        return _NONE
    posts = hearing.facts.posts
    return Appointments(
        await hearing.facts.kinds(places), await posts.led(places), await posts.first_leads(places)
    )


def shows_contact(
    hearing: Hearing, standing: Standing, person: Person, appointments: Appointments
) -> bool:
    """Say whether the posts of ``standing`` show how to reach somebody, who is not the caller."""
    places = hearing.places(person)
    if standing.may("update", "profile", standing.towards(places)).allowed:
        return True
    return any(_appoints(hearing, standing, person, place, appointments) for place in places)


def _appoints(
    hearing: Hearing, standing: Standing, person: Person, place: UUID, known: Appointments
) -> bool:
    """Say whether they may take back a post of the person's there, or give one to who has none."""
    kind, now = known.kinds.get(place), hearing.facts.now
    if kind is None:
        return False

    def may(action: str, role: Role, *, first: bool) -> bool:
        facts = standing.over(place, [*role_facts(role, kind, first=first), "not_self"])
        return standing.may(action, "assignment", facts).allowed

    held = [a for a in person.assignments if a.organisation_id == place and not a.has_ended(now)]
    if not held:
        return may("grant", LEAD.get(kind, Role.ADMINISTRATOR), first=place not in known.led)
    return any(may("revoke", a.role, first=a.id in known.firsts) for a in held)
