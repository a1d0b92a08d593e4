"""Serves some services until a signal: what ``up`` and ``serve`` have in common."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from services.installation import UserError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine, Sequence
    from typing import Any

    from services.kernel.events import Service
    from services.kernel.postgres import EmbeddedPostgres
    from services.kernel.runtime import Installation
    from services.kernel.settings import Settings
    from services.server import Signals


async def serve_until_signalled(
    settings: Settings,
    installation: Installation,
    services: Sequence[Service],
    claimed: socket.socket,
    postgres: EmbeddedPostgres | None,
    signals: Signals,
    ready: Callable[[], None],
) -> None:
    """Build, start, serve, drain, stop: in that order, whatever is signalled how often.

    The embedded server is kept alive meanwhile; stopping it is the caller's, after this returns.
    """
    from services.app import House
    from services.kernel import telemetry
    from services.server import serve

    if settings.log_level not in logging.getLevelNamesMapping():
        raise UserError(f"CASEWARDEN_LOG_LEVEL is not a level: {settings.log_level}")
    telemetry.configure_logging(settings.log_format, settings.log_level)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    stop = signals.stop_event()
    async with _beside(postgres.supervise() if postgres else None):
        house = await _built(House, settings, installation, services)
        try:
            await house.start()
            await serve(house, claimed, settings, stop, ready)
        finally:
            await house.stop()


async def _built(
    house: type[Any], settings: Settings, installation: Installation, services: Sequence[Service]
) -> Any:  # noqa: ANN401 - a House, imported late
    import asyncpg

    from services.kernel.database import CONNECTION_ERRORS

    try:
        return await house.build(installation, settings, services)
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidPasswordError):
        raise UserError(
            "the database does not know this installation's roles: run casewarden migrate"
        ) from None
    except (asyncpg.InvalidCatalogNameError, asyncpg.UndefinedTableError):
        raise UserError("the database is not migrated: run casewarden migrate") from None
    except CONNECTION_ERRORS as error:
        raise UserError(f"the database cannot be reached: {error}") from None


@contextlib.asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None] | None) -> Any:  # noqa: ANN401
    """Run ``work`` for the length of the block."""
    task = None if work is None else asyncio.create_task(work)
    try:
        yield
    finally:
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
