"""Asks that arrive while a statement is at the database go out together in the next one.

A statement takes arrays, one element for each ask, and answers one row for each, in order: one
snapshot for all of them, taken after the last of them asked. No row is kept between statements; a
connection is, for a moment, since taking one and giving it back costs a lone ask a tenth of its
time. A lone ask waits for nobody.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from typing import Final

import asyncpg

from services.kernel.errors import Unavailable

_MOST: Final = 32
#: statements at the database at once: while one is answered, the next gathers
_AT_ONCE: Final = 2
#: how long a connection is kept for the next ask
_LINGER_S: Final = 0.05

_Connection = asyncpg.pool.PoolConnectionProxy
_Ask = tuple[tuple[object, ...], asyncio.Future[asyncpg.Record]]


class Gathering:
    """Asks one statement on behalf of many."""

    def __init__(self, pool: asyncpg.Pool, statement: str) -> None:
        self._pool = pool
        self._statement = statement
        self._waiting: deque[_Ask] = deque()
        self._running: set[asyncio.Task[None] | None] = set()
        #: those of the running that have a connection and nothing to ask
        self._idle: list[asyncio.Future[None]] = []

    async def ask(self, *arguments: object) -> asyncpg.Record:
        """Return the row for these arguments; raise what the statement raised for all in it."""
        answer: asyncio.Future[asyncpg.Record] = asyncio.get_running_loop().create_future()
        self._waiting.append((arguments, answer))
        if self._idle:
            self._idle.pop().set_result(None)
        elif len(self._running) < _AT_ONCE:
            task = asyncio.create_task(self._run())
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return await answer

    async def _run(self) -> None:
        while self._waiting:
            asks: list[_Ask] | None = None
            try:
                async with self._pool.acquire() as connection:
                    while (asks := self._taken()) or await self._more(connection):
                        if asks:
                            given = zip(*(arguments for arguments, _ in asks), strict=True)
                            rows = await connection.fetch(self._statement, *map(list, given))
                            _tell(asks, rows)
            except Exception as error:  # noqa: BLE001 - whoever asked is told, whatever it is
                _fail(asks or self._taken(), error)
            except asyncio.CancelledError:
                _fail(asks or (), Unavailable())
                raise
        # At once, not when the loop calls back: whoever asks in between would wait for nobody.
        self._running.discard(asyncio.current_task())

    async def _more(self, connection: _Connection) -> bool:
        """Wait a moment for the next ask; say whether it can go out over ``connection``."""
        loop = asyncio.get_running_loop()
        asked = loop.create_future()
        self._idle.append(asked)
        late = loop.call_later(_LINGER_S, self._no_longer, asked)
        try:
            await asked
        finally:
            late.cancel()
            self._no_longer(asked)
        # of a connection that was lost meanwhile nothing is left to ask, not even that
        with contextlib.suppress(asyncpg.InterfaceError):
            return bool(self._waiting) and not connection.is_closed()
        return False

    def _no_longer(self, asked: asyncio.Future[None]) -> None:
        """Take a connection that waits for the next ask from those that do."""
        if asked in self._idle:
            self._idle.remove(asked)
        if not asked.done():
            asked.set_result(None)

    def _taken(self) -> list[_Ask]:
        """Take the next asks that somebody still waits for; none when there are none."""
        asks: list[_Ask] = []
        while self._waiting and len(asks) < _MOST:
            ask = self._waiting.popleft()
            if not ask[1].done():
                asks.append(ask)
        return asks


def _tell(asks: list[_Ask], rows: Sequence[asyncpg.Record]) -> None:
    """Give each ask its row; none of them when there is not a row for each."""
    if len(rows) != len(asks):
        raise Unavailable
    for (_, answer), row in zip(asks, rows, strict=True):
        if not answer.done():
            answer.set_result(row)


def _fail(asks: Sequence[_Ask], problem: Exception) -> None:
    for _, answer in asks:
        if not answer.done():
            answer.set_exception(problem)
