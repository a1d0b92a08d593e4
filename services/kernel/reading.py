"""Reading the log: in order and after a position, which is all that a reader remembers.

Place in the flow: ``append -> projection``. What was set aside (docs/decisions/0013) is left out,
except by :func:`read_one`, which is for an event that one appended oneself. Folds nothing.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import asyncpg

from services.kernel.events import Recorded, decode

_Reader = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy


async def rows_of_all(connection: _Reader, after: int, limit: int) -> list[asyncpg.Record]:
    """Return position and body of up to ``limit`` events after ``after``, but none set aside."""
    rows: list[asyncpg.Record] = await connection.fetch(
        "select position, body from log.event where position > $1"
        # Asked of each by the key, so that no plan ever reads all of log.fact.
        " and (select f.position from log.fact f"
        " where f.stream = 'position:' || event.position::text and f.version = 1) is null"
        " order by position limit $2",
        after,
        limit,
    )
    return rows


async def rows_of_facts(connection: _Reader, after: int, limit: int) -> list[asyncpg.Record]:
    """Return position and body of up to ``limit`` facts after ``after``, without scanning reads.

    A position that was set aside has no row in ``log.fact``.
    """
    rows: list[asyncpg.Record] = await connection.fetch(
        "select f.position, e.body from log.fact f join log.event e using (position)"
        " where f.position > $1 order by f.position limit $2",
        after,
        limit,
    )
    return rows


async def read_one(pool: asyncpg.Pool, position: int) -> Recorded | None:
    """Return the event at ``position``."""
    body = await pool.fetchval("select body from log.event where position = $1", position)
    return None if body is None else decode(position, body)


@contextlib.asynccontextmanager
async def listening(
    pool: asyncpg.Pool, wake: asyncio.Event
) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy]:
    """Set ``wake`` at each notification while the connection lives; never relied upon."""

    def on_notify(*_: object) -> None:
        wake.set()

    async with pool.acquire() as connection:
        await connection.add_listener("casewarden_log", on_notify)
        try:
            yield connection
        finally:
            with contextlib.suppress(Exception):
                await connection.remove_listener("casewarden_log", on_notify)
