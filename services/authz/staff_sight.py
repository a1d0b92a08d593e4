"""Which of a caller's posts show somebody, and what of them each shows (AC-SEE-7, 11, 22).

Place in the flow: the decision, before a profile is opened. Each organisation the caller works at
is judged by itself, so that each is told of what was seen for it and of nothing else: of a
``profile`` the whole, or the ``name`` alone. Opens nothing and records nothing.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple
from uuid import UUID

from services.authz.contact_sight import Appointments, appointments_at, shows_contact
from services.authz.directory import Person
from services.authz.hearing import Hearing, Part
from services.authz.relations import Decision, Standing
from services.authz.staff_views import AssignmentView, PersonView


def shown_of(
    person_id: UUID, assignments: Sequence[AssignmentView], *, contact: bool
) -> dict[str, list[str]]:
    """Return the ids that showing a person with ``assignments`` discloses, by part."""
    own = [str(a.assignment_id) for a in assignments]
    return {"profile" if contact else "name": [str(person_id)], "assignment": own}


class Seeing(NamedTuple):
    """By what the posts at one organisation show somebody; ``itself``: oneself.

    ``contact``: how to reach them too.
    """

    standing: Standing
    decision: Decision
    itself: bool
    contact: bool

    def sees(self, assignment: AssignmentView) -> bool:
        """Say whether they show this assignment: on a list seen there; one's own, if of there."""
        if self.itself:
            return assignment.organisation_id == self.decision.organisation_id
        towards = self.standing.towards((assignment.organisation_id,))
        return self.standing.may("read", "staff", towards).allowed


def seeing(hearing: Hearing, person: Person, appointments: Appointments) -> list[Seeing]:
    """Return which of the caller's posts show a person, organisation by organisation."""
    itself = person.id == hearing.visit.person_id
    seen = []
    for standing in hearing.standing.apart():
        decision = _shows(standing, hearing.places(person), itself=itself)
        if decision.allowed:
            contact = itself or shows_contact(hearing, standing, person, appointments)
            seen.append(Seeing(standing, decision, itself, contact))
    return seen


def _shows(standing: Standing, places: Collection[UUID], *, itself: bool) -> Decision:
    if itself:
        return standing.may("read", "profile", lambda _: ("self",))
    towards = standing.towards(places)
    decision = standing.every("read", "staff", towards)
    return decision if decision.allowed else standing.may("read", "person", towards)


def parts_of(view: PersonView, seeing: Sequence[Seeing]) -> list[Part]:
    """Return what of ``view`` each organisation's posts show.

    One's own assignment that is still to begin, where one has no other, is in the first.
    """
    seen = [[a for a in view.assignments if one.sees(a)] for one in seeing]
    left = [a for a in view.assignments if not any(a in own for own in seen)]
    return [
        Part(
            one.decision,
            shown_of(view.id, [*own, *(left if one is seeing[0] else ())], contact=one.contact),
        )
        for one, own in zip(seeing, seen, strict=True)
    ]


def together(parts: Iterable[Part]) -> list[Part]:
    """Return one part for each organisation whose posts show any of ``parts``, with all of it."""
    found: dict[UUID | None, Part] = {}
    for part in parts:
        place = part.decision.organisation_id
        known = found.get(place, Part(part.decision, {}))
        names = [*known.shown, *(name for name in part.shown if name not in known.shown)]
        shown = {n: [*known.shown.get(n, ()), *part.shown.get(n, ())] for n in names}
        found[place] = Part(known.decision.besides(part.decision), shown)
    return list(found.values())


async def judged(hearing: Hearing, person_id: UUID) -> tuple[Person | None, list[Seeing]]:
    """Return a person the caller may be shown, and in which posts of theirs; nobody else.

    They are whom the caller knows of, so whom they may do something to (:meth:`Hearing.knows`).
    Each assignment that shows one of the person's is named, at each organisation by itself.
    """
    person = await hearing.nearest(person_id)
    appointments = await appointments_at(hearing, hearing.places(person))
    seen = seeing(hearing, person, appointments)
    if not seen or person.id != person_id:
        return None, seen
    hearing.shows = seen[0].decision.organisation_id
    return person, seen
