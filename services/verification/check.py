"""One pass over the log, every row against everything that can be derived of it.

Owns the queries, and what is remembered from one row to the next: registered types, versions of
streams, what was set aside. In the flow of ``casewarden verify``: rows → here → a summary, or the
first position that is wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from services.verification.bodies import Stated, claimed, decoded, parted, touched
from services.verification.findings import Summary, Wrong
from services.verification.tables import Guards, Side, check_once
from services.verification.tree import Leaves, Tree

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import asyncpg

_AHEAD: Final = 1_000
_REPORT_EVERY: Final = 500
_SET_ASIDE: Final = "audit.position_set_aside"


async def verify(
    connection: asyncpg.Connection,
    witnessed: bytes = b"",
    advance: Callable[[int], None] = lambda _count: None,
) -> Summary:
    """Check the log that ``connection`` (its owner's) sees now; raise :class:`Wrong`.

    ``witnessed`` are leaf hashes kept outside the database, one after another, from position 0.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        return await Check(connection, witnessed, advance).run()


class Check:
    """One check of one log, in the transaction of its connection."""

    def __init__(
        self, connection: asyncpg.Connection, witnessed: bytes, advance: Callable[[int], None]
    ) -> None:
        self._connection = connection
        self._advance = advance
        self._types: dict[str, tuple[str, bool]] = {}
        self._owner = ""
        self._streams = _Streams()
        self._guards = Guards()
        self._facts: set[int] = set()
        self._aside: dict[int, str] = {}
        self._tree = Tree()
        self._leaves = Leaves(witnessed)

    def _rows(self, query: str) -> AsyncIterator[asyncpg.Record]:
        rows: AsyncIterator[asyncpg.Record] = self._connection.cursor(
            query, prefetch=_AHEAD
        ).__aiter__()
        return rows

    async def run(self) -> Summary:
        """Check everything; return what there is, or raise the first :class:`Wrong`."""
        await self._registrations()
        await self._set_aside()
        count = await self._events()
        self._leaves.end(count)
        guards = self._rows("select position, key from log.guard order by position")
        await self._guards.check(guards, self._facts, count)
        strays = "select position, key from log.once order by position desc limit 1"
        await check_once(self._rows(strays), count)
        aside = tuple(sorted(self._aside))
        fresh = tuple(self._leaves.fresh)
        return Summary(count, len(self._facts), self._tree.root(), fresh, aside)

    async def _registrations(self) -> None:
        registered = await self._connection.fetch("select name, role, fact from log.event_type")
        self._types = {row["name"]: (row["role"], row["fact"]) for row in registered}
        self._owner = await self._connection.fetchval(
            "select pg_get_userbyid(relowner) from pg_class where oid = 'log.event'::regclass"
        )

    async def _set_aside(self) -> None:
        """Learn what was set aside, each by an event that is checked like any other."""
        async for row in self._rows(
            "select e.position, e.body from log.event e join log.fact f using (position)"
            f" where e.type = '{_SET_ASIDE}'"
        ):
            match decoded(row["position"], row["body"].partition(b"\n")[2]):
                case {"data": {"position": int(position), "leaf_hash": str(leaf)}} if (
                    0 <= position < row["position"]
                ):
                    self._aside[position] = leaf
                case _:
                    raise Wrong(row["position"], "it sets aside no position before its own")

    async def _events(self) -> int:
        """Check the log's rows and those read in step with them; return how many there are."""
        ids = Side(
            self._rows("select position, id::text from log.event_id order by position"),
            "log.event_id",
        )
        facts = Side(
            self._rows("select position, stream, version from log.fact order by position"),
            "log.fact",
        )
        expected = 0
        query = "select position, id::text as id, type, body from log.event order by position"
        async for row in self._rows(query):
            if row["position"] != expected:
                raise Wrong(expected, "the event is missing")
            stated = self._event(row)
            await ids.expect(expected, row["id"])
            if stated.stream is not None and expected not in self._aside:
                self._facts.add(expected)
                await facts.expect(expected, stated.stream, stated.version)
            self._leaves.compare(expected, self._tree.add(row["body"]), self._aside)
            expected += 1
            if expected % _REPORT_EVERY == 0:
                self._advance(_REPORT_EVERY)
        await ids.end()
        await facts.end()
        return expected

    def _event(self, row: asyncpg.Record) -> Stated:
        """Check one row by itself and against those before; return what its header states."""
        position = row["position"]
        stated, text = parted(position, row["body"])
        if (stated.id, stated.type) != (row["id"], row["type"]):
            raise Wrong(position, "the columns differ from the header of the body")
        fact = stated.stream is not None
        self._registered(position, stated.type, fact=fact)
        if position in self._aside:
            self._streams.leave_out(stated)
            if fact:
                self._guards.leave_out(position, claimed(text))
        else:
            self._streams.follow(position, stated)
            self._guards.touch(position, touched(position, text, fact=fact))
        return stated

    def _registered(self, position: int, type_: str, *, fact: bool) -> None:
        role, is_fact = self._types.get(type_, ("", False))
        if type_ == _SET_ASIDE:
            if role != self._owner:
                raise Wrong(position, f"{type_} is not registered to the owner of the log")
        elif role != f"casewarden_{type_.partition('.')[0]}":
            raise Wrong(position, f"{type_} is not registered to the role of its service")
        if fact is not is_fact:
            raise Wrong(position, f"{type_} is a fact exactly when it has a stream")


class _Streams:
    """The versions of every stream: one after another, but for those that were set aside."""

    def __init__(self) -> None:
        self._versions: dict[str, int] = {}
        self._vacant: set[tuple[str, int]] = set()

    def leave_out(self, stated: Stated) -> None:
        """Say that a version may be missing: it was set aside, and is free again."""
        if stated.stream is not None and stated.version is not None:
            self._vacant.add((stated.stream, stated.version))

    def follow(self, position: int, stated: Stated) -> None:
        """Raise unless a fact's version comes right after the last of its stream."""
        stream, version = stated.stream, stated.version
        if stream is None or version is None:
            return
        last = self._versions.get(stream, 0)
        while version != last + 1 and (stream, last + 1) in self._vacant:
            last += 1
        if version != last + 1:
            raise Wrong(position, f"version {version} of its stream comes after {last}")
        self._versions[stream] = version
