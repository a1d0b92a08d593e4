"""Households: who lives at an address and which adults look after the children.

Owns family names, addresses and caregivers. Brothers and sisters share them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from services.demo.chance import weighted
from services.demo.names import (
    Sex,
    family_name,
    given_name,
    landline,
    mobile,
    people_of,
    plain,
    short,
    street_address,
)
from services.demo.records import Caregiver
from services.demo.schools import Town, town

if TYPE_CHECKING:
    from random import Random

    from services.demo.records import Organisation

TWO_CAREGIVERS, THREE_CAREGIVERS, LIVE_APART = 0.58, 0.06, 0.2
SAME_FAMILY_NAME, HAS_EMAIL, HAS_MOBILE = 0.8, 0.7, 0.9
RELATIONS: dict[str, tuple[Sex, int]] = {
    "mother": ("female", 52),
    "father": ("male", 24),
    "grandmother": ("female", 8),
    "aunt": ("female", 5),
    "grandfather": ("male", 3),
    "stepfather": ("male", 3),
    "uncle": ("male", 2),
    "foster mother": ("female", 2),
    "older sister": ("female", 1),
}
SECOND_RELATION = {
    "mother": "father",
    "father": "mother",
    "grandmother": "grandfather",
    "aunt": "uncle",
}


@dataclass(slots=True)
class Household:
    """Those who live at one address; children are added while the region is built."""

    people: str
    family_name: str
    town: str
    address: str
    caregivers: tuple[Caregiver, ...]
    children: dict[int, str] = field(default_factory=dict)


def settle(draw: Random, school: Organisation) -> Household:
    """Return a new household in the town of a school, without children yet."""
    place = town(school.town)
    kura = school.school_kind == "kura_kaupapa_maori"
    people = people_of(draw, "kura" if kura else place.mix)
    family = family_name(draw, people)
    address = street_address(draw, place.name, place.postcode)
    adults = _caregivers(draw, people, family, address, place)
    return Household(people, family, place.name, address, adults)


def _caregivers(
    draw: Random, people: str, family: str, address: str, place: Town
) -> tuple[Caregiver, ...]:
    relation = weighted(draw, {name: weight for name, (_, weight) in RELATIONS.items()})
    relations = [relation]
    if relation in SECOND_RELATION and draw.random() < TWO_CAREGIVERS:
        relations.append(SECOND_RELATION[relation])
    if draw.random() < THREE_CAREGIVERS:
        relations.append(draw.choice(("grandmother", "aunt")))
    apart = len(relations) > 1 and draw.random() < LIVE_APART
    found: list[Caregiver] = []
    for index, kin in enumerate(dict.fromkeys(relations)):
        given = short(given_name(draw, people, RELATIONS[kin][0]))
        surname = family if draw.random() < SAME_FAMILY_NAME else family_name(draw, people)
        address_of = f"{plain(given)}.{plain(surname)}{draw.randint(2, 99)}@mail.example"
        email = address_of if draw.random() < HAS_EMAIL else None
        home = street_address(draw, place.name, place.postcode) if index and apart else address
        phone = mobile(draw) if draw.random() < HAS_MOBILE else landline(draw, place.dialling_code)
        found.append(Caregiver(f"{given} {surname}", kin, phone, email, home))
    return tuple(found)
