"""Refusals that anybody can cause, counted and appended as windows: nobody may fill the log.

A request without a valid session, or a login that was not even tried, costs its sender nothing;
one event each would let anybody fill the log. They are counted per kind and address and appended
once a minute, one observation a kind and address, for a bounded number of addresses: the others
are lumped together in one observation without an address.

Guarantees: what was counted is appended at the next flush, and at :meth:`RefusalWindows.stop`.
Non-guarantee: a process that is killed, or a log that is away, loses the counts of a minute.
"""

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import structlog
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from services.kernel.background import ended, every
from services.kernel.effects import Effects
from services.kernel.errors import Unauthenticated
from services.kernel.events import Event, Origin, Outcome
from services.kernel.groups import Group
from services.kernel.http import Call, call_without_purpose
from services.kernel.log import Log
from services.kernel.origins import Origins, network_of
from services.kernel.problems import as_problem, problem_response

WINDOW_S: Final = 60
MAX_ADDRESSES: Final = 256
_PER_GROUP: Final = 64
_logger = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Window:
    call: Call
    since: datetime
    count: int = 0


class RefusalWindows:
    """Counts refusals by kind (an event type of this service) and address; see the module."""

    def __init__(self, log: Log, origins: Origins, effects: Effects) -> None:
        self._log = log
        self._origins = origins
        self._effects = effects
        self._windows: dict[tuple[str, str], _Window] = {}
        self._task: asyncio.Task[None] | None = None

    def count(self, kind: str, ip: str, call: Call) -> None:
        """Count one refusal of ``kind`` from ``ip``; ``call`` gives the window its origin."""
        key = (kind, network_of(ip))
        if key not in self._windows and len(self._windows) >= MAX_ADDRESSES:
            key, call = (kind, "others"), replace(call, ip="", user_agent="")
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = _Window(call, self._effects.now())
        window.count += 1

    def count_unauthenticated(self, app: FastAPI, kind: str) -> None:
        """Count, as ``kind``, every :class:`Unauthenticated` that ``app`` answers."""

        async def render(request: Request, error: Exception) -> Response:
            call = call_without_purpose(request)
            self.count(kind, call.ip, call)
            return problem_response(as_problem(error), call.request_id)

        app.add_exception_handler(Unauthenticated, render)

    async def flush(self) -> None:
        """Append one observation for each window, and begin anew."""
        windows, self._windows = self._windows, {}
        events = [await self._event(kind, window) for (kind, _), window in windows.items()]
        for first in range(0, len(events), _PER_GROUP):
            await self._log.append(Group(events[first : first + _PER_GROUP]))

    async def _event(self, kind: str, window: _Window) -> Event:
        now = self._effects.now()
        event_id = self._effects.new_id()
        origin = await self._origins.seal(event_id, window.call, None)
        seconds = max(1, round((now - window.since).total_seconds()))
        return Event(
            id=event_id,
            type=kind,
            recorded_at=now,
            origin=Origin(sealed=origin.sealed),
            action="authenticate",
            outcome=Outcome.DENIED,
            data={"count": window.count, "window_s": seconds},
        )

    def start(self) -> None:
        """Begin to flush once a minute."""
        work = every(WINDOW_S, self.flush, f"{self._log.service} refusals")
        self._task = asyncio.create_task(work, name="refusal-windows")

    async def stop(self) -> None:
        """Append what is counted, then stop; call it before the log stops."""
        if self._task is not None:
            await ended(self._task)
        try:
            await self.flush()
        except Exception as error:  # noqa: BLE001 - the service stops all the same
            _logger.warning("refusals_not_appended", error=type(error).__name__)
