"""Work beside the requests: it goes on whatever it meets, and is seen when it does not go well."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog
from prometheus_client import REGISTRY

from services.kernel.background import every
from services.kernel.errors import Unavailable

NAME = "casewarden_background_last_success_timestamp_seconds"


@asynccontextmanager
async def running(work: Callable[[], Awaitable[object]], task: str) -> AsyncIterator[None]:
    task_ = asyncio.create_task(every(0.001, work, task, at_once=True))
    try:
        yield
    finally:
        task_.cancel()
        await asyncio.gather(task_, return_exceptions=True)


def succeeded(task: str) -> float:
    value = REGISTRY.get_sample_value(NAME, {"task": task})
    assert value is not None
    return value


async def test_it_goes_on_whatever_it_meets() -> None:
    errors = [ValueError("secret"), ConnectionError(), Unavailable(), KeyError("secret")]
    done = asyncio.Event()

    async def work() -> None:
        if errors:
            raise errors.pop()
        done.set()

    with structlog.testing.capture_logs() as logs:
        async with running(work, "stubborn"), asyncio.timeout(5):
            await done.wait()
    assert [log["error"] for log in logs] == [
        "KeyError",
        "Unavailable",
        "ConnectionError",
        "ValueError",
    ]
    assert "secret" not in repr(logs)


async def test_only_what_goes_well_moves_its_time() -> None:
    turns, failing = 0, False

    async def work() -> None:
        nonlocal turns
        turns += 1
        if failing:
            raise ValueError

    async def passed(count: int) -> None:
        wanted = turns + count
        async with asyncio.timeout(5):
            while turns < wanted:
                await asyncio.sleep(0.001)

    async with running(work, "half"):
        await passed(3)
        failing = True
        await passed(2)
        stood = succeeded("half")
        await passed(3)
        assert succeeded("half") == stood
        failing = False
        await passed(3)
        assert succeeded("half") > stood


async def test_what_never_went_well_is_seen_from_its_beginning() -> None:
    async def work() -> None:
        raise ValueError

    async with running(work, "never"):
        await asyncio.sleep(0.01)
        assert succeeded("never") > 0
