"""The staff of the region and the roles they hold or held.

Owns which roles each kind of organisation has, and finding those who hold them. Who works where
since when (long-serving people, newcomers, people who left, moved or hold two roles, and relief
staff whose access ends by itself, SG-14) is :mod:`services.demo.roster`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.demo.records import Assignment, MinistryFunction, Person, Role
from services.demo.roster import Roster

if TYPE_CHECKING:
    from datetime import date
    from uuid import UUID

    from services.demo.chance import Chance
    from services.demo.households import Household
    from services.demo.schools import Landscape

# How many of each role a kind of organisation has: fewest and most.
SCHOOL_STAFF: dict[Role, tuple[int, int]] = {
    "school_leader": (1, 2),
    "primary_contact": (1, 4),
    "school_office": (1, 2),
}
ASP_STAFF: dict[Role, tuple[int, int]] = {"asp_workflow_lead": (2, 2), "asp_case_manager": (9, 14)}
ISP_STAFF: dict[Role, tuple[int, int]] = {"isp_workflow_lead": (1, 2)}
# The provider, by its place in the list, that employs a security and a privacy person.
ASP_WITH_OWN_WATCH = 1
OWN_WATCH: dict[Role, tuple[int, int]] = {"security_analyst": (1, 1), "privacy_officer": (1, 1)}
MINISTRY_STAFF: dict[MinistryFunction, dict[Role, tuple[int, int]]] = {
    "central_investigation": {"central_investigation": (12, 14)},
    "national_contracts": {"national_contracts": (5, 6)},
    "regional_contracts": {"regional_contract_manager": (3, 4)},
    "regional_office": {"regional_office": (5, 6)},
    "prosecutions": {"prosecutions": (4, 5)},
    "technical_support": {"technical_support": (5, 6)},
    "security_privacy": {"security_analyst": (4, 4), "privacy_officer": (3, 3)},
    "administration": {"administrator": (3, 3)},
}


@dataclass(frozen=True, slots=True)
class Post:
    """A person in one of their assignments."""

    person: Person
    assignment: Assignment


class Staff:
    """Everybody with an account, found by where and as what they work."""

    def __init__(self, people: tuple[Person, ...]) -> None:
        self.people = people
        self._posts: dict[tuple[UUID, Role], list[Post]] = {}
        for person in people:
            for assignment in person.assignments:
                key = (assignment.organisation_id, assignment.role)
                self._posts.setdefault(key, []).append(Post(person, assignment))

    def holders(self, organisation_id: UUID, roles: tuple[Role, ...], *days: date) -> list[Post]:
        """Return those who hold one of the roles there on every one of the days."""
        posts = (post for role in roles for post in self._posts.get((organisation_id, role), ()))
        return [post for post in posts if all(post.assignment.in_force(day) for day in days)]


def build_staff(
    chance: Chance, landscape: Landscape, households: tuple[Household, ...], today: date
) -> Staff:
    """Employ everybody."""
    roster = Roster(chance, households, today)
    for school in landscape.schools:
        roster.fill(school, SCHOOL_STAFF)
    for index, provider in enumerate(landscape.asps):
        roster.fill(provider, ASP_STAFF | (OWN_WATCH if index == ASP_WITH_OWN_WATCH else {}))
    for provider in landscape.isps:
        roster.fill(provider, ISP_STAFF)
    for team in landscape.ministry:
        if team.function is not None:
            roster.fill(team, MINISTRY_STAFF[team.function])
    roster.add_leaders_who_are_contacts(landscape.schools)
    roster.add_moves(landscape)
    roster.add_relief(landscape.schools)
    roster.add_those_who_left(landscape)
    return Staff(roster.people())
