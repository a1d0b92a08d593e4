"""Brings a server to today's schema: roles, the log database, the key database, event types.

Run by the owner of the databases (``casewarden migrate``, and ``casewarden up`` at its start);
needs the right to create roles and databases. Safe to run again, and by two at once.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from services.kernel.database import Server, role_name
from services.kernel.event_types import EventType, Kind
from services.kernel.server_roles import claim_roles, fingerprint, recognise_roles, reset_roles

if TYPE_CHECKING:
    from sqlalchemy import Connection

_LOCK = 7_233_001
_OLDEST = 16


class UnsupportedServer(RuntimeError):  # noqa: N818 - what it says is told as it is
    """The server is of a version whose SQL is not ours."""


class ForeignSecrets(Exception):  # noqa: N818 - a state of the world
    """The database was migrated with the secrets of another directory."""


def newest_revision() -> str:
    """Return the newest migration of this build: the number its file's name begins with."""
    folder = files("services.kernel.migrations") / "versions"
    return max(entry.name[1:5] for entry in folder.iterdir() if entry.name.startswith("v"))


async def migrate(
    server: Server, secret: bytes, types: Iterable[EventType], *, take_roles: bool = False
) -> None:
    """Create what is missing: databases, roles, schemas, event types, partitions.

    Raises :class:`UnsupportedServer`, :class:`ForeignSecrets`, :class:`ForeignRoles` unless they
    are to be taken (and has changed nothing then), and whatever the server says to who may not.
    """
    urls = (server.url, server.keys_url)
    own = {_name(url) for url in urls}
    for url in urls:
        async with _connected(url) as connection:
            await _recognise(connection, secret)
            if not take_roles:
                await recognise_roles(connection, secret, own)
    for url in urls:
        await _create_database(url)
    async with _connected(server.url) as owner:
        await owner.execute("select pg_advisory_lock($1)", _LOCK)
        await claim_roles(owner, secret, own, take=take_roles)
        await reset_roles(owner)
        await _run_alembic(server.url)
        await _register(owner, types)
        await _sign(owner, secret)
        await owner.execute("select log.make_partitions(2, 5000000)")
        async with _connected(server.keys_url) as keeper:
            # the key store may be on a server of its own, which has roles of its own
            await claim_roles(keeper, secret, own, take=take_roles)
            await reset_roles(keeper)
            await _create_key_store(keeper)


def _name(url: str) -> str:
    return urlsplit(url).path.lstrip("/")


@contextlib.asynccontextmanager
async def _connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Connect to a database or, while there is none of its name, to its server."""
    try:
        connection = await asyncpg.connect(url)
    except asyncpg.InvalidCatalogNameError:
        connection = await asyncpg.connect(urlunsplit(urlsplit(url)._replace(path="/postgres")))
    try:
        yield connection
    finally:
        await connection.close()


async def _create_database(url: str) -> None:
    async with _connected(url) as connection:
        if await connection.fetchval("select current_database()") == _name(url):
            return
        with contextlib.suppress(asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
            create = f'create database "{_name(url)}" encoding utf8 template template0'
            await connection.execute(create)


async def _recognise(connection: asyncpg.Connection, secret: bytes) -> None:
    """Raise :class:`UnsupportedServer`, or :class:`ForeignSecrets` for a log of another secret."""
    if connection.get_server_version().major < _OLDEST:
        is_of = connection.get_server_version().major
        msg = f"needs PostgreSQL {_OLDEST} or later; this is {is_of}"
        raise UnsupportedServer(msg)
    if await connection.fetchval("select to_regclass('log.installation')") is None:
        return
    known = await connection.fetchval("select fingerprint from log.installation")
    if known is not None and known != fingerprint(secret):
        raise ForeignSecrets


async def _sign(owner: asyncpg.Connection, secret: bytes) -> None:
    await owner.execute(
        "insert into log.installation (fingerprint, revision) values ($1, $2)"
        " on conflict (one) do update set revision = excluded.revision",
        fingerprint(secret),
        newest_revision(),
    )


async def _run_alembic(url: str) -> None:
    # here, so that a process that serves does not carry what only migrating needs
    from sqlalchemy import pool
    from sqlalchemy.ext.asyncio import create_async_engine

    engine = create_async_engine(
        "postgresql+asyncpg://",
        # by asyncpg itself: of an address SQLAlchemy refuses what it does not know, sslmode too
        async_creator=lambda: asyncpg.connect(url),
        poolclass=pool.NullPool,
    )
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_upgrade)
            await connection.commit()
    finally:
        await engine.dispose()


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(files("services.kernel") / "migrations"))
    attributes: dict[str, Any] = config.attributes
    attributes["connection"] = connection
    command.upgrade(config, "head")


async def _register(owner: asyncpg.Connection, types: Iterable[EventType]) -> None:
    await owner.executemany(
        "insert into log.event_type as known (name, role, fact, streams)"
        " values ($1, coalesce($2, session_user), $3, $4)"
        " on conflict (name) do update set streams = excluded.streams"
        " where known.streams <> excluded.streams",
        [(t.name, _appender(t), t.kind is Kind.FACT, t.streams) for t in types],
    )


def _appender(type_: EventType) -> str | None:
    """Return the role that appends events of a type; ``None`` for whoever migrates."""
    return None if type_.by_owner else role_name(type_.service)


async def _create_key_store(owner: asyncpg.Connection) -> None:
    async with owner.transaction():
        await owner.execute("select pg_advisory_xact_lock($1)", _LOCK)
        if await owner.fetchval("select to_regclass('keys.data_key')") is None:
            await owner.execute((files("services.kernel.migrations") / "keys.sql").read_text())
        await owner.execute((files("services.kernel.migrations") / "narrow.sql").read_text())
