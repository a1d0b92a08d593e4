"""Work beside the requests: it goes on whatever it meets, and is seen when it does not go well."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import structlog
from prometheus_client import REGISTRY

from services.kernel import background
from services.kernel.background import ended, every, patiently
from services.kernel.errors import NotFound, Unavailable

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


class Work:
    """Meets these errors in turn, and then goes well."""

    def __init__(self, *errors: Exception) -> None:
        self.left = list(errors)

    async def __call__(self) -> str:
        if self.left:
            raise self.left.pop(0)
        return "done"


async def test_what_a_start_needs_is_tried_again_while_the_database_is_slow() -> None:
    work = Work(Unavailable(), TimeoutError(), ConnectionRefusedError())
    assert await patiently(work) == "done"


async def test_what_does_not_pass_by_itself_is_raised_at_once() -> None:
    for error in (NotFound(), ValueError("never")):
        work = Work(error, error)
        with pytest.raises(type(error)):
            await patiently(work)
        assert len(work.left) == 1
    work = Work(Unavailable(), Unavailable())
    with pytest.raises(Unavailable):
        await patiently(work, hopeless=lambda: "stopped")
    assert len(work.left) == 1


async def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "_START_S", 0.3)
    async with asyncio.timeout(5):
        with pytest.raises(Unavailable):
            await patiently(Work(*(Unavailable() for _ in range(1_000))))


async def test_work_that_loses_its_cancellation_to_an_error_is_ended_all_the_same() -> None:
    """As a rollback does, over a connection that breaks at that moment."""
    began, lost = asyncio.Event(), 0

    async def work() -> None:
        nonlocal lost
        began.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            lost += 1
            if lost == 1:
                raise ConnectionError from None
            raise

    async with asyncio.timeout(10):
        task = asyncio.create_task(every(0.001, work, "stubborn end", at_once=True))
        await began.wait()
        await ended(task)
    assert task.cancelled()
    assert lost == 2
