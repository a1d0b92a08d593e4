"""The package data of the region: name lists, organisations, sentence patterns, words.

Owns reading and typing of `data/`. Reads nothing else and keeps what it read,
since it never changes while the program runs.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Any


@cache
def table(name: str) -> dict[str, Any]:
    """Return one TOML file of the package data; callers must not change it."""
    return tomllib.loads(
        (resources.files(__package__) / "data" / f"{name}.toml").read_text(encoding="utf-8")
    )


@cache
def words() -> tuple[str, ...]:
    """Return the words demonstration passwords are made of."""
    return tuple(str(table("words")["words"]).split())


def listed(text: str) -> tuple[str, ...]:
    """Split a list written as one line."""
    return tuple(text.split(", "))


def strings(value: object) -> tuple[str, ...]:
    """Return an array of strings, or raise `TypeError` when it is anything else."""
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        msg = f"expected an array of strings, found {value!r}"
        raise TypeError(msg)
    return tuple(value)
