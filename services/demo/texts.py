"""Texts of case work, put together from sentence patterns and small details.

Owns the grammar: a recipe is a row of pools with how many sentences to take
from each; a pattern is a sentence with slots; a slot is filled from what is
known of the case, or else from a list of details (`_cap` begins with a capital).
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from services.demo.chance import some
from services.demo.tables import strings, table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random

BOOKS = ("referral", "plan", "items", "labels")
SLOT = re.compile(r"\{(\w+)\}")

Step = tuple[str, int, int]
Pattern = tuple[str, ...]  # texts at even places, slots at odd ones


@cache
def recipes() -> dict[str, tuple[tuple[Step, ...], ...]]:
    """Return every recipe of every book, by what it makes."""
    found: dict[str, tuple[tuple[Step, ...], ...]] = {}
    for book in BOOKS:
        for name, variants in table(book)["recipes"].items():
            found[name] = tuple(
                tuple(_step(step) for step in strings(variant)) for variant in variants
            )
    return found


@cache
def pools() -> dict[str, tuple[Pattern, ...]]:
    """Return every pool of patterns; `next` and the like may be used by other books."""
    return {
        name: tuple(tuple(SLOT.split(pattern)) for pattern in strings(patterns))
        for book in BOOKS
        for name, patterns in table(book)["pools"].items()
    }


@cache
def details(slot: str) -> tuple[str, ...]:
    """Return what may stand in a slot that the case itself does not fill."""
    found = strings(table("details")["details"][slot.removesuffix("_cap")])
    return tuple(text[0].upper() + text[1:] for text in found) if slot.endswith("_cap") else found


def compose(draw: Random, recipe: str, known: Mapping[str, str]) -> str:
    """Return a text of one to about eight sentences made by one variant of a recipe."""
    sentences: list[str] = []
    for pool, fewest, most in draw.choice(recipes()[recipe]):
        sentences.extend(
            _fill(draw, pattern, known) for pattern in some(draw, pools()[pool], fewest, most)
        )
    return " ".join(sentences)


def _fill(draw: Random, pattern: Pattern, known: Mapping[str, str]) -> str:
    parts: list[str] = []
    used: set[str] = set()
    for index, part in enumerate(pattern):
        if index % 2 == 0:
            parts.append(part)
        else:
            filling = known.get(part) or draw.choice(
                [text for text in details(part) if text not in used]
            )
            used.add(filling)
            parts.append(filling)
    text = "".join(parts)
    return text[0].upper() + text[1:]


def _step(text: str) -> Step:
    pool, fewest, most = text.split()
    return pool, int(fewest), int(most)
