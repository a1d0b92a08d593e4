"""Which of a caller's posts show somebody, and what of them each shows (AC-SEE-7, 11, 22).

Place in the flow: the decision, before a profile is opened. Each
organisation the caller works at is judged by itself, so that each is told of what was seen for it
and of nothing else. Opens nothing and records nothing.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple
from uuid import UUID

from services.authz.directory import Person
from services.authz.hearing import Hearing, Part
from services.authz.relations import Decision, Standing
from services.authz.staff_views import AssignmentView, PersonView


def shown_of(person_id: UUID, assignments: Sequence[AssignmentView]) -> dict[str, list[str]]:
    """Return the ids that showing a person with ``assignments`` discloses, by part."""
    own = [str(a.assignment_id) for a in assignments]
    return {"profile": [str(person_id)], "assignment": own}


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


async def judged(hearing: Hearing, person_id: UUID) -> tuple[Person | None, list[Seeing]]:
    """Return a person the caller may be shown, and in which posts of theirs; nobody else.

    They are whom the caller knows of, so whom they may do something to (:meth:`Hearing.knows`).
    Each assignment that shows one of the person's is named, at each organisation by itself.
    """
    person = await hearing.nearest(person_id)
    places, itself = hearing.places(person), person.id == hearing.visit.person_id
    posts = [_seeing(one, places, itself=itself) for one in hearing.standing.apart()]
    seeing = [one for one in posts if one.decision.allowed]
    if not seeing or person.id != person_id:
        return None, seeing
    hearing.shows = seeing[0].decision.organisation_id
    return person, seeing
