"""What must hold before a process runs: the database is migrated, and is this directory's.

Asked under a service's role, with the secrets that are there; makes none. Unchecked, a process in a
directory that is not the database's would make secrets and keys that nobody else has, and seal
under them; over a database that is behind, it would wait for tables that never come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import asyncpg

from services.commands.migrate import foreign
from services.commands.serving import as_user_errors
from services.installation import UserError, vocabulary
from services.kernel.database import role_name
from services.kernel.epochs import EpochKeys
from services.kernel.events import Service
from services.kernel.migrate import newest_revision
from services.kernel.sealing import Compartment
from services.kernel.server_roles import fingerprint, role_password

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.kernel.runtime import Installation

_BEHIND: Final = "the database is not migrated to this version: run casewarden migrate"
_TIMEOUT_S: Final = 5
#: of a database that has just started, and of a key store with very many keys
_STATEMENT_S: Final = 30


async def check(installation: Installation, services: Sequence[Service] = tuple(Service)) -> None:
    """Raise :class:`UserError` unless ``services`` can run over this database, from this directory.

    A database that is ahead of this version is not refused, though services may fail over it: they
    are to be stopped before it is migrated (``docs/operations.md``, Upgrading).
    """
    check_directory(installation)
    with as_user_errors():
        await check_databases(installation, services)


def check_directory(installation: Installation) -> None:
    """Raise :class:`UserError` unless the directory holds the secrets of an installation."""
    if not (installation.data / "secrets" / "roles").exists():
        raise UserError(
            f"nothing was migrated from {installation.data} yet: run casewarden migrate, or name in"
            " CASEWARDEN_DATA the directory that this database was migrated from"
        )
    installation.secret("roles")


async def check_databases(installation: Installation, services: Sequence[Service]) -> None:
    """Raise :class:`UserError` for databases that are not this directory's or this version's.

    Errors of the connection and of the database are raised as they come.
    """
    server = installation.server
    await _check_log(installation, await _connect(installation, server.url, services[0]))
    for service in services:
        keys = await _connect(installation, server.keys_url, service)
        await _check_keys(installation, keys)


async def _connect(installation: Installation, url: str, service: Service) -> asyncpg.Connection:
    role, password = role_name(service), role_password(installation.secret("roles"), service)
    address = installation.server.as_role(url, role, password)
    return await asyncpg.connect(address, timeout=_TIMEOUT_S, command_timeout=_STATEMENT_S)


async def _check_log(installation: Installation, connection: asyncpg.Connection) -> None:
    try:
        if await connection.fetchval("select to_regclass('log.installation')") is None:
            raise UserError(_BEHIND)
        row = await connection.fetchrow("select fingerprint, revision from log.installation")
        known = await connection.fetch("select name from log.event_type")
    finally:
        await connection.close()
    if row is not None and row["fingerprint"] != fingerprint(installation.secret("roles")):
        raise UserError(foreign(installation))
    registered = {row["name"] for row in known}
    if row is None or row["revision"] < newest_revision() or not registered >= _types():
        raise UserError(_BEHIND)


def _types() -> set[str]:
    return {known.name for known in vocabulary()}


async def _check_keys(installation: Installation, connection: asyncpg.Connection) -> None:
    """Raise unless every epoch key that the store was written with in this epoch is here."""
    epochs = EpochKeys(installation.data / "keys", installation.effects)
    try:
        rows = await connection.fetch(
            "select distinct compartment from keys.data_key where epoch = $1", epochs.current()
        )
    finally:
        await connection.close()
    used = (Compartment(row["compartment"]) for row in rows)
    missing = sorted(one for one in used if not epochs.has(one, epochs.current()))
    if missing:
        raise UserError(
            f"the epoch keys in {installation.data} are not this database's: {', '.join(missing)}"
            " missing; name in CASEWARDEN_DATA the directory that it was migrated from"
        )
