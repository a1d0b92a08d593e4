"""Serves some services until a signal: what ``up`` and ``serve`` have in common."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from typing import TYPE_CHECKING, Final

from services.installation import UserError

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
    from typing import Any

    from services.kernel.events import Service
    from services.kernel.postgres import EmbeddedPostgres
    from services.kernel.runtime import Installation
    from services.kernel.settings import Settings
    from services.server import Signals


#: ``gc.set_threshold``. Neither requests nor folds leave cycles behind, so looking often finds
#: nothing: only objects still in use. The first number is more than 64 requests hold at a time. At
#: Python's default (700) the collector took an eighth of the processor; at 20,000, under load, too.
COLLECTED: Final = (100_000, 20, 20)


async def serve_until_signalled(
    settings: Settings,
    installation: Installation,
    services: Sequence[Service],
    claimed: socket.socket,
    postgres: EmbeddedPostgres | None,
    signals: Signals,
    ready: Callable[[], None],
    check: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Check, build, start, serve, drain, stop: in that order, however often a signal comes.

    The port answers from the beginning: 503, until everything has started. A database that is slow
    or away is waited for, as long as :func:`patiently` does.

    The embedded server is kept alive meanwhile; stopping it is for the caller, afterwards.
    """
    import structlog

    from services.app import Door, House
    from services.kernel.background import patiently
    from services.kernel.logs import configure_logging
    from services.server import serve

    gc.set_threshold(*COLLECTED)
    configure_logging(settings.log_format, settings.log_level)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    if installation.server.unproven:
        structlog.get_logger(__name__).warning(
            "database_unproven", hint="say ?sslmode=verify-full in its address (docs/operations.md)"
        )
    stop = signals.stop_event()
    async with (
        _beside(postgres.supervise() if postgres else None),
        contextlib.AsyncExitStack() as started,
    ):
        door = Door()

        async def start() -> None:
            with as_user_errors():
                if check is not None:
                    await patiently(check)
                house = await patiently(lambda: House.build(installation, settings, services))
                door.let_in(house)
                await house.start()
            started.push_async_callback(house.stop)
            _settle()

        await serve(door, claimed, settings, stop, ready, start=start)


def _settle() -> None:
    """Keep the collector of cycles from looking again and again at what stays for good."""
    gc.collect()
    gc.freeze()


@contextlib.contextmanager
def as_user_errors() -> Iterator[None]:
    """Turn what keeps services from starting into a :class:`UserError` that says what to do."""
    import asyncpg

    from services.kernel.database import CONNECTION_ERRORS
    from services.kernel.errors import Unavailable

    try:
        yield
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidPasswordError):
        raise UserError(
            "the database does not know this installation's roles: run casewarden migrate"
        ) from None
    except (asyncpg.InvalidCatalogNameError, asyncpg.UndefinedTableError):
        raise UserError("the database is not migrated: run casewarden migrate") from None
    except Unavailable:
        raise UserError(
            "nothing is served: the log cannot be written, or a fold of it has stopped"
        ) from None
    except CONNECTION_ERRORS as error:
        raise UserError(
            f"the database cannot be reached: {str(error) or type(error).__name__}"
        ) from None


@contextlib.asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None] | None) -> AsyncIterator[None]:
    """Run ``work`` for the length of the block."""
    task = None if work is None else asyncio.create_task(work)
    try:
        yield
    finally:
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
