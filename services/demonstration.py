"""The mark that a database was started as a demonstration, kept in that database.

Only the owner of the databases reads or writes it; the services cannot. Without it nothing of the
demonstration is offered: its passwords follow from a seed that anybody can read.
"""

from dataclasses import dataclass
from datetime import date
from typing import Final

import asyncpg

SEED: Final = 20
_LOCK: Final = 7233003
_TABLE: Final = """
create schema if not exists demo;
create table if not exists demo.installation (
    one boolean primary key default true check (one),
    seed int not null,
    today date not null,
    finished boolean not null default false
);
"""


@dataclass(frozen=True, slots=True)
class Mark:
    """Which region a database holds, and whether all of it has been loaded."""

    seed: int
    today: date
    finished: bool


async def read(owner: asyncpg.Connection) -> Mark | None:
    """Return the mark of the database, or ``None`` when it is no demonstration."""
    if await owner.fetchval("select to_regclass('demo.installation')") is None:
        return None
    row = await owner.fetchrow("select seed, today, finished from demo.installation")
    return None if row is None else Mark(row["seed"], row["today"], row["finished"])


async def begin(owner: asyncpg.Connection, seed: int, today: date) -> Mark:
    """Mark the database, whose log must be empty; raise ``ValueError`` when it is not."""
    async with owner.transaction():
        await owner.execute(_TABLE)
        known = await read(owner)
        if known is not None:
            return known
        if await owner.fetchval("select exists (select from log.event)"):
            raise ValueError("the log is not empty")
        await owner.execute(
            "insert into demo.installation (seed, today) values ($1, $2)", seed, today
        )
    return Mark(seed, today, finished=False)


async def turn(owner: asyncpg.Connection) -> bool:
    """Say whether nobody else is loading this database; hold others off until ``owner`` closes."""
    return bool(await owner.fetchval("select pg_try_advisory_lock($1)", _LOCK))


async def wait_turn(owner: asyncpg.Connection) -> None:
    """Return once nobody else is loading this database, as :func:`turn` would with true."""
    await owner.execute("select pg_advisory_lock($1)", _LOCK)


async def finish(owner: asyncpg.Connection) -> None:
    """Say that everything has been loaded."""
    await owner.execute("update demo.installation set finished = true")
