"""Everybody a caller may see, as a page: those whom `GET /v1/people/{id}` shows them, as it does.

Place in the flow: ``hearing -> reach -> sight of each -> views -> disclosed``. A query only. Whom
the caller may know of is found by :meth:`~services.authz.relations.Standing.reach`, and each of
them is then judged like a single read; who is hidden is neither listed nor counted.
"""

from uuid import UUID

from services.authz.contact_sight import appointments_at
from services.authz.desk import Desk
from services.authz.directory import Person
from services.authz.hearing import Asked, Hearing, Part
from services.authz.relations import NOTHING, Reach
from services.authz.staff import Staff
from services.authz.staff_sight import parts_of, seeing, together
from services.authz.staff_views import PeoplePage, PersonView
from services.authz.visits import Visit
from services.kernel.events import ObjectRef
from services.kernel.handling import Draft


class KnownPeople:
    """The query of whom one knows of."""

    def __init__(self, desk: Desk, staff: Staff) -> None:
        self._desk = desk
        self._staff = staff

    async def page(
        self, visit: Visit, organisation_id: UUID | None, after: UUID | None, limit: int
    ) -> PeoplePage:
        """Return whom the caller sees, in the order of their ids.

        With ``organisation_id``, of those the ones they see there: who works there or is to, and
        who works nowhere and was registered for it. One the caller does not see has nobody.
        """

        async def decide(hearing: Hearing) -> Draft[PeoplePage]:
            reach = hearing.standing.reach()
            near = reach if organisation_id is None else reach.at(organisation_id)
            oneself = _oneself(hearing, organisation_id)
            ids = await hearing.facts.posts.known(near, oneself, after, limit + 1)
            shown = ids[:limit]
            views, parts = await self._seen(hearing, shown)
            page = PeoplePage(views, shown[-1] if len(ids) > limit else None)
            told_to = _told_to(reach, organisation_id, views)
            return await hearing.disclose_each(parts, page, shown, told_to)

        return await self._desk.hear(visit, Asked("list", _object(organisation_id)), decide)

    async def _seen(self, hearing: Hearing, ids: list[UUID]) -> tuple[list[PersonView], list[Part]]:
        """Return people as the caller sees them, and what each organisation's posts show of it."""
        await hearing.facts.bring(ids)
        people = [await hearing.nearest(one) for one in ids]
        places = {place for person in people for place in hearing.places(person)}
        appointments = await appointments_at(hearing, places)
        await self._desk.runtime.keys.load(one.sealed_profile().ref for one in people)
        views: list[PersonView] = []
        parts: list[Part] = []
        for person in people:
            seen = seeing(hearing, person, appointments)
            if seen:
                views.append(await self._staff.view(hearing, person, seen))
                parts += parts_of(views[-1], seen)
        return views, together(parts) or [_nobody(hearing)]


def _oneself(hearing: Hearing, organisation_id: UUID | None) -> UUID | None:
    """Return the caller where they are of those asked for, and may see themselves at all."""
    person: Person = hearing.facts.caller.person
    if not hearing.facts.caller.assignments:
        return None
    if organisation_id is None or organisation_id in hearing.places(person):
        return person.id
    return None


def _nobody(hearing: Hearing) -> Part:
    """Return what is told of a list that shows nobody: to the caller's first organisation."""
    posts = hearing.standing.apart()
    own = posts[0].may("read", "profile", lambda _: ("self",)) if posts else NOTHING
    return Part(own, {})


def _told_to(reach: Reach, organisation_id: UUID | None, views: list[PersonView]) -> UUID | None:
    """Return the organisation that is looked at from elsewhere, as its staff list is."""
    return organisation_id if reach.everywhere and views else None


def _object(organisation_id: UUID | None) -> ObjectRef:
    if organisation_id is None:
        return ObjectRef("person", "*")
    return ObjectRef("staff", str(organisation_id))
