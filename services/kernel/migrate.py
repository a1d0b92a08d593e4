"""Brings a server to today's schema: roles, the log database, the key database, event types.

Run by the owner of the databases (``casewarden migrate``, and ``casewarden up`` at its start);
needs the right to create roles and databases. Safe to run again, and by two at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
from collections.abc import Iterable
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from services.kernel.database import Server, role_name
from services.kernel.event_types import EventType, Kind
from services.kernel.events import Service

if TYPE_CHECKING:
    from sqlalchemy import Connection

_LOCK = 7_233_001
_OLDEST = 16


class UnsupportedServer(RuntimeError):  # noqa: N818 - what it says is told as it is
    """The server is of a version whose SQL is not ours."""


class ForeignSecrets(Exception):  # noqa: N818 - a state of the world
    """The database was migrated with the secrets of another directory."""


def role_password(secret: bytes, service: Service) -> str:
    """Return the database password of a service's role, derived from the installation's secret."""
    return hmac.new(secret, b"database role " + service.encode(), hashlib.sha256).hexdigest()


def fingerprint(secret: bytes) -> bytes:
    """Return what the database keeps to know an installation by; says nothing of its secret."""
    return hmac.new(secret, b"installation", hashlib.sha256).digest()


def newest_revision() -> str:
    """Return the newest migration of this build: the number its file's name begins with."""
    folder = files("services.kernel.migrations") / "versions"
    return max(entry.name[1:5] for entry in folder.iterdir() if entry.name.startswith("v"))


async def migrate(server: Server, secret: bytes, types: Iterable[EventType]) -> None:
    """Create what is missing: databases, roles, schemas, event types, partitions.

    Raises :class:`UnsupportedServer`, :class:`ForeignSecrets` (and has changed nothing then), and
    whatever the server says to who may not do this.
    """
    await _create_database(server.url)
    await _create_database(server.keys_url)
    owner = await asyncpg.connect(server.url)
    try:
        if owner.get_server_version().major < _OLDEST:
            msg = f"needs PostgreSQL {_OLDEST} or later; this is {owner.get_server_version().major}"
            raise UnsupportedServer(msg)
        await owner.execute("select pg_advisory_lock($1)", _LOCK)
        await _recognise(owner, secret)
        await _create_roles(owner, secret)
        await reset_roles(owner)
        await _run_alembic(server.url)
        await _register(owner, types)
        await _sign(owner, secret)
        await owner.execute("select log.make_partitions(2, 5000000)")
    finally:
        await owner.close()
    await _create_key_store(server.keys_url)


async def _create_database(url: str) -> None:
    parts = urlsplit(url)
    name = parts.path.lstrip("/")
    try:
        connection = await asyncpg.connect(url)
    except asyncpg.InvalidCatalogNameError:
        connection = await asyncpg.connect(urlunsplit(parts._replace(path="/postgres")))
        with contextlib.suppress(asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
            await connection.execute(f'create database "{name}" encoding utf8 template template0')
    await connection.close()


async def _recognise(owner: asyncpg.Connection, secret: bytes) -> None:
    """Raise :class:`ForeignSecrets` unless the database is new, or of this secret."""
    if await owner.fetchval("select to_regclass('log.installation')") is None:
        return
    known = await owner.fetchval("select fingerprint from log.installation")
    if known is not None and known != fingerprint(secret):
        raise ForeignSecrets


async def _sign(owner: asyncpg.Connection, secret: bytes) -> None:
    await owner.execute(
        "insert into log.installation (fingerprint, revision) values ($1, $2)"
        " on conflict (one) do update set revision = excluded.revision",
        fingerprint(secret),
        newest_revision(),
    )


async def _create_roles(owner: asyncpg.Connection, secret: bytes) -> None:
    for service in Service:
        role = role_name(service)
        await owner.execute(
            f"do $$ begin create role {role} login; exception when duplicate_object then null;"
            " when unique_violation then null; end $$"
        )
        await owner.execute(f"alter role {role} password '{role_password(secret, service)}'")


async def reset_roles(owner: asyncpg.Connection) -> None:
    """Take back every default that the services' roles were given, by themselves or by anybody.

    A role may set its own, and each later session of that service would begin with them.
    """
    given = await owner.fetch(
        "select r.rolname, coalesce(' in database ' || quote_ident(d.datname), '') as of_one"
        " from pg_db_role_setting s join pg_roles r on r.oid = s.setrole"
        " left join pg_database d on d.oid = s.setdatabase where r.rolname = any($1)",
        [role_name(service) for service in Service],
    )
    for role, of_one in given:
        await owner.execute(f"alter role {role}{of_one} reset all")


async def _run_alembic(url: str) -> None:
    # here, so that a process that serves does not carry what only migrating needs
    from sqlalchemy import pool
    from sqlalchemy.ext.asyncio import create_async_engine

    engine = create_async_engine(_sqlalchemy_url(url), poolclass=pool.NullPool)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_upgrade)
            await connection.commit()
    finally:
        await engine.dispose()


def _sqlalchemy_url(url: str) -> str:
    return urlunsplit(urlsplit(url)._replace(scheme="postgresql+asyncpg"))


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


async def _create_key_store(url: str) -> None:
    owner = await asyncpg.connect(url)
    try:
        async with owner.transaction():
            await owner.execute("select pg_advisory_xact_lock($1)", _LOCK)
            if await owner.fetchval("select to_regclass('keys.data_key')") is None:
                await owner.execute((files("services.kernel.migrations") / "keys.sql").read_text())
            await owner.execute((files("services.kernel.migrations") / "narrow.sql").read_text())
    finally:
        await owner.close()
