"""Asks that arrive while a statement is at the database go out together in the next one.

A statement takes arrays, one element for each ask, and answers one row for each, in order: one
snapshot for all of them, taken after the last of them asked. Nothing is kept between statements.
A lone ask waits for nobody.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

import asyncpg

from services.kernel.errors import Unavailable

_MOST: Final = 32
#: statements at the database at once: while one is answered, the next gathers
_AT_ONCE: Final = 2

_Ask = tuple[tuple[object, ...], asyncio.Future[asyncpg.Record]]


class Gathering:
    """Asks one statement on behalf of many."""

    def __init__(self, pool: asyncpg.Pool, statement: str) -> None:
        self._pool = pool
        self._statement = statement
        self._waiting: deque[_Ask] = deque()
        self._running: set[asyncio.Task[None] | None] = set()

    async def ask(self, *arguments: object) -> asyncpg.Record:
        """Return the row for these arguments; raise what the statement raised for all in it."""
        answer: asyncio.Future[asyncpg.Record] = asyncio.get_running_loop().create_future()
        self._waiting.append((arguments, answer))
        if len(self._running) < _AT_ONCE:
            task = asyncio.create_task(self._run())
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return await answer

    async def _run(self) -> None:
        while self._waiting:
            asks: list[_Ask] | None = None
            try:
                async with self._pool.acquire() as connection:
                    # Told before the connection is given back, which takes a while of its own.
                    while asks := self._taken():
                        given = zip(*(arguments for arguments, _ in asks), strict=True)
                        rows = await connection.fetch(self._statement, *map(list, given))
                        _tell(asks, rows)
            except Exception as error:  # noqa: BLE001 - whoever asked is told, whatever it is
                _fail(self._taken() if asks is None else asks, error)
            except asyncio.CancelledError:
                _fail(asks or (), Unavailable())
                raise
        # At once, not when the loop calls back: whoever asks in between would wait for nobody.
        self._running.discard(asyncio.current_task())

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
