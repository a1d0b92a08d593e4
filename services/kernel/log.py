"""Appending to the log: group commit over the one function that writes.

Place in the flow: ``decision -> domain -> append -> projection``. This module owns how groups of
events reach ``log.append`` and how their answers come back. It decides nothing, retries no
decision, and opens nothing.

Guarantees: an awaited :meth:`Log.append` that returns is durable. A group lands whole or not at
all, whatever its neighbours do. After a lost connection the same events are offered again by id
and are never stored twice. Non-guarantee: an append that raised :class:`Unavailable` may still
have landed; whoever asked has been shown nothing.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from typing import Final

import asyncpg
import structlog

from services.kernel import telemetry
from services.kernel.database import CONNECTION_ERRORS, is_connection_error
from services.kernel.errors import Unavailable
from services.kernel.events import Service
from services.kernel.groups import APPEND, Entry, Group, arguments, bodies_of

_MAX_GROUPS: Final = 256
_MAX_QUEUE: Final = 8_192
_DEADLINE_S: Final = 5.0
_logger = structlog.get_logger(__name__)


class Refused(Exception):  # noqa: N818 - an answer, not a fault
    """The log did not take a group; ``position`` says how far the caller must have read."""

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.position = position


class Stale(Refused):
    """A guard was touched after the facts were read: decide again."""


class Expired(Refused):
    """The decision's ``valid_until`` has passed: decide again."""


class VersionConflict(Refused):
    """Somebody else wrote the stream's next version: load and decide again."""


class Duplicate(Refused):
    """A once-key is already held by the event at ``position``."""


_REFUSALS: Final = {1: Stale, 2: Expired, 3: VersionConflict, 4: Duplicate}


class Log:
    """Appends for one service, through one connection, as many groups at a time as are waiting."""

    def __init__(self, pool: asyncpg.Pool, service: Service) -> None:
        self._pool = pool
        self._service = service
        self._queue: deque[Entry] = deque()
        #: taken from the queue and not answered yet
        self._offered: Sequence[Entry] = ()
        self._connection: asyncpg.pool.PoolConnectionProxy | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._appended = telemetry.EVENTS_APPENDED.labels(service, "allowed")
        self._refused = telemetry.EVENTS_APPENDED.labels(service, "refused")
        self._seconds = telemetry.APPEND_SECONDS.labels(service)
        self._unavailables = telemetry.APPEND_UNAVAILABLE.labels(service)
        self._length = telemetry.APPEND_QUEUE.labels(service)

    @property
    def service(self) -> Service:
        """Who appends."""
        return self._service

    def start(self) -> None:
        """Begin to take groups."""
        self._task = asyncio.create_task(self._run(), name=f"append-{self._service}")

    async def stop(self) -> None:
        """Append what was accepted, then stop."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task
        await self._disconnect()

    async def append(self, group: Group) -> int:
        """Append ``group`` durably; return a position by which all its facts are in the log.

        Raises a :class:`Refused` when the log says no, :class:`Unavailable` when it could not be
        made durable within five seconds, and what :func:`bodies_of` raises for a group that makes
        no sense. A caller that is cancelled while its group still waits has appended nothing;
        later, it may have.
        """
        bodies = bodies_of(group)
        if self._closing or len(self._queue) >= _MAX_QUEUE:
            self._unavailables.inc()
            raise Unavailable
        loop = asyncio.get_running_loop()
        entry = Entry(group, bodies, loop.create_future(), loop.time() + _DEADLINE_S)
        self._queue.append(entry)
        if self._timer is None:
            self._timer = loop.call_at(entry.deadline, self._expire)
        self._wake.set()
        return await entry.answer

    def _expire(self) -> None:
        """Answer who has waited to their deadline; one timer serves all, for they wait in order."""
        loop = asyncio.get_running_loop()
        self._timer = None
        for entry in (*self._offered, *self._queue):
            if entry.answer.done():
                continue
            if entry.deadline > loop.time():
                self._timer = loop.call_at(entry.deadline, self._expire)
                return
            self._unavailables.inc()
            self._settle(entry, Unavailable())

    async def _run(self) -> None:
        while not (self._closing and not self._queue):
            if not self._queue:
                self._wake.clear()
                await self._wake.wait()
                continue
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), _MAX_GROUPS))]
            self._offered = batch
            self._length.set(len(self._queue))
            try:
                await self._offer(batch)
            except Exception as error:  # noqa: BLE001 - whatever it was, the next batch is taken
                _logger.error("append_failed", **telemetry.described(error))  # noqa: TRY400 - a message may quote what it was given
                for entry in _waiting(batch):
                    self._settle(entry, Unavailable())
            self._offered = ()

    async def _offer(self, batch: Sequence[Entry]) -> None:
        """Send ``batch`` until it is answered; who is past their deadline waits no longer."""
        pause = 0.01
        while batch := _waiting(batch):
            try:
                connection = await self._connected()
                await self._settle_landed(connection, batch)
                await self._send(connection, batch)
            except CONNECTION_ERRORS as error:
                _logger.warning("append_connection_lost", error=type(error).__name__)
                await self._disconnect()
                await asyncio.sleep(pause)
                pause = min(pause * 2, 0.5)

    async def _connected(self) -> asyncpg.pool.PoolConnectionProxy:
        """Return the connection that appends, kept from batch to batch."""
        if self._connection is None:
            self._connection = await self._pool.acquire(timeout=_DEADLINE_S)
        return self._connection

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*CONNECTION_ERRORS):
                await self._pool.release(connection, timeout=1)

    async def _settle_landed(
        self, connection: asyncpg.pool.PoolConnectionProxy, batch: Sequence[Entry]
    ) -> None:
        """Answer the groups that landed although the connection that carried them was lost."""
        unsure = [e for e in _waiting(batch) if e.unsure]
        if not unsure:
            return
        ids = [e.group.events[-1].id for e in unsure]
        rows = await connection.fetch(
            "select id, position from log.event_id where id = any($1)", ids
        )
        landed = {row["id"]: row["position"] for row in rows}
        for entry in _waiting(unsure):
            position = landed.get(entry.group.events[-1].id)
            if position is not None:
                self._answer(entry, 0, position)

    async def _send(
        self, connection: asyncpg.pool.PoolConnectionProxy, batch: Sequence[Entry]
    ) -> None:
        batch = _waiting(batch)
        if not batch:
            return
        try:
            rows = await connection.fetch(APPEND, *arguments(batch), timeout=_DEADLINE_S)
        except Exception as error:
            if is_connection_error(error):
                for entry in batch:
                    entry.unsure = True
                raise
            await self._bisect(connection, batch, error)
            return
        answers = list(zip(batch, rows[0]["status"], rows[0]["at"], strict=True))
        for entry, status, position in answers:
            if status == 0 or not entry.unsure:
                self._answer(entry, status, position)
        # Refused because it had landed already, while the lost connection's server process lived?
        await self._settle_landed(connection, batch)
        for entry, status, position in answers:
            self._answer(entry, status, position)

    async def _bisect(
        self,
        connection: asyncpg.pool.PoolConnectionProxy,
        batch: Sequence[Entry],
        error: Exception,
    ) -> None:
        """Find the group that cannot be appended; its neighbours land."""
        if len(batch) == 1:
            await self._settle_landed(connection, batch)
            for entry in _waiting(batch):
                _logger.error("append_impossible", error=type(error).__name__)
                self._settle(entry, error)
            return
        middle = len(batch) // 2
        await self._send(connection, batch[:middle])
        await self._send(connection, batch[middle:])

    def _answer(self, entry: Entry, status: int, position: int | None) -> None:
        if entry.answer.done():
            return
        if status == 0 and position is not None:
            self._appended.inc(len(entry.bodies))
            self._settle(entry, position)
        else:
            self._refused.inc()
            self._settle(entry, _REFUSALS[status](-1 if position is None else position))

    def _settle(self, entry: Entry, answer: int | Exception) -> None:
        waited = asyncio.get_running_loop().time() - entry.deadline + _DEADLINE_S
        self._seconds.observe(waited)
        if isinstance(answer, Exception):
            entry.answer.set_exception(answer)
        else:
            entry.answer.set_result(answer)


def _waiting(batch: Sequence[Entry]) -> list[Entry]:
    """Return the entries that somebody still waits for."""
    return [e for e in batch if not e.answer.done()]
