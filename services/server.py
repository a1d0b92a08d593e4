"""Runs an application on one port until it is told to stop, losing no request it accepted.

SIGINT, SIGTERM and SIGHUP (a terminal that is closed) stop accepting, let what was accepted be
answered, and return; repeating them changes nothing. A SIGHUP that is ignored when this begins, as
under nohup, stays ignored. What runs behind the application is stopped by the caller, after this
returns.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import signal
import socket
from typing import TYPE_CHECKING, Any, Final, Self

import uvicorn

from services.installation import UserError
from services.kernel.background import ended
from services.protocol import BoundedProtocol

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from starlette.types import ASGIApp

    from services.kernel.settings import Settings

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_DRAIN_S: Final = 20
_BACKLOG: Final = 2048


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: there a second Ctrl-C drops what was accepted."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def claim(settings: Settings) -> socket.socket:
    """Bind the port without listening yet; raise :class:`UserError` when it is taken."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    claimed = socket.socket(family, socket.SOCK_STREAM)
    claimed.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        claimed.bind((settings.host, settings.port))
    except OSError as error:
        claimed.close()
        raise UserError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror};"
            " set CASEWARDEN_PORT to another port"
        ) from None
    return claimed


class Signals:
    """SIGINT, SIGTERM and SIGHUP ask to stop; held for the length of the block, however often."""

    def __init__(self) -> None:
        self.asked = False
        self._tell: Callable[[], object] | None = None
        self._former: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue
            self._former[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, former in self._former.items():
            signal.signal(number, former)

    def _ask(self, *_: object) -> None:
        self.asked = True
        if self._tell is not None:
            self._tell()

    def tell(self, who: Callable[[], object] | None) -> None:
        """Call ``who`` when a signal comes, and at once when one came already."""
        self._tell = who
        if self.asked and who is not None:
            who()

    def stop_event(self) -> asyncio.Event:
        """Return an event of the running loop that is set once a signal came."""
        event, loop = asyncio.Event(), asyncio.get_running_loop()
        self.tell(lambda: loop.is_closed() or loop.call_soon_threadsafe(event.set))
        return event


async def serve(
    app: ASGIApp,
    claimed: socket.socket,
    settings: Settings,
    stop: asyncio.Event,
    ready: Callable[[], None],
    *,
    start: Callable[[], Coroutine[Any, Any, None]] | None = None,
) -> None:
    """Serve ``app`` on the claimed port until ``stop`` is set and everything is answered.

    ``start`` is done while the port is listened on already, so that who asks is told; ``stop``
    breaks it off, and what it raises ends serving. ``ready`` is called after it.

    From then on the process, should it crash, leaves no picture of its memory, with opened keys and
    learners in it, in a file (SG-5).
    """
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))
    # What strangers send is no news: not a line for each form that is none.
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
    trusted = settings.trusted_proxies
    config = uvicorn.Config(
        app,
        loop="none",
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        # as with forms: not a line for whatever is not HTTP
        log_level="error",
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=bool(trusted),
        # said, however little they matter here: else the environment is asked (FORWARDED_ALLOW_IPS,
        # and WEB_CONCURRENCY, of which what is no number ends serving)
        forwarded_allow_ips=trusted,
        workers=1,
        timeout_graceful_shutdown=_DRAIN_S,
        backlog=_BACKLOG,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[claimed]))
    stopping = asyncio.create_task(stop.wait())
    try:
        while not (server.started or serving.done() or stop.is_set()):  # noqa: ASYNC110 - uvicorn tells by an attribute only
            await asyncio.sleep(0.01)
        if server.started and (start is None or await _done(start(), stopping)):
            ready()
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        server.should_exit = True
        stopping.cancel()
        await serving


async def _done(work: Coroutine[Any, Any, None], stopping: asyncio.Task[Any]) -> bool:
    """Do ``work``, or break it off when ``stopping`` is done; say whether it was done."""
    working = asyncio.create_task(work)
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
            return True
        return False
    finally:
        await ended(working)
