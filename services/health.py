"""What ``/healthz`` says: whether everything is served, and if not, whether that passes by itself.

Looks at what some services fold and whether their database takes events. Place in the flow: beside
it; nobody logs in to ask, so an answer stands for half a second, whoever asks and how often.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from services.kernel import telemetry
from services.kernel.database import CONNECTION_ERRORS
from services.kernel.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from services.kernel.projector import Projector
    from services.kernel.runtime import Runtime

_LOOK_S: Final = 1.0
#: of that, what folding the newest events may take
_FOLD_S: Final = 0.8
#: positions; more than can be folded within that time, so that nobody begins to
_FAR: Final = 10_000
_STANDS_S: Final = 0.5
_logger = structlog.get_logger(__name__)

OK: Final[Mapping[str, object]] = {"status": "ok"}
#: not everything that a service needs before it serves is done yet
STARTING: Final[Mapping[str, object]] = {"status": "starting"}
#: a fold has stopped, or the log cannot be read or takes no events
UNAVAILABLE: Final[Mapping[str, object]] = {"status": "unavailable"}


class Health:
    """The health of some services together. Until :attr:`started` is set it is not good."""

    def __init__(self, runtimes: Sequence[Runtime], projectors: Sequence[Projector]) -> None:
        self._runtimes = runtimes
        self._projectors = projectors
        self._looking = asyncio.Lock()
        self._said, self._until = STARTING, 0.0
        self.started = False

    async def said(self) -> Mapping[str, object]:
        """Return :meth:`look` as it was half a second ago at most; one at a time looks."""
        loop = asyncio.get_running_loop()
        async with self._looking:
            if loop.time() >= self._until:
                self._said = await self.look()
                self._until = loop.time() + _STANDS_S
            return self._said

    async def look(self) -> Mapping[str, object]:
        """Return how it is now: :data:`OK`, or what keeps it from that.

        ``catching_up`` says of the read model furthest behind how many percent of the log it has
        folded. How long the log is, which tells activity, is for the service's own log and metrics.
        """
        try:
            async with asyncio.timeout(_LOOK_S):
                if not all(await asyncio.gather(*map(_writable, self._runtimes))):
                    return UNAVAILABLE
                whole = all(await asyncio.gather(*map(self._follows, self._projectors)))
        except (TimeoutError, Unavailable, *CONNECTION_ERRORS):
            return UNAVAILABLE
        except Exception as error:  # noqa: BLE001 - whatever it is, what is served is not whole
            _logger.warning("unhealthy", **telemetry.described(error))
            return UNAVAILABLE
        if whole:
            return OK if self.started else STARTING
        behind = max((p.progress for p in self._projectors), key=lambda one: one.to_fold)
        percent = 100 * behind.folded // (behind.folded + behind.to_fold)
        return {"status": "catching_up", "percent": percent}

    async def _follows(self, projector: Projector) -> bool:
        """Say whether the newest event is folded; raise :class:`Unavailable` when a fold stopped.

        While services start, or when it is far behind, nothing is folded to find out.
        """
        projector.check()
        if not self.started or projector.progress.to_fold > _FAR:
            return not projector.progress.to_fold
        try:
            await projector.caught_up(within_s=_FOLD_S)
        except Unavailable:
            if projector.stopped or not projector.progress.to_fold:
                raise
            return False
        return True


async def _writable(runtime: Runtime) -> bool:
    return bool(
        await runtime.pool.fetchval(
            "select not pg_is_in_recovery() and current_setting('transaction_read_only') = 'off'"
        )
    )
