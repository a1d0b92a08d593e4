"""Staff, asked for: the staff list of an organisation, and one person (AC-SEE-7, 11).

Place in the flow: ``hearing -> sight -> view -> disclosed``. Queries only. Profiles are opened
here, after the decision and for what is shown alone; each shown profile's key is among the guards.
"""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from services.authz.desk import Desk
from services.authz.directory import Assignment, Person
from services.authz.events import Profile
from services.authz.hearing import Asked, Hearing, Part
from services.authz.posts import Staffed
from services.authz.staff_sight import Seeing, judged, parts_of
from services.authz.staff_views import PersonView, StaffMember, StaffPage, version_of, view_of
from services.authz.visits import Visit
from services.kernel.errors import NotFound
from services.kernel.events import ObjectRef
from services.kernel.handling import Draft
from services.kernel.sealing import SealBroken


class Staff:
    """Queries about staff."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def page(
        self, visit: Visit, organisation_id: UUID, after: UUID | None, limit: int
    ) -> StaffPage:
        """Return who has access at an organisation, now or from a later day on.

        Raises :class:`NotFound` unless the caller is its leader or office (AC-SEE-7), its lead or
        case manager (AC-SEE-11), or an administrator.
        """

        async def decide(hearing: Hearing) -> Draft[StaffPage]:
            towards = hearing.standing.towards((organisation_id,))
            decisions = hearing.standing.each("read", "staff", towards)
            organisation = await hearing.organisation(organisation_id)
            if organisation is None or not decisions:
                return await hearing.refuse(NotFound())
            staff, more = await hearing.facts.posts.staff(organisation_id, after, limit)
            ends = [s.assignment.ends_at for s in staff if s.assignment.ends_at is not None]
            hearing.valid_until = min([hearing.valid_until, *ends])
            page = StaffPage(await self._members(visit, staff), more)
            people = {s.person.id for s in staff}
            shown = {
                "staff": sorted(map(str, people)),
                "assignment": [str(s.assignment.id) for s in staff],
            }
            parts = [Part(decision, shown) for decision in decisions]
            return await hearing.disclose_each(parts, page, people, organisation_id)

        asked = Asked("list", ObjectRef("staff", str(organisation_id)))
        return await self._desk.hear(visit, asked, decide)

    async def person(self, visit: Visit, person_id: UUID) -> PersonView:
        """Return a person on a staff list the caller sees; else raise :class:`NotFound`.

        Who was registered for an organisation of the caller's and works nowhere, not yet or no
        longer, is shown too: whom the caller may give a post, or shut out, is no stranger.
        Assignments elsewhere are not, nor how to reach who is not the caller's to correct or to
        appoint (:mod:`services.authz.contact_sight`).
        """

        async def decide(hearing: Hearing) -> Draft[PersonView]:
            person, seeing = await judged(hearing, person_id)
            if person is None:
                return await hearing.refuse(NotFound())
            view = await self.view(hearing, person, seeing)
            return await hearing.disclose_each(parts_of(view, seeing), view, (person.id,))

        asked = Asked("read", ObjectRef("person", str(person_id)))
        return await self._desk.hear(visit, asked, decide)

    async def view(self, hearing: Hearing, person: Person, seeing: Sequence[Seeing]) -> PersonView:
        """Return ``person`` as far as the caller, who is shown them by ``seeing``, sees them."""
        current = [a for a in person.assignments if not a.has_ended(hearing.facts.now)]
        seen = [a for a in current if self._sees(hearing, person, a)]
        ends = [a.ends_at for a in current if a.ends_at is not None]
        hearing.valid_until = min([hearing.valid_until, *ends])
        await self._desk.runtime.keys.load([person.sealed_profile().ref])
        profile = self.profile(person)
        view = PersonView(
            id=person.id,
            given_name=profile.given_name,
            family_name=profile.family_name,
            suspended=person.suspended,
            assignments=[view_of(person.id, a) for a in seen],
        )
        return view.corrected(profile) if any(one.contact for one in seeing) else view

    def _sees(self, hearing: Hearing, person: Person, assignment: Assignment) -> bool:
        """Say whether the caller sees this assignment: of themselves, or on a list they see."""
        towards = hearing.standing.towards((assignment.organisation_id,))
        itself = person.id == hearing.visit.person_id
        return itself or hearing.standing.may("read", "staff", towards).allowed

    async def _members(self, visit: Visit, staff: list[Staffed]) -> list[StaffMember]:
        await self._desk.runtime.keys.load(s.person.sealed_profile().ref for s in staff)
        views = [(s, view_of(s.person.id, s.assignment)) for s in staff]
        return [
            StaffMember(
                name=self.profile(s.person).name,
                suspended=s.person.suspended,
                assignment=view,
                version=version_of(self._desk, visit, view),
            )
            for s, view in views
        ]

    def profile(self, person: Person) -> Profile:
        """Return the profile of a person whose key is loaded; an empty one once it is destroyed."""
        try:
            opened = self._desk.runtime.keys.open_sealed(person.sealed_profile())
        except SealBroken:
            return Profile(given_name="", family_name="", email="")
        return msgspec.json.decode(opened, type=Profile)
