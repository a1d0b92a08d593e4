"""Where this installation lives: its settings become a server, a directory and a vocabulary.

The one place that knows the event types of all three services, and whether the database is the
embedded one. Starts nothing by itself.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from services.kernel.database import Server
from services.kernel.effects import Effects
from services.kernel.runtime import Installation

if TYPE_CHECKING:
    from collections.abc import Iterator

    import asyncpg

    from services.kernel.event_types import EventType
    from services.kernel.postgres import EmbeddedPostgres
    from services.kernel.settings import Settings

DATABASE: Final = "casewarden"


class UserError(Exception):
    """Something whoever typed the command can put right; shown as one plain line."""


def vocabulary() -> tuple[EventType, ...]:
    """Return the event types of every service."""
    from services.audit import events as audit
    from services.authz import events as authz
    from services.cases import events as cases

    return (*authz.TYPES, *cases.TYPES, *audit.TYPES)


def embedded(settings: Settings) -> EmbeddedPostgres | None:
    """Return the embedded server of these settings, or ``None`` when they name one."""
    if settings.database_url:
        return None
    from services.kernel.postgres import EmbeddedPostgres

    return EmbeddedPostgres(settings.data / "postgres")


def installation_of(settings: Settings, postgres: EmbeddedPostgres | None) -> Installation:
    """Describe the installation; its embedded server, if any, need not run yet."""
    url = postgres.dsn(DATABASE) if postgres else _named(settings.database_url)
    keys_url = _named(settings.keys_url) if settings.keys_url else ""
    return Installation(Server.of(url, keys_url), settings.data.absolute(), Effects())


def _named(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.partition("+")[0] not in ("postgresql", "postgres"):
        raise UserError("CASEWARDEN_DATABASE_URL is not of the form postgresql://…/database")
    if not rest.partition("/")[2].partition("?")[0]:
        raise UserError("CASEWARDEN_DATABASE_URL names no database")
    return f"postgresql://{rest}"


@contextlib.contextmanager
def running(
    settings: Settings, postgres: EmbeddedPostgres | None, *, make: bool = False
) -> Iterator[Installation]:
    """Have the databases run for the length of the block, beside whoever else uses them.

    ``postgres`` is what :func:`embedded` gave. Without ``make`` an embedded server that was never
    started is a :class:`UserError`.
    """
    from services.kernel.cluster import PostgresError

    if postgres is None:
        yield installation_of(settings, None)
        return
    if not make and not postgres.cluster.exists():
        raise UserError(f"nothing has been started under {settings.data} yet: casewarden up")
    try:
        try:
            postgres.start()
            yield installation_of(settings, postgres)
        finally:
            # also what was ended while it was started
            postgres.stop()
    except PostgresError as error:
        raise UserError(str(error)) from None


async def connect_as_owner(installation: Installation) -> asyncpg.Connection:
    """Connect as the owner of the log; raise :class:`UserError` when that cannot be done."""
    import asyncpg

    try:
        return await asyncpg.connect(installation.server.url, timeout=5)
    except asyncpg.InvalidCatalogNameError:
        raise UserError("the database does not exist yet: run casewarden migrate") from None
    except (OSError, asyncpg.PostgresError, TimeoutError) as error:
        raise UserError(f"the database cannot be reached: {error}") from None
