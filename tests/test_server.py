"""Serving around a start: who asks meanwhile is answered, and nothing outlives its end."""

import asyncio
import resource
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import pytest
from starlette.responses import PlainTextResponse

from services.kernel.settings import Settings
from services.server import Signals, claim, serve


@dataclass
class Start:
    """A start that takes until it is told to go on, or to fail."""

    told: asyncio.Event = field(default_factory=asyncio.Event)
    error: Exception | None = None
    broken_off: bool = False

    async def __call__(self) -> None:
        try:
            await self.told.wait()
        except asyncio.CancelledError:
            self.broken_off = True
            raise
        if self.error:
            raise self.error


@dataclass
class Served:
    """What is served around a start, and who asks."""

    client: httpx.AsyncClient
    start: Start
    stop: asyncio.Event
    ready: asyncio.Event
    serving: asyncio.Task[None]

    async def status(self) -> int:
        return (await self.client.get("/")).status_code


@asynccontextmanager
async def serving() -> AsyncIterator[Served]:
    settings = Settings(port=0)
    claimed, start = claim(settings), Start()
    stop, ready = asyncio.Event(), asyncio.Event()
    app = PlainTextResponse("served")
    task = asyncio.create_task(serve(app, claimed, settings, stop, ready.set, start=start))
    url = f"http://127.0.0.1:{claimed.getsockname()[1]}"
    transport = httpx.AsyncHTTPTransport(retries=5)
    try:
        async with (
            asyncio.timeout(20),
            httpx.AsyncClient(base_url=url, transport=transport, trust_env=False) as client,
        ):
            yield Served(client, start, stop, ready, task)
    finally:
        stop.set()
        await asyncio.gather(task, return_exceptions=True)


async def test_who_asks_while_a_start_goes_on_is_answered_and_ready_comes_after_it() -> None:
    async with serving() as served:
        assert await served.status() == 200
        assert not served.ready.is_set()
        served.start.told.set()
        await served.ready.wait()
        assert await served.status() == 200
        served.stop.set()
        await served.serving
        assert not served.start.broken_off


async def test_a_start_that_fails_ends_serving_with_what_it_raised() -> None:
    async with serving() as served:
        assert await served.status() == 200
        served.start.error = ZeroDivisionError()
        served.start.told.set()
        with pytest.raises(ZeroDivisionError):
            await served.serving
        assert not served.ready.is_set()


async def test_a_stop_breaks_off_a_start() -> None:
    async with serving() as served:
        assert await served.status() == 200
        served.stop.set()
        await served.serving
        assert served.start.broken_off
        assert not served.ready.is_set()


async def test_how_many_copies_a_platform_asks_for_keeps_nothing_from_serving(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "auto")
    async with serving() as served:
        assert await served.status() == 200


@pytest.fixture
def cores() -> Iterator[None]:
    """Have a process that crashes leave its memory in a file."""
    former = resource.getrlimit(resource.RLIMIT_CORE)
    most = former[1]
    resource.setrlimit(resource.RLIMIT_CORE, (most, most))
    assert most != 0
    yield
    resource.setrlimit(resource.RLIMIT_CORE, former)


@pytest.mark.usefixtures("cores")
async def test_what_crashes_leaves_no_picture_of_its_memory() -> None:
    """SG-5: opened keys and learners are nowhere at rest but sealed."""
    async with serving() as served:
        assert await served.status() == 200
        assert resource.getrlimit(resource.RLIMIT_CORE)[0] == 0


@pytest.fixture
def hang_up() -> Iterator[None]:
    """Have a terminal that closes end a process, as it does when nobody said otherwise."""
    former = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, former)


@pytest.mark.usefixtures("hang_up")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_signal_asks_to_stop_however_often_it_comes(number: signal.Signals) -> None:
    told: list[bool] = []
    with Signals() as signals:
        signals.tell(lambda: told.append(signals.asked))
        assert not signals.asked
        signal.raise_signal(number)
        signal.raise_signal(number)
        assert told == [True, True]
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


@pytest.mark.usefixtures("hang_up")
def test_under_nohup_a_terminal_that_closes_stops_nothing() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with Signals() as signals:
        signal.raise_signal(signal.SIGHUP)
        assert not signals.asked
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
