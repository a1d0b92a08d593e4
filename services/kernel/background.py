"""Work that a service does again and again beside its requests, and that nobody waits for.

What fails is tried again at the next turn, whatever it was: such work never ends unseen. When each
last went well is ``casewarden_background_last_success_timestamp_seconds``, which an alert watches.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from services.kernel import telemetry
from services.kernel.database import CONNECTION_ERRORS
from services.kernel.errors import Problem

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
