"""Names, streets and telephone numbers of invented people.

Owns how a person is named in the mixture of peoples that New Zealand is, with
the macrons, apostrophes and hyphens that software so often damages.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

from services.demo.chance import weighted
from services.demo.tables import listed, table

if TYPE_CHECKING:
    from random import Random

Sex = Literal["female", "male"]
MOBILE_PREFIXES = ("020", "021", "022", "027", "028", "029")
CHANCE_OF_MIDDLE_INITIAL = 0.04
CHANCE_OF_SECOND_NAME = 0.12


@dataclass(frozen=True, slots=True)
class Heritage:
    """The names in use among one people."""

    female: tuple[str, ...]
    male: tuple[str, ...]
    family: tuple[str, ...]


@cache
def heritage(name: str) -> Heritage:
    """Return the names of one people."""
    lists = table("names")[name]
    return Heritage(listed(lists["female"]), listed(lists["male"]), listed(lists["family"]))


@cache
def mixture(name: str) -> dict[str, float]:
    """Return the weight of each people in one mixture."""
    return {people: float(weight) for people, weight in table("names")["share"][name].items()}


@cache
def streets() -> tuple[str, ...]:
    """Return the names of streets, used in every town."""
    return listed(table("names")["streets"]["names"])


def given_name(draw: Random, people: str, sex: Sex) -> str:
    """Choose a given name, now and then with a second one or a single letter."""
    pool = heritage(people).female if sex == "female" else heritage(people).male
    first = draw.choice(pool)
    luck = draw.random()
    if luck < CHANCE_OF_MIDDLE_INITIAL:
        return f"{first} {draw.choice('ABCDEHJKLMPRSTW')}"
    if luck < CHANCE_OF_MIDDLE_INITIAL + CHANCE_OF_SECOND_NAME:
        second = draw.choice(pool)
        return first if second == first else f"{first} {second}"
    return first


def family_name(draw: Random, people: str) -> str:
    """Choose a family name."""
    return draw.choice(heritage(people).family)


def street_address(draw: Random, town: str, postcode: str) -> str:
    """Choose an address in a town."""
    return f"{draw.randint(1, 289)} {draw.choice(streets())}, {town} {postcode}"


def short(name: str) -> str:
    """Return the name a person is called by: `Te Ariki` of `Te Ariki Hone`, `Mary` of `Mary K`."""
    first, _, rest = name.partition(" ")
    return f"{first} {rest.partition(' ')[0]}" if first == "Te" and rest else first


def landline(draw: Random, dialling_code: str) -> str:
    """Choose a telephone number of the invented 555 kind."""
    return f"{dialling_code} 555 {draw.randint(0, 9999):04d}"


def mobile(draw: Random) -> str:
    """Choose a mobile number of the invented 555 kind."""
    return f"{draw.choice(MOBILE_PREFIXES)} 555 {draw.randint(0, 9999):04d}"


def plain(text: str) -> str:
    """Return a text fit for an e-mail address: `Mārama O'Brien` is `marama.obrien`."""
    folded = unicodedata.normalize("NFKD", text.lower())
    return "".join(
        "." if mark in " -" else mark
        for mark in folded
        if mark.isascii() and (mark.isalnum() or mark in " -")
    )


def people_of(draw: Random, mix: str) -> str:
    """Choose a people by the weights of a mixture."""
    return weighted(draw, mixture(mix))
