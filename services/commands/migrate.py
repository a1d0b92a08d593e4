"""``casewarden migrate``: databases, roles, schema, event types and partitions, made or updated."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import asyncpg

from services.installation import UserError, embedded, running, vocabulary
from services.kernel.migrate import newest_revision
from services.kernel.server_roles import are_marked, reset_roles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.kernel.runtime import Installation
    from services.kernel.settings import Settings


_SHOWN: Final = 3


def run(settings: Settings, *, take_roles: bool) -> None:
    """Migrate; start the embedded server for it when no other is named."""
    from alembic.util import CommandError

    from services.kernel.migrate import ForeignSecrets, UnsupportedServer, migrate
    from services.kernel.server_roles import ForeignRoles

    with running(settings, embedded(settings), make=True) as installation:
        try:
            asyncio.run(_refuse_to_adopt(installation))
            secret = installation.secret("roles")
            asyncio.run(migrate(installation.server, secret, vocabulary(), take_roles=take_roles))
        except (OSError, asyncpg.PostgresConnectionError) as error:
            raise UserError(f"the database cannot be reached: {error}") from None
        except asyncpg.InvalidAuthorizationSpecificationError as error:
            raise UserError(f"the database lets this role in nowhere: {error}") from None
        except asyncpg.InsufficientPrivilegeError as error:
            raise UserError(f"the owner may not migrate: {error}") from None
        except UnsupportedServer as error:
            raise UserError(str(error)) from None
        except ForeignSecrets:
            raise UserError(foreign(installation)) from None
        except ForeignRoles as error:
            raise UserError(_of_another(error.databases)) from None
        except CommandError as error:
            raise UserError(f"this version cannot migrate the database: {error}") from None


async def _refuse_to_adopt(installation: Installation) -> None:
    """Raise :class:`UserError` when the log has events and this directory has no secrets yet.

    The secrets that those events were made with are elsewhere; new ones would open nothing.
    """
    if (installation.data / "secrets" / "roles").exists():
        return
    try:
        owner = await asyncpg.connect(installation.server.url)
    except asyncpg.InvalidCatalogNameError:
        return
    try:
        if await owner.fetchval("select to_regclass('log.event')") is None:
            return
        if await owner.fetchval("select exists (select from log.event)"):
            raise UserError(foreign(installation))
    finally:
        await owner.close()


def foreign(installation: Installation) -> str:
    """Return what to tell whoever runs this from another installation's directory."""
    return (
        f"the secrets in {installation.data} are not this database's: name in CASEWARDEN_DATA the"
        " directory that it was migrated from"
    )


def _of_another(databases: Sequence[str]) -> str:
    shown = ", ".join(databases[:_SHOWN]) + (", …" if len(databases) > _SHOWN else "")
    return (
        f"the roles of this server belong to another installation of Casewarden ({shown});"
        " one server holds one. If that one is given up: casewarden migrate --take-roles"
    )


async def needed(installation: Installation) -> bool:
    """Say whether anything is to migrate; cheap, so that a warm start is quick.

    Where nothing is, does what migrating would do on every run besides: partitions are made ahead.
    It takes back the defaults that services' roles were given, where the owner may. Roles without
    this installation's mark are left alone: migrating says whose they are, or marks them.
    Raises :class:`UserError` when the server cannot be reached.
    """
    if not (installation.data / "secrets" / "roles").exists():
        return True
    try:
        owner = await asyncpg.connect(installation.server.url, timeout=5)
    except asyncpg.InvalidCatalogNameError:
        return True
    except (OSError, asyncpg.PostgresError, TimeoutError) as error:
        raise UserError(f"the database cannot be reached: {error}") from None
    try:
        if not await are_marked(owner, installation.secret("roles")):
            return True
        with contextlib.suppress(asyncpg.InsufficientPrivilegeError):
            await reset_roles(owner)
        return await _behind(owner)
    finally:
        await owner.close()


async def _behind(owner: asyncpg.Connection) -> bool:
    if await owner.fetchval("select to_regclass('alembic_version')") is None:
        return True
    at = {row["version_num"] for row in await owner.fetch("select * from alembic_version")}
    if at != {newest_revision()}:
        return True
    registered = {row["name"] for row in await owner.fetch("select name from log.event_type")}
    if not registered >= {known.name for known in vocabulary()}:
        return True
    await owner.execute("select log.make_partitions(2, 5000000)")
    return False
