"""The Ministry's two desks abroad: where it is night while New Zealand works.

The school day (``casewarden demo day``) has somebody browsing at night, whatever the time is when
it is run. While New Zealand sleeps that may be anybody; while it works, it is night in London or
Brussels: at every moment of the year at least one of the three is shut.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from services.demo.names import plain
from services.demo.records import Assignment, Organisation, Person

if TYPE_CHECKING:
    from datetime import date

    from services.demo.chance import Chance
    from services.demo.region import Region

#: name, town, time zone, address, telephone, and who works there
DESKS: Final = (
    (
        "Central Investigation Desk, London",
        "London",
        "Europe/London",
        "80 Haymarket, London SW1Y 4TQ",
        "+44 20 7946 0121",
        (("Imogen", "Farquharson"), ("Tāne", "Wikaira")),
    ),
    (
        "Central Investigation Desk, Brussels",
        "Brussels",
        "Europe/Brussels",
        "9 Avenue des Nerviens, 1040 Brussels",
        "+32 2 555 01 44",
        (("Rosalind", "McCorkindale"), ("Hēmi", "Pōtiki")),
    ),
)
_SERVED: Final = timedelta(days=1_000)


def with_desks(region: Region, chance: Chance, today: date) -> Region:
    """Return ``region`` with the desks abroad and their staff."""
    organisations, people = desks(chance, today)
    return replace(
        region,
        organisations=(*region.organisations, *organisations),
        people=(*region.people, *people),
    )


def desks(chance: Chance, today: date) -> tuple[list[Organisation], list[Person]]:
    """Return the desks abroad, and their staff."""
    organisations: list[Organisation] = []
    people: list[Person] = []
    for name, town, zone, address, phone, staff in DESKS:
        desk = Organisation(
            organisation_id=chance.identify("organisation", name),
            kind="ministry",
            name=name,
            town=town,
            time_zone=zone,
            holidays="",
            address=address,
            phone=phone,
            email=f"{plain(town)}@ministry.example",
            function="central_investigation",
        )
        organisations.append(desk)
        people.extend(_person(chance, desk, given, family, today) for given, family in staff)
    return organisations, people


def _person(chance: Chance, desk: Organisation, given: str, family: str, today: date) -> Person:
    username = f"{plain(given)}.{plain(family)}"
    held = Assignment(
        assignment_id=chance.identify("assignment", f"desk:{username}"),
        role="central_investigation",
        organisation_id=desk.organisation_id,
        from_=today - _SERVED,
        until=None,
    )
    return Person(
        person_id=chance.identify("person", f"desk:{username}"),
        username=username,
        given_name=given,
        family_name=family,
        email=f"{username}@ministry.example",
        phone=desk.phone,
        address=desk.address,
        assignments=(held,),
    )
