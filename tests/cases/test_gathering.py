"""Asks gathered into one statement: each gets its own answer, whatever becomes of the others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast
from uuid import UUID, uuid4

import asyncpg
import pytest

from services.cases.gathering import Gathering
from services.kernel.errors import Unavailable
from services.kernel.events import Service
from tests.conftest import Connect, Pools

_ECHO = (
    "select q.a, q.b from unnest($1::uuid[], $2::uuid[]) with ordinality as q(a, b, place)"
    " order by q.place"
)
_SLOW_ECHO = (
    f"with pause as materialized (select pg_sleep(0.05)) {_ECHO.replace('from', 'from pause,', 1)}"
)
_FIRST_ONLY = f"{_ECHO} limit 1"
_BROKEN = f"select 1 / 0 as a from ({_ECHO}) as q"


async def test_every_ask_gets_the_row_of_its_own_arguments(pools: Pools) -> None:
    gathering = Gathering(await pools(Service.CASES), _ECHO)
    asked = [(uuid4(), uuid4()) for _ in range(200)]
    rows = await asyncio.gather(*(gathering.ask(*pair) for pair in asked))
    assert [(row["a"], row["b"]) for row in rows] == asked


async def test_whoever_asks_as_the_last_statement_ends_is_answered() -> None:
    """Nobody relies on a task that has nothing left to do, however many have just ended."""

    class Prompt:
        @asynccontextmanager
        async def acquire(self) -> AsyncIterator["Prompt"]:
            yield self
            for _ in range(3):  # what asks meanwhile is answered by the next statement
                await asyncio.sleep(0)

        async def fetch(self, _statement: str, *columns: list[UUID]) -> list[UUID]:
            return columns[0]

        def is_closed(self) -> bool:
            return False

    gathering = Gathering(cast("asyncpg.Pool", Prompt()), "")

    async def again() -> None:
        for _ in range(5):
            one = uuid4()
            assert await gathering.ask(one) == one

    async with asyncio.timeout(5):
        await asyncio.gather(*(again() for _ in range(4)))


async def test_a_connection_is_kept_for_the_next_ask_and_given_back_soon(pools: Pools) -> None:
    pool = await pools(Service.CASES, size=1)
    gathering = Gathering(pool, _ECHO)
    one = uuid4()
    for _ in range(3):
        await gathering.ask(one, None)
        assert pool.get_idle_size() == 0, "kept"
    async with asyncio.timeout(5):
        assert await pool.fetchval("select 1") == 1  # waits until it is given back
        assert (await gathering.ask(one, None))["a"] == one


async def test_a_kept_connection_that_is_lost_costs_no_ask(pools: Pools, connect: Connect) -> None:
    gathering = Gathering(await pools(Service.CASES), _ECHO)
    owner = await connect(None)
    for _ in range(3):
        await gathering.ask(uuid4(), None)
        await owner.execute(
            "select pg_terminate_backend(pid, 1000) from pg_stat_activity"
            " where query like 'select q.a%'"
        )
        await asyncio.sleep(0.01)


async def test_whoever_hangs_up_leaves_the_others_their_answers(pools: Pools) -> None:
    gathering = Gathering(await pools(Service.CASES), _SLOW_ECHO)
    asked: list[UUID] = [uuid4() for _ in range(60)]
    tasks = [asyncio.create_task(gathering.ask(a, None)) for a in asked]
    await asyncio.sleep(0.01)
    for task in tasks[::3]:
        task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    for number, answer in enumerate(answers):
        if number % 3:
            assert isinstance(answer, asyncpg.Record)
            assert answer["a"] == asked[number]
        else:
            assert isinstance(answer, asyncio.CancelledError)


async def test_a_failed_statement_fails_every_ask_in_it_and_no_later_one(pools: Pools) -> None:
    pool = await pools(Service.CASES)
    broken = Gathering(pool, _BROKEN)
    answers = await asyncio.gather(
        *(broken.ask(uuid4(), None) for _ in range(5)), return_exceptions=True
    )
    assert all(isinstance(answer, asyncpg.DivisionByZeroError) for answer in answers)
    with pytest.raises(asyncpg.DivisionByZeroError):
        await broken.ask(uuid4(), None)


async def test_a_statement_that_answers_fewer_rows_answers_nobody(pools: Pools) -> None:
    gathering = Gathering(await pools(Service.CASES), _FIRST_ONLY)
    first = asyncio.create_task(gathering.ask(uuid4(), None))
    answers = await asyncio.gather(
        first, *(gathering.ask(uuid4(), None) for _ in range(4)), return_exceptions=True
    )
    assert all(isinstance(answer, Unavailable) for answer in answers)


async def test_who_asks_while_no_connection_is_to_be_had_is_told(pools: Pools) -> None:
    pool = await pools(Service.CASES, size=1)
    gathering = Gathering(pool, _ECHO)
    await pool.close()
    answers = await asyncio.gather(
        *(gathering.ask(uuid4(), None) for _ in range(40)), return_exceptions=True
    )
    assert all(isinstance(answer, asyncpg.InterfaceError) for answer in answers)
