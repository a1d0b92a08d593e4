"""Repeatable chance: named streams of pseudo-random draws and the ids that go with them.

Owns the only source of variety in the region. The same seed and label always
give the same draws and ids; streams of different labels do not disturb each
other, so one part of the region can change without shifting the rest.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID, uuid5

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

T = TypeVar("T")

NAMESPACE = UUID("6f1d0c56-0a39-5f0e-9b52-5a1f3c7a2d10")


class Chance:
    """Draws and ids of one seed; two objects of one seed give the same."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._namespace = uuid5(NAMESPACE, f"region:{seed}")

    def stream(self, label: str) -> Random:
        """Return a fresh stream of draws belonging to this label."""
        return Random(f"{self.seed}:{label}")  # noqa: S311 - repeatable on purpose, no secret comes from it

    def identify(self, kind: str, label: str | int) -> UUID:
        """Return the id of one thing; the same kind and label give the same id."""
        return uuid5(self._namespace, f"{kind}:{label}")


def weighted(draw: Random, weights: Mapping[T, float]) -> T:
    """Choose one key with a probability in proportion to its weight."""
    return draw.choices(tuple(weights), tuple(weights.values()))[0]


def some(draw: Random, pool: Sequence[T], low: int, high: int) -> list[T]:
    """Choose between `low` and `high` different members, fewer when the pool is smaller."""
    return draw.sample(pool, min(draw.randint(low, high), len(pool)))
