"""The tables beside the log, each against what the events themselves say.

``log.event_id`` and ``log.fact`` are read in step with the log, ``log.guard`` and ``log.once``
after it. Each check raises :class:`Wrong` at the position that disagrees.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.verification.bodies import key_of
from services.verification.findings import Wrong

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Container, Iterable

    import asyncpg


class Side:
    """A side table's rows, read in step with the log."""

    def __init__(self, rows: AsyncIterator[asyncpg.Record], name: str) -> None:
        self._rows = rows
        self._name = name

    async def expect(self, position: int, *wanted: object) -> None:
        """Raise unless the next row is of ``position`` and holds ``wanted``."""
        row = await anext(self._rows, None)
        if row is None or row["position"] > position:
            raise Wrong(position, f"{self._name} has no row for it")
        if row["position"] < position:
            raise Wrong(row["position"], f"{self._name} has a row too many for it")
        if tuple(row)[1:] != wanted:
            raise Wrong(position, f"{self._name} says otherwise than the body")

    async def end(self) -> None:
        """Raise when a row is left."""
        row = await anext(self._rows, None)
        if row is not None:
            raise Wrong(row["position"], f"{self._name} has a row for an event that is missing")


class Guards:
    """What facts touched last, by guard key, and ``log.guard`` against it.

    A key has the position of the last fact of the group that touched it, and group boundaries are
    not in the log: a row proves a touch at or before its position. A fact that was set aside leaves
    its rows behind, under its own position or, where its group went on, under that of a fact which
    was kept. So what it says it touches lets a row be, and never asks for one: it may say what it
    likes. A row under the position of a fact that was set aside is let be whatever its key, for
    what such a fact says may not be readable.

    Whoever puts a row past these rules gains nothing by it: a key that is touched for nothing has a
    decision made once more. To let a stale decision pass, a row must be gone, or older than the
    newest touch that was kept; both are found wherever it points to.
    """

    def __init__(self) -> None:
        self._touched: dict[int, int] = {}
        self._left_out: set[int] = set()
        self._claimed: dict[int, int] = {}

    def touch(self, position: int, touches: Iterable[str]) -> None:
        """Say what the fact at ``position`` touches."""
        for touch in touches:
            self._touched[key_of(touch)] = position

    def leave_out(self, position: int, claims: Iterable[str]) -> None:
        """Say that the fact at ``position`` was set aside, and what it says it touches."""
        self._left_out.add(position)
        for claim in claims:
            self._claimed.setdefault(key_of(claim), position)

    async def check(
        self, rows: AsyncIterator[asyncpg.Record], facts: Container[int], count: int
    ) -> None:
        """Raise unless each key has one row, not older than its newest touch and of a fact.

        ``facts`` are the positions of those that were kept.
        """
        async for row in rows:
            position, key = row["position"], row["key"]
            touched = self._touched.pop(key, None)
            if touched is not None and position < touched:
                raise Wrong(touched, f"log.guard says {position} for a key it touches")
            if position in self._left_out:
                continue
            known = self._claimed.get(key) if touched is None else touched
            if known is None or position < known:
                raise Wrong(min(position, count), "log.guard has a key that nothing touched")
            if position not in facts:
                raise Wrong(known, f"log.guard says {position} for a key it touches")
        for touched in sorted(self._touched.values()):
            raise Wrong(touched, "log.guard has no row for a key it touches")


async def check_once(strays: AsyncIterator[asyncpg.Record], count: int) -> None:
    """Raise when a once-key names a position that is not among the ``count`` there are."""
    async for row in strays:
        if row["position"] >= count:
            raise Wrong(row["position"], "log.once names an event that is missing")
