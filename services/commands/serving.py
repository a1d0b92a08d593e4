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
    from collections.abc import Callable, Coroutine, Iterator, Sequence
    from typing import Any

    from services.kernel.events import Service
    from services.kernel.postgres import EmbeddedPostgres
    from services.kernel.runtime import Installation
    from services.kernel.settings import Settings
    from services.server import Signals


#: Neither requests nor folds leave cycles behind, so the collector may wait for more than its 700
#: objects; at its defaults it took an eighth of the processor, and a quarter of folding.
_COLLECTED: Final = (20_000, 20, 20)


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
    gc.set_threshold(*_COLLECTED)
    telemetry.configure_logging(settings.log_format, settings.log_level)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    stop = signals.stop_event()
    async with _beside(postgres.supervise() if postgres else None):
        with told():
            house = await House.build(installation, settings, services)
            if not await _unless(stop, house.start()):
                return
        _settle()
        try:
            await serve(house, claimed, settings, stop, ready)
        finally:
            await house.stop()


def _settle() -> None:
    """Keep the collector of cycles from looking again and again at what stays for good."""
    gc.collect()
    gc.freeze()


async def _unless(stop: asyncio.Event, start: Coroutine[Any, Any, None]) -> bool:
    """Do ``start``, or break it off when ``stop`` is set; say whether it was done."""
    starting, stopping = asyncio.create_task(start), asyncio.create_task(stop.wait())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    done = starting.done()
    if not done:
        starting.cancel()
    stopping.cancel()
    await asyncio.wait({starting, stopping})
    if done:
        starting.result()
    return done


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Raise what keeps services from starting as a :class:`UserError`."""
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
async def _beside(work: Coroutine[Any, Any, None] | None) -> Any:  # noqa: ANN401
    """Run ``work`` for the length of the block."""
    task = None if work is None else asyncio.create_task(work)
    try:
        yield
    finally:
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
