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
    from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
    from typing import Any

    from services.kernel.events import Service
    from services.kernel.postgres import EmbeddedPostgres
    from services.kernel.runtime import Installation
    from services.kernel.settings import Settings
    from services.server import Signals


#: Neither requests nor folds leave cycles behind, so the collector may wait for more than its 700
#: objects, and for more than sixty-four requests hold at a time: it would only look at what is in
#: use. At its defaults it took an eighth of the processor, at 20,000 as much under load.
_COLLECTED: Final = (100_000, 20, 20)


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
    """Check, build, start, serve, drain, stop: in that order, whatever is signalled how often.

    The port is listened on from before the check: until all is started the answer is 503. A
    database that is slow or away is waited for as long as :func:`patiently` does.

    The embedded server is kept alive meanwhile; stopping it is the caller's, after this returns.
    """
    from services.app import Door, House
    from services.kernel import telemetry
    from services.kernel.background import patiently
    from services.server import serve

    gc.set_threshold(*_COLLECTED)
    telemetry.configure_logging(settings.log_format, settings.log_level)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    stop = signals.stop_event()
    async with (
        _beside(postgres.supervise() if postgres else None),
        contextlib.AsyncExitStack() as started,
    ):
        door = Door()

        async def start() -> None:
            with told():
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
