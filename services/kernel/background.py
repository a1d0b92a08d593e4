"""Work beside the requests: done again and again, or once at the start; and how it is ended.

What fails is tried again at the next turn, whatever it was: such work never ends unseen. When each
last went well is ``casewarden_background_last_success_timestamp_seconds``, which an alert watches.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import stamina
import structlog

from services.kernel import telemetry
from services.kernel.database import CONNECTION_ERRORS, passes
from services.kernel.errors import Problem, Unavailable

T = TypeVar("T")
_START_S: Final = 60.0
_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 2.0
_logger = structlog.get_logger(__name__)


async def every(
    seconds: float, work: Callable[[], Awaitable[object]], name: str, *, at_once: bool = False
) -> None:
    """Do ``work`` every ``seconds`` until cancelled; the first time now when ``at_once``.

    ``name`` is the task's in metrics and logs. An error is logged by its type and place only.
    """
    succeeded = telemetry.BACKGROUND_LAST_SUCCESS.labels(name)
    # From here on its silence counts, whether or not it ever goes well.
    succeeded.set_to_current_time()
    if not at_once:
        await asyncio.sleep(seconds)
    while True:
        try:
            await work()
        except (Problem, *CONNECTION_ERRORS) as error:
            _logger.warning("background_waiting", task=name, error=type(error).__name__)
        except Exception as error:  # noqa: BLE001 - the next turn may go well
            _logger.error("background_failed", task=name, **telemetry.described(error))  # noqa: TRY400 - a message may quote what it was given
        else:
            succeeded.set_to_current_time()
        await asyncio.sleep(seconds)


async def patiently(
    work: Callable[[], Awaitable[T]], *, hopeless: Callable[[], object] = bool
) -> T:
    """Return what ``work`` does, tried again for a minute while the database is slow or away.

    For what a service needs before it can serve at all; ``work`` may have been done in part. Raises
    what it last met: at once when that does not pass by itself, or when ``hopeless`` says so.
    """

    def worth_it(error: Exception) -> bool:
        return passes(error) and not hopeless()

    attempts = stamina.retry_context(
        on=worth_it,
        attempts=None,
        timeout=_START_S,
        wait_initial=_PAUSE_S,
        wait_max=_LONGEST_PAUSE_S,
    )
    async for attempt in attempts:
        with attempt:
            return await work()
    raise Unavailable  # never reached: the last attempt raises what it met


async def ended(*tasks: asyncio.Task[None]) -> None:
    """Cancel ``tasks`` and return when they have ended, whatever each ended with.

    Told again each second: where a connection breaks as the cancellation comes, the rollback's own
    error takes its place, and the task goes on.
    """
    running = {task for task in tasks if not task.done()}
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=1)
    await asyncio.gather(*tasks, return_exceptions=True)
