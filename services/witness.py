"""Remembers outside the database what the log looked like when it was first seen.

A file of leaf hashes (RFC 6962), 32 bytes an event in order of position, that the audit process
extends every few seconds and ``casewarden verify`` compares with what is there now: so a changed
byte is named by its position, and a log that became shorter is noticed. It lives in the
installation's data directory: whoever can change the database and this directory both can still
hide what they do; only a count and root kept by somebody else shows that.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import structlog

from services.kernel.background import ended, every
from services.kernel.events import leaf_hash

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import asyncpg

    from services.kernel.runtime import Installation

_LEAF: Final = 32
_EVERY_S: Final = 2.0
_BATCH: Final = 2_000
_logger = structlog.get_logger(__name__)


class Differs(Exception):  # noqa: N818 - a state of the world
    """The log is not the one that was seen: an event changed, or some are gone."""


def path_of(installation: Installation) -> Path:
    """Return the file for the log of this installation: one for each database it ever used."""
    parts = urlsplit(installation.server.url)
    place = f"{parts.netloc.rpartition('@')[2]}{parts.path}?{parts.query}"
    name = hashlib.sha256(place.encode()).hexdigest()[:16]
    return installation.data / "witness" / f"{name}.leaves"


def seen(path: Path) -> bytes:
    """Return the leaf hashes seen so far, one after another."""
    try:
        known = path.read_bytes()
    except OSError:
        return b""
    return known[: len(known) // _LEAF * _LEAF]


def extend(path: Path, after: int, leaves: Sequence[bytes]) -> bool:
    """Add ``leaves`` behind the first ``after``; say no when another process is at it, or was."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_size // _LEAF != after:
            return False
        os.pwrite(descriptor, b"".join(leaves), after * _LEAF)
        os.fsync(descriptor)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


class Witness:
    """Extends the file while a service runs."""

    def __init__(self, pool: asyncpg.Pool, path: Path) -> None:
        self._pool = pool
        self._path = path
        self._task: asyncio.Task[None] | None = None
        self._told = False

    def start(self) -> None:
        """Begin to watch."""
        self._task = asyncio.create_task(
            every(_EVERY_S, self._look, "audit witness", at_once=True), name="witness"
        )

    async def stop(self) -> None:
        """Stop watching; what was appended since the last look is seen at the next start."""
        if self._task is not None:
            await ended(self._task)

    async def look(self) -> int:
        """See what was appended since; return how many. Raises :class:`Differs`."""
        count = await asyncio.to_thread(self._count)
        rows = await self._pool.fetch(
            "select position, body from log.event where position >= $1 order by position limit $2",
            max(0, count - 1),
            _BATCH,
        )
        leaves = [leaf_hash(row["body"]) for row in rows]
        if count:
            if not leaves or leaves[0] != await asyncio.to_thread(self._last, count):
                raise Differs(f"position {count - 1} is not what it was")
            leaves = leaves[1:]
        if leaves:
            await asyncio.to_thread(extend, self._path, count, leaves)
        return len(leaves)

    def _count(self) -> int:
        try:
            return self._path.stat().st_size // _LEAF
        except OSError:
            return 0

    def _last(self, count: int) -> bytes:
        with self._path.open("rb") as file:
            file.seek((count - 1) * _LEAF)
            return file.read(_LEAF)

    async def _look(self) -> None:
        try:
            while await self.look() >= _BATCH - 1:
                pass
        except Differs as differs:
            if not self._told:
                self._told = True
                _logger.error("log_is_not_the_one_that_was_seen", reason=str(differs))  # noqa: TRY400 - a finding, not a fault
            raise
