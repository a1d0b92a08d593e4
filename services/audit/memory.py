"""Where the memory of the rules is kept: ``audit.detection_state``.

A row for each burst and each day remembered, with the position of the last signal that touched it,
and a head row with the rules' versions and the position of the whole. A batch writes the head and
the rows its signals touched, however much is remembered; what a rule forgot is deleted.
"""

from collections.abc import Iterable
from typing import Final

import asyncpg

from services.audit.detection import rules
from services.audit.detection.signals import Finding, Signal
from services.kernel.events import UnknownEvent
from services.kernel.projection import Connection

TABLE: Final = "audit.detection_state"
_PUT: Final = (
    f"insert into {TABLE} (name, position, state)"
    " select * from unnest($1::text[], $2::bigint[], $3::bytea[])"
    " on conflict (name) do update set position = excluded.position, state = excluded.state"
)


class Memory:
    """The states of the rules as of a position, and what of them is not stored yet."""

    def __init__(self, states: rules.States, stored: Iterable[str] = (), at: int = -1) -> None:
        self._states = states
        self._stored = set(stored)
        self._touched: dict[str, tuple[rules.Part, int]] = {}
        self._stored_at = at
        #: the last signal folded
        self.position = at

    def fold(self, signal: Signal) -> list[Finding]:
        """Fold a signal; return what the rules found."""
        self._states, findings = rules.fold_all(self._states, signal)
        self.position = signal.position
        for part in rules.touched(signal):
            self._touched[rules.name_of(part)] = (part, signal.position)
        return findings

    async def store(self, connection: Connection) -> None:
        """Write what was touched since the last time, and delete what was forgotten."""
        if self.position == self._stored_at:
            return
        rows = [(rules.HEAD, self.position, rules.encode_head(self._states))]
        for name, (part, position) in self._touched.items():
            state = rules.encode_part(self._states, part)
            if state is not None:
                rows.append((name, position, state))
        await connection.execute(_PUT, *map(list, zip(*rows, strict=True)))
        self._stored |= {name for name, _, _ in rows}
        await self._forget(connection)
        self._touched.clear()
        self._stored_at = self.position

    async def _forget(self, connection: Connection) -> None:
        if len(self._stored) == rules.count(self._states) + 1:
            return
        kept = {rules.HEAD, *map(rules.name_of, rules.parts(self._states))}
        gone, self._stored = self._stored - kept, kept
        await connection.execute(f"delete from {TABLE} where name = any($1)", list(gone))


async def recall(connection: Connection, cached: Memory | None) -> Memory:
    """Return the memory as stored: ``cached`` when it is of that position, else from its rows.

    Raises :class:`UnknownEvent` when it is of other rules.
    """
    at = await connection.fetchval(f"select position from {TABLE} where name = $1", rules.HEAD)
    if at is None:
        return Memory(rules.initial())
    if cached is not None and cached.position == at:
        return cached
    rows = await connection.fetch(f"select name, state from {TABLE}")
    stored = {row["name"]: row["state"] for row in rows}
    try:
        return Memory(rules.decode(stored), stored, at)
    except rules.StateError as error:
        raise UnknownEvent(str(error)) from error


async def is_of_other_rules(connection: asyncpg.pool.PoolConnectionProxy) -> bool:
    """Say whether there is a memory, and it is not of the rules here."""
    rows = await connection.fetch(f"select name, state from {TABLE}")
    try:
        rules.decode({row["name"]: row["state"] for row in rows})
    except rules.StateError:
        return bool(rows)
    return False
