"""Asks that arrive while a statement is at the database go out together in the next one.

A statement takes arrays, one element for each ask, and answers one row for each, in order: one
snapshot for all of them, taken after the last of them asked. Nothing is kept between statements.
A lone ask waits for nobody.
"""

import asyncio
from collections import deque
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
            some = [self._waiting.popleft() for _ in range(min(_MOST, len(self._waiting)))]
            asks = [ask for ask in some if not ask[1].done()]
            if asks:
                await self._answer(asks)
        # At once, not when the loop calls back: whoever asks in between would wait for nobody.
        self._running.discard(asyncio.current_task())

    async def _answer(self, asks: list[_Ask]) -> None:
        columns = [list(column) for column in zip(*(given for given, _ in asks), strict=True)]
        problem: Exception = Unavailable()
        rows: list[asyncpg.Record] = []
        try:
            rows = await self._pool.fetch(self._statement, *columns)
        except Exception as error:  # noqa: BLE001 - whoever asked is told, whatever it is
            problem = error
        finally:
            # Also when this task is cancelled nobody waits for ever.
            for number, (_, answer) in enumerate(asks):
                if answer.done():
                    continue
                if len(rows) == len(asks):
                    answer.set_result(rows[number])
                else:
                    answer.set_exception(problem)
