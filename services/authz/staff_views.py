"""Staff as others see them: the staff list of an organisation, and one person (AC-SEE-7, 11).

Queries only. Profiles are opened here, after the decision and for what is shown alone; each shown
profile's key is among the guards.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import msgspec

from services.authz.desk import Asked, Desk, Hearing, Part
from services.authz.directory import Assignment, Person
from services.authz.events import Profile, Role
from services.authz.relations import Decision, Standing
from services.authz.snapshot import Staffed
from services.authz.visits import Visit
from services.kernel.errors import NotFound
from services.kernel.etags import etag
from services.kernel.events import ObjectRef
from services.kernel.handling import Draft
from services.kernel.sealing import SealBroken


class AssignmentView(msgspec.Struct, frozen=True, kw_only=True):
    """An assignment as those see it who see the staff list; ``version`` covers exactly this."""

    assignment_id: UUID
    person_id: UUID
    role: Role
    organisation_id: UUID
    starts_at: datetime
    ends_at: datetime | None


class StaffMember(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody in a staff list; ``name`` is empty once their key is destroyed."""

    name: str
    suspended: bool
    assignment: AssignmentView
    version: str


class StaffPage(msgspec.Struct, frozen=True):
    """Staff, and the assignment after which there are more."""

    items: list[StaffMember]
    after: UUID | None


class PersonView(msgspec.Struct, frozen=True, kw_only=True):
    """A person, with those of their assignments that the reader sees."""

    id: UUID
    profile: Profile
    suspended: bool
    assignments: list[AssignmentView]


def view_of(person_id: UUID, assignment: Assignment) -> AssignmentView:
    """Return an assignment as it is shown."""
    return AssignmentView(
        assignment_id=assignment.id,
        person_id=person_id,
        role=assignment.role,
        organisation_id=assignment.organisation_id,
        starts_at=assignment.starts_at,
        ends_at=assignment.ends_at,
    )


def version_of(desk: Desk, visit: Visit, view: msgspec.Struct) -> str:
    """Return the entity tag of what is shown to this caller, with its quotes."""
    return etag(desk.etag_secret, visit.person_id, msgspec.json.encode(view, order="sorted"))


def shown_of(person_id: UUID, assignments: Sequence[AssignmentView]) -> dict[str, list[str]]:
    """Return the ids that showing a person with ``assignments`` discloses, by part."""
    own = [str(a.assignment_id) for a in assignments]
    return {"profile": [str(person_id)], "assignment": own}


def places_of(hearing: Hearing, person: Person) -> set[UUID]:
    """Return where somebody works or is to; if they never did, whom they were registered for."""
    now = hearing.facts.now
    if person.assignments:
        return {a.organisation_id for a in person.assignments if not a.has_ended(now)}
    home = hearing.facts.home(person.id)
    return {home} if home else set()


class Seeing(NamedTuple):
    """By what the posts at one organisation show somebody; ``itself``: oneself."""

    standing: Standing
    decision: Decision
    itself: bool

    def sees(self, assignment: AssignmentView) -> bool:
        """Say whether they show this assignment: on a list seen there; one's own, if of there."""
        if self.itself:
            return assignment.organisation_id == self.decision.organisation_id
        towards = self.standing.towards((assignment.organisation_id,))
        return self.standing.may("read", "staff", towards).allowed


def _seeing(standing: Standing, places: Collection[UUID], *, itself: bool) -> Seeing:
    towards = standing.towards(places)
    decision = standing.every("read", "staff", towards)
    if not decision.allowed:
        decision = standing.may("read", "person", towards)
    if itself:
        decision = standing.may("read", "profile", lambda _: ("self",))
    return Seeing(standing, decision, itself)


def parts_of(view: PersonView, seeing: Sequence[Seeing]) -> list[Part]:
    """Return what of ``view`` each organisation's posts show.

    One's own assignment that is still to begin, where one has no other, is in the first.
    """
    seen = [[a for a in view.assignments if one.sees(a)] for one in seeing]
    left = [a for a in view.assignments if not any(a in own for own in seen)]
    return [
        Part(one.decision, shown_of(view.id, [*own, *(left if one is seeing[0] else ())]))
        for one, own in zip(seeing, seen, strict=True)
    ]


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
            staff, more = await hearing.facts.staff(organisation_id, after, limit)
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

        Who was registered for an organisation of the caller's and works nowhere yet is shown too.
        Assignments elsewhere are not.
        """

        async def decide(hearing: Hearing) -> Draft[PersonView]:
            person, seeing = await self.judged(hearing, person_id)
            if person is None:
                return await hearing.refuse(NotFound())
            view = await self.view(hearing, person)
            return await hearing.disclose_each(parts_of(view, seeing), view, (person.id,))

        asked = Asked("read", ObjectRef("person", str(person_id)))
        return await self._desk.hear(visit, asked, decide)

    async def judged(self, hearing: Hearing, person_id: UUID) -> tuple[Person | None, list[Seeing]]:
        """Return a person the caller may be shown, and in which posts of theirs; nobody else.

        Each assignment that shows one of the person's is named, at each organisation by itself.
        """
        person = await hearing.nearest(person_id)
        places, itself = places_of(hearing, person), person.id == hearing.visit.person_id
        judged = [_seeing(one, places, itself=itself) for one in hearing.standing.apart()]
        seeing = [one for one in judged if one.decision.allowed]
        return (person if seeing and person.id == person_id else None), seeing

    async def view(self, hearing: Hearing, person: Person) -> PersonView:
        """Return ``person`` as far as the caller, who may be shown them, sees them."""
        current = [a for a in person.assignments if not a.has_ended(hearing.facts.now)]
        seen = [a for a in current if self._sees(hearing, person, a)]
        ends = [a.ends_at for a in current if a.ends_at is not None]
        hearing.valid_until = min([hearing.valid_until, *ends])
        await self._desk.runtime.keys.load([person.sealed_profile().ref])
        return PersonView(
            id=person.id,
            profile=self.profile(person),
            suspended=person.suspended,
            assignments=[view_of(person.id, a) for a in seen],
        )

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
