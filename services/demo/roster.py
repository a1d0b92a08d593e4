"""Employing the region's people one after another: who they are, and apart from it what they hold.

Owns how many are newcomers, move, relieve somebody or have left, and who is kin or neighbour of
students. Knows no organisation's needs: which roles a place has is :mod:`services.demo.staff`.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

from services.demo.names import (
    family_name,
    given_name,
    mobile,
    people_of,
    plain,
    short,
    street_address,
)
from services.demo.records import Assignment, Organisation, Person, Role
from services.demo.schools import town

if TYPE_CHECKING:
    from services.demo.chance import Chance
    from services.demo.households import Household
    from services.demo.schools import Landscape

SCHOOL_ROLES: tuple[Role, ...] = ("school_leader", "primary_contact", "school_office")
LONG_SERVING = 900  # days; longer than the histories reach back
MOVES = 14
RELIEF = 12
LEFT = 18
LEADERS_WHO_ARE_CONTACTS = 16
KIN_AMONG_SCHOOL_STAFF = 0.14


class Roster:
    """Everybody employed so far: who they are, and apart from it what they hold."""

    def __init__(self, chance: Chance, households: tuple[Household, ...], today: date) -> None:
        self.chance = chance
        self.draw = chance.stream("staff")
        self.today = today
        self.neighbours: dict[str, list[Household]] = {}
        for home in households:
            self.neighbours.setdefault(home.town, []).append(home)
        self.employed: list[Person] = []
        self.held: list[list[Assignment]] = []
        self.usernames: set[str] = set()

    def people(self) -> tuple[Person, ...]:
        """Return everybody, each with what they hold or held."""
        return tuple(
            Person(
                person.person_id,
                person.username,
                person.given_name,
                person.family_name,
                person.email,
                person.phone,
                person.address,
                tuple(held),
            )
            for person, held in zip(self.employed, self.held, strict=True)
        )

    def fill(self, organisation: Organisation, needs: dict[Role, tuple[int, int]]) -> None:
        """Employ current staff; the first two of each role have served long."""
        for role, (fewest, most) in needs.items():
            for rank in range(self.draw.randint(fewest, most)):
                index = self.employ(organisation)
                newcomer = rank > 1 and self.draw.random() < 0.4  # noqa: PLR2004
                served = (
                    self.draw.randint(30, LONG_SERVING)
                    if newcomer
                    else self.draw.randint(LONG_SERVING, 3000)
                )
                self.assign(index, role, organisation, self.today - timedelta(days=served))

    def add_leaders_who_are_contacts(self, schools: tuple[Organisation, ...]) -> None:
        """Give some leaders a second role at their school."""
        for school in self.draw.sample(schools, LEADERS_WHO_ARE_CONTACTS):
            index = self._first(school, "school_leader")
            self.assign(
                index, "primary_contact", school, self.held[index][0].from_ + timedelta(days=60)
            )

    def add_moves(self, landscape: Landscape) -> None:
        """Let people go from one organisation to another of the same kind."""
        for place, role in (
            (landscape.schools, "primary_contact"),
            (landscape.asps, "asp_case_manager"),
        ):
            for _ in range(MOVES if place is landscape.schools else 3):
                former, current = self.draw.sample(place, 2)
                index = self.employ(current)
                moved = self.today - timedelta(days=self.draw.randint(40, 600))
                began = moved - timedelta(days=self.draw.randint(300, 1500))
                same: Role = "primary_contact" if role == "primary_contact" else "asp_case_manager"
                self.assign(index, same, former, began, moved)
                self.assign(index, same, current, moved)

    def add_relief(self, schools: tuple[Organisation, ...]) -> None:
        """Employ people whose access ends on a day that is already known."""
        for school in self.draw.sample(schools, RELIEF):
            role: Role = self.draw.choice(("primary_contact", "school_office"))
            began = self.today - timedelta(days=self.draw.randint(3, 30))
            until = self.today + timedelta(days=self.draw.randint(2, 50))
            self.assign(self.employ(school), role, school, began, until)

    def add_those_who_left(self, landscape: Landscape) -> None:
        """Employ people whose one role ended."""
        for organisation in self.draw.sample(landscape.schools + landscape.asps, LEFT):
            role: Role = (
                "asp_case_manager" if organisation.kind == "asp" else self.draw.choice(SCHOOL_ROLES)
            )
            ended = self.today - timedelta(days=self.draw.randint(15, 500))
            began = ended - timedelta(days=self.draw.randint(300, 2000))
            self.assign(self.employ(organisation), role, organisation, began, ended)

    def employ(self, organisation: Organisation) -> int:
        """Create the account of a person near the organisation; return their place here."""
        draw = self.draw
        where = town(organisation.town)
        people = people_of(draw, "staff")
        given, family = (
            given_name(draw, people, draw.choice(("female", "female", "male"))),
            family_name(draw, people),
        )
        phone, address = mobile(draw), street_address(draw, where.name, where.postcode)
        if organisation.kind == "school" and draw.random() < KIN_AMONG_SCHOOL_STAFF:
            given, family, phone, address = self._kin(where.name, (given, family, phone, address))
        index = len(self.employed)
        username = self._username(given, family)
        email = f"{username}@{organisation.email.partition('@')[2]}"
        person_id = self.chance.identify("person", index)
        self.employed.append(Person(person_id, username, given, family, email, phone, address, ()))
        self.held.append([])
        return index

    def assign(
        self,
        index: int,
        role: Role,
        organisation: Organisation,
        from_: date,
        until: date | None = None,
    ) -> None:
        """Give the person at that place a role; without `until` it does not end."""
        assignment_id = self.chance.identify("assignment", f"{index}:{len(self.held[index])}")
        self.held[index].append(
            Assignment(assignment_id, role, organisation.organisation_id, from_, until)
        )

    def _first(self, organisation: Organisation, role: Role) -> int:
        return next(
            index
            for index, held in enumerate(self.held)
            if any(
                one.role == role and one.organisation_id == organisation.organisation_id
                for one in held
            )
        )

    def _kin(self, place: str, own: tuple[str, str, str, str]) -> tuple[str, str, str, str]:
        """Make the person a relative, a neighbour or a caregiver of students of the town."""
        given, family, phone, address = own
        home = self.draw.choice(self.neighbours[place])
        luck = self.draw.random()
        if luck < 0.5:  # noqa: PLR2004 - the same family name elsewhere in town
            return given, home.family_name, phone, address
        if luck < 0.8:  # noqa: PLR2004 - next door
            house, _, street = home.address.partition(" ")
            return given, family, phone, f"{int(house) + 2} {street}"
        carer = home.caregivers[0]
        first = short(carer.name)
        return first, carer.name.removeprefix(first).lstrip(), carer.phone, carer.address

    def _username(self, given: str, family: str) -> str:
        wanted = f"{plain(given)}.{plain(family)}"
        username, number = wanted, 2
        while username in self.usernames:
            username, number = f"{wanted}{number}", number + 1
        self.usernames.add(username)
        return username
