"""Checks the whole log with code of its own: nothing here was used to write it.

Reads the rows as they are, in one snapshot, beside services that go on appending, and derives
everything again: contiguous positions, the header line of each body against the columns beside it,
canonical JSON, registered types, streams without a gap, the side tables, and the RFC 6962 root.

A body changed into another that could have been written, or a whole tail gone together with its
side rows, shows only against hashes that were taken before, outside the database
(:mod:`services.witness`), or a count and root that somebody kept. Group boundaries are not in the
log, so of a guard it proves that it is not older than its newest touch, and touched at all.

A position that the owner set aside (docs/decisions/0013) is counted and named, its bytes compared
with the leaf hash that the owner named; what its JSON says is not looked at, for no fold does.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import asyncpg

_LIMIT: Final = 65_535
_AHEAD: Final = 1_000
_HASH: Final = 32
_REPORT_EVERY: Final = 500
_SET_ASIDE: Final = "audit.position_set_aside"
_HEADER: Final = re.compile(
    rb"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
    rb" ([a-z_]+\.[a-z_]+) (?:(-) -|([a-z0-9:._-]+) ([1-9][0-9]*))"
)
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


class Wrong(Exception):  # noqa: N818 - a finding
    """The first thing that is wrong: where, and why."""

    def __init__(self, position: int, why: str) -> None:
        super().__init__(f"position {position}: {why}")
        self.position = position
        self.why = why


@dataclass(frozen=True, slots=True)
class Summary:
    """What was checked: how many events and facts, and the root of the tree over them.

    ``leaves`` are the leaf hashes that were not witnessed before, in order.
    """

    events: int
    facts: int
    root: str
    leaves: tuple[bytes, ...] = ()
    aside: tuple[int, ...] = ()


class Tree:
    """The Merkle tree of RFC 6962, section 2.1, kept as the roots of its perfect subtrees."""

    def __init__(self) -> None:
        self._subtrees: list[tuple[int, bytes]] = []

    def add(self, body: bytes) -> bytes:
        """Add the next leaf and return its hash."""
        leaf = hashlib.sha256(b"\0" + body).digest()
        size, node = 1, leaf
        while self._subtrees and self._subtrees[-1][0] == size:
            node = hashlib.sha256(b"\1" + self._subtrees.pop()[1] + node).digest()
            size *= 2
        self._subtrees.append((size, node))
        return leaf

    def root(self) -> str:
        """Return the root in hexadecimal."""
        if not self._subtrees:
            return hashlib.sha256(b"").hexdigest()
        node = self._subtrees[-1][1]
        for _, left in reversed(self._subtrees[:-1]):
            node = hashlib.sha256(b"\1" + left + node).digest()
        return node.hex()


def canonical(payload: object) -> bytes:
    """Return the one way to write ``payload``: sorted keys, no white space, UTF-8."""
    text = json.dumps(
        payload, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def key_of(touched: str) -> int:
    """Return the number a guard key is kept as: its BLAKE2b of 64 bits, big-endian and signed."""
    number = int(hashlib.blake2b(touched.encode(), digest_size=8).hexdigest(), 16)
    return number - (1 << 64) if number >> 63 else number


async def verify(
    connection: asyncpg.Connection,
    witnessed: bytes = b"",
    advance: Callable[[int], None] = lambda _count: None,
) -> Summary:
    """Check the log that ``connection`` (its owner's) sees now; raise :class:`Wrong`.

    ``witnessed`` are leaf hashes kept outside the database, one after another, from position 0.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        return await _Check(connection, witnessed, advance).run()


class _Side:
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


class _Check:
    def __init__(
        self, connection: asyncpg.Connection, witnessed: bytes, advance: Callable[[int], None]
    ) -> None:
        self._connection = connection
        self._witnessed = witnessed
        self._leaves: list[bytes] = []
        self._advance = advance
        self._types: dict[str, tuple[str, bool]] = {}
        self._owner = ""
        self._versions: dict[str, int] = {}
        self._touched: dict[int, int] = {}
        self._facts: list[int] = []
        self._aside: dict[int, str] = {}
        self._vacant: set[tuple[str, int]] = set()
        self._tree = Tree()

    def _rows(self, query: str) -> AsyncIterator[asyncpg.Record]:
        rows: AsyncIterator[asyncpg.Record] = self._connection.cursor(
            query, prefetch=_AHEAD
        ).__aiter__()
        return rows

    async def run(self) -> Summary:
        registered = await self._connection.fetch("select name, role, fact from log.event_type")
        self._types = {row["name"]: (row["role"], row["fact"]) for row in registered}
        self._owner = await self._connection.fetchval(
            "select pg_get_userbyid(relowner) from pg_class where oid = 'log.event'::regclass"
        )
        await self._set_aside()
        ids = _Side(
            self._rows("select position, id::text from log.event_id order by position"),
            "log.event_id",
        )
        facts = _Side(
            self._rows("select position, stream, version from log.fact order by position"),
            "log.fact",
        )
        expected = 0
        query = "select position, id::text as id, type, body from log.event order by position"
        async for row in self._rows(query):
            position, body = row["position"], row["body"]
            if position != expected:
                raise Wrong(expected, "the event is missing")
            stream, version = self._event(position, row["id"], row["type"], body)
            await ids.expect(position, row["id"])
            if stream is not None and position not in self._aside:
                self._facts.append(position)
                await facts.expect(position, stream, version)
            self._compare(position, self._tree.add(body))
            expected += 1
            if expected % _REPORT_EVERY == 0:
                self._advance(_REPORT_EVERY)
        await ids.end()
        await facts.end()
        if expected < len(self._witnessed) // _HASH:
            raise Wrong(expected, "the event is missing; it was there when the log was last seen")
        await self._guards(expected)
        await self._once(expected)
        aside = tuple(sorted(self._aside))
        return Summary(expected, len(self._facts), self._tree.root(), tuple(self._leaves), aside)

    async def _set_aside(self) -> None:
        """Learn what was set aside, each by an event that is checked like any other."""
        async for row in self._rows(
            "select e.position, e.body from log.event e join log.fact f using (position)"
            f" where e.type = '{_SET_ASIDE}'"
        ):
            match _decoded(row["position"], row["body"].partition(b"\n")[2]):
                case {"data": {"position": int(position), "leaf_hash": str(leaf)}} if (
                    0 <= position < row["position"]
                ):
                    self._aside[position] = leaf
                case _:
                    raise Wrong(row["position"], "it sets aside no position before its own")

    def _compare(self, position: int, leaf: bytes) -> None:
        if self._aside.get(position, leaf.hex()) != leaf.hex():
            raise Wrong(position, "the event is not what it was when it was set aside")
        known = self._witnessed[position * _HASH : (position + 1) * _HASH]
        if not known:
            self._leaves.append(leaf)
        elif known != leaf:
            raise Wrong(position, "the event is not what it was when it was first seen")

    def _event(
        self, position: int, event_id: str, type_: str, body: bytes
    ) -> tuple[str | None, int | None]:
        """Check one row; return its stream and version."""
        if len(body) > _LIMIT:
            raise Wrong(position, "the body is longer than 65,535 bytes")
        line, separator, rest = body.partition(b"\n")
        header = _HEADER.fullmatch(line)
        if header is None or not separator:
            raise Wrong(position, "the body has no header line")
        if header[1].decode() != event_id or header[2].decode() != type_:
            raise Wrong(position, "the columns differ from the header of the body")
        stream = header[4].decode() if header[4] else None
        version = int(header[5]) if header[5] else None
        self._registered(position, type_, fact=stream is not None)
        if position in self._aside:
            if stream is not None and version is not None:
                self._vacant.add((stream, version))
            return stream, version
        self._in_order(position, stream, version)
        self._payload(position, rest, fact=stream is not None)
        return stream, version

    def _registered(self, position: int, type_: str, *, fact: bool) -> None:
        role, is_fact = self._types.get(type_, ("", False))
        if type_ == _SET_ASIDE:
            if role != self._owner:
                raise Wrong(position, f"{type_} is not registered to the owner of the log")
        elif role != f"casewarden_{type_.partition('.')[0]}":
            raise Wrong(position, f"{type_} is not registered to the role of its service")
        if fact is not is_fact:
            raise Wrong(position, f"{type_} is a fact exactly when it has a stream")

    def _in_order(self, position: int, stream: str | None, version: int | None) -> None:
        if stream is None or version is None:
            return
        last = self._versions.get(stream, 0)
        while version != last + 1 and (stream, last + 1) in self._vacant:
            last += 1
        if version != last + 1:
            raise Wrong(position, f"version {version} of its stream comes after {last}")
        self._versions[stream] = version

    def _payload(self, position: int, text: bytes, *, fact: bool) -> None:
        payload = _decoded(position, text)
        if canonical(payload) != text:
            raise Wrong(position, "the JSON is not in canonical form")
        recorded = payload.get("recorded_at")
        if not isinstance(recorded, str) or not _TIME.fullmatch(recorded):
            raise Wrong(position, "recorded_at is not a time in UTC")
        touches = payload.get("touches", [])
        if not isinstance(touches, list) or not all(isinstance(t, str) for t in touches):
            raise Wrong(position, "touches is not a list of keys")
        if touches and not fact:
            raise Wrong(position, "an observation touches nothing")
        for touched in touches:
            self._touched[key_of(touched)] = position

    async def _guards(self, count: int) -> None:
        facts = set(self._facts)
        async for row in self._rows("select position, key from log.guard order by position"):
            position = row["position"]
            touched = self._touched.pop(row["key"], None)
            if position in self._aside:
                continue
            if touched is None:
                raise Wrong(min(position, count), "log.guard has a key that nothing touched")
            if position < touched or position not in facts:
                raise Wrong(touched, f"log.guard says {position} for a key it touches")
        for touched in sorted(self._touched.values()):
            raise Wrong(touched, "log.guard has no row for a key it touches")

    async def _once(self, count: int) -> None:
        strays = "select position, key from log.once order by position desc limit 1"
        async for row in self._rows(strays):
            if row["position"] >= count:
                raise Wrong(row["position"], "log.once names an event that is missing")


def _decoded(position: int, text: bytes) -> dict[str, Any]:
    try:
        payload = json.loads(text.decode())
    except ValueError:
        raise Wrong(position, "the body does not hold JSON") from None
    if not isinstance(payload, dict):
        raise Wrong(position, "the body does not hold a JSON object")
    return payload
