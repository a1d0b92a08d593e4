"""Where the memory of the rules is kept: ``audit.detection_state``.

A row for each burst, day and person remembered, with the position of the last signal that touched
it, and a head row with the rules' versions and the position of the whole. A batch writes the head
and the rows its signals touched, however much is remembered; what a rule forgot is deleted. Several
processes fold in turn: each takes in what the others wrote since, not the whole of it.
"""

from collections.abc import Iterable
from typing import Final
from uuid import UUID

import asyncpg

from services.audit.detection import rules, states
from services.audit.detection.signals import Finding, Signal
from services.kernel.event_types import UnknownEvent
from services.kernel.projection import Connection

TABLE: Final = "audit.detection_state"
_PUT: Final = (
    f"insert into {TABLE} (name, position, state)"
    " select * from unnest($1::text[], $2::bigint[], $3::bytea[])"
    " on conflict (name) do update set position = excluded.position, state = excluded.state"
)
_HEAD: Final = (
    "select h.position, h.state, (select l.position from log.event_id l where l.id = $2) as known"
    f" from {TABLE} h where h.name = $1"
)
_SINCE: Final = f"select name, state from {TABLE} where position > $1 and name <> $2"


class Memory:
    """The states of the rules as of a position, and what of them is not stored yet."""

    def __init__(
        self,
        held: rules.States,
        stored: Iterable[str] = (),
        at: int = -1,
        last: UUID | None = None,
    ) -> None:
        self._states = held
        self._stored = set(stored)
        self._touched: dict[str, tuple[rules.Part, int]] = {}
        self._stored_at = at
        #: the last signal folded, and its event
        self.position = at
        self.last = last

    def fold(self, signal: Signal) -> list[Finding]:
        """Fold a signal; return what the rules found."""
        self._states, findings = rules.fold_all(self._states, signal)
        self.position, self.last = signal.position, signal.event_id
        for part in rules.touched(signal):
            self._touched[states.name_of(part)] = (part, signal.position)
        return findings

    async def store(self, connection: Connection) -> None:
        """Write what was touched since the last time, and delete what was forgotten."""
        if self.position == self._stored_at:
            return
        rows = [(states.HEAD, self.position, states.encode_head(self._states, self.last))]
        for name, (part, position) in self._touched.items():
            state = states.encode_part(self._states, part)
            if state is not None:
                rows.append((name, position, state))
        await connection.execute(_PUT, *map(list, zip(*rows, strict=True)))
        self._stored |= {name for name, _, _ in rows}
        await self._forget(connection)
        self._touched.clear()
        self._stored_at = self.position

    async def _forget(self, connection: Connection) -> None:
        if len(self._stored) == states.count(self._states) + 1:
            return
        kept = {states.HEAD, *map(states.name_of, states.parts(self._states))}
        gone, self._stored = self._stored - kept, kept
        await connection.execute(f"delete from {TABLE} where name = any($1)", list(gone))

    async def follow(self, connection: Connection, head: states.Head, at: int) -> bool:
        """Take in what others stored since; say whether that is all there is to it."""
        if self.position == at:
            return True
        rows = await connection.fetch(_SINCE, self.position, states.HEAD)
        held = states.succeed(self._states, head)
        states.take(held, {row["name"]: row["state"] for row in rows})
        if states.count(held) != head.parts:
            kept = {row["name"] for row in await connection.fetch(f"select name from {TABLE}")}
            for part in [p for p in states.parts(held) if states.name_of(p) not in kept]:
                states.drop(held, part)
            self._stored &= kept
        self._states, self._stored_at = held, at
        self._stored |= {row["name"] for row in rows}
        self.position, self.last = at, head.last
        return states.count(held) == head.parts


async def recall(connection: Connection, cached: Memory | None) -> Memory:
    """Return the memory as stored: ``cached`` with what was stored since, else from its rows.

    ``cached`` serves while the log still has its last event where it was folded: a server that
    crashed may have forgotten it. Raises :class:`UnknownEvent` when it is of other rules.
    """
    row = await connection.fetchrow(_HEAD, states.HEAD, cached.last if cached else None)
    if row is None:
        return Memory(rules.initial())
    at = row["position"]
    try:
        head = states.decode_head(row["state"])
        serves = cached is not None and cached.position == row["known"] and cached.position <= at
        if cached is not None and serves and await cached.follow(connection, head, at):
            return cached
        return await _whole(connection, head, at)
    except states.StateError as error:
        raise UnknownEvent(str(error)) from error


async def _whole(connection: Connection, head: states.Head, at: int) -> Memory:
    rows = await connection.fetch(f"select name, state from {TABLE}")
    stored = {row["name"]: row["state"] for row in rows}
    return Memory(states.decode(stored), stored, at, head.last)


async def is_of_other_rules(connection: asyncpg.pool.PoolConnectionProxy) -> bool:
    """Say whether there is a memory, and it is not of the rules here."""
    rows = await connection.fetch(f"select name, state from {TABLE}")
    try:
        states.decode({row["name"]: row["state"] for row in rows})
    except states.StateError:
        return bool(rows)
    return False
