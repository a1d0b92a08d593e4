"""The edge: request ids, body limits, the deadline, and metrics.

One pure ASGI middleware (:class:`Boundary`) stands around everything. It answers every error that
comes out as problem+json (:mod:`services.kernel.problems`), and holds a request's one deadline.
"""

import asyncio
import re
from functools import lru_cache
from time import perf_counter
from typing import Final
from uuid import uuid4

import asyncpg
import structlog
from prometheus_client import Counter, Histogram
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.kernel import errors, telemetry
from services.kernel.bodies import SMALL_BYTES, most_bytes_of
from services.kernel.database import is_connection_error
from services.kernel.errors import Problem
from services.kernel.events import Service
from services.kernel.http import REQUEST_ID
from services.kernel.problems import as_problem, marks, problem_response

#: from having read a request to beginning its answer, everything tried again included
DEADLINE_S: Final = 5.0
_BODY_S: Final = 10.0
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
#: what one reader of a path takes for a separator or a step, and another does not (RFC 3986, 2.2)
_AMBIGUOUS: Final = re.compile(rb"%2f|%5c|\\|(?:^|/)(?:\.|%2e){1,2}(?:/|\Z)", re.IGNORECASE)
_REQUEST_ID: Final = re.compile(rf"{REQUEST_ID}\Z")
_logger = structlog.get_logger(__name__)


def problem_unasked(problem: Problem) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Return headers and body of ``problem`` for a connection on which no request was made out."""
    request_id = str(uuid4())
    response = problem_response(problem, request_id)
    return [*response.raw_headers, *marks(request_id)], bytes(response.body)


def _unexpected(error: Exception, problem: Problem) -> bool:
    """Say whether ``error`` is to be looked into: no answer of ours, and no lost connection."""
    if isinstance(error, ClientDisconnect):
        return False
    refused = isinstance(error, asyncpg.PostgresError) and not is_connection_error(error)
    return refused or type(problem) is Problem


class _Exchange:
    """One request and its answer: what is read is bounded, in bytes and in time."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        announced = dict(scope["headers"]).get(b"content-length", b"")
        #: bytes of the body: announced, or, where more of them came, received
        self._bytes = int(announced[:20]) if announced.isdigit() else 0
        self._received = 0
        self._read_by = asyncio.get_running_loop().time() + _BODY_S
        self._deadline: asyncio.Timeout | None = None
        self._reading = self._read = self._replaced = False
        self.request_id = _request_id(scope)
        #: of the answer; 0 until it has begun
        self.status = 0

    async def run(self, app: ASGIApp) -> None:
        """Have ``app`` answer; raise ``TimeoutError`` when it has not begun to in time."""
        async with asyncio.timeout(DEADLINE_S) as self._deadline:
            await app(self._scope, self.receive, self.answer)

    def _allow(self, until: float | None) -> None:
        if self._deadline is not None and not self._deadline.expired():
            self._deadline.reschedule(until)

    async def receive(self) -> Message:
        """Return the next message; raise :class:`TooLarge` instead of one too many bytes."""
        if self._too_large():
            raise errors.TooLarge
        if self._read:
            return await self._receive()
        self._reading = True
        self._allow(self._read_by)
        message = await self._receive()
        self._reading = False
        self._allow(asyncio.get_running_loop().time() + DEADLINE_S)
        self._read = not message.get("more_body", False)
        self._received += len(message.get("body", b""))
        self._bytes = max(self._bytes, self._received)
        if self._too_large():
            raise errors.TooLarge
        return message

    def _too_large(self) -> bool:
        """Say whether the body is larger than the route takes, once it is known which that is."""
        return self._bytes > SMALL_BYTES and self._bytes > most_bytes_of(self._scope.get("route"))

    async def answer(self, message: Message) -> None:
        """Send what the application answers."""
        if self.status == 0 and self._too_large():
            # The application took our refusal to read on for a body that it cannot parse.
            self._replaced = True
            await self._tell(errors.TooLarge())
        elif not self._replaced:
            await self._marked(message)

    async def fail(self, error: Exception) -> None:
        """Answer ``error``, unless an answer has begun."""
        late = self._deadline is not None and self._deadline.expired()
        self._deadline = None
        problem = as_problem(error)
        if isinstance(error, TimeoutError) and self._reading:
            problem = errors.RequestTimeout()
        elif isinstance(error, TimeoutError) and late:
            # what was cancelled says in which line it waited
            waited = telemetry.described(error.__cause__ or error)
            _logger.warning("deadline_passed", request_id=self.request_id, **waited)
        if _unexpected(error, problem):
            _logger.error(
                "unexpected_error", request_id=self.request_id, **telemetry.described(error)
            )
        if self.status == 0:
            await self._tell(problem)

    async def _tell(self, problem: Problem) -> None:
        await problem_response(problem, self.request_id)(self._scope, self._receive, self._marked)

    async def _marked(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), *marks(self.request_id)]
            self._allow(None)
        await self._send(message)


class Boundary:
    """The outermost layer: of the whole, or of one ``service`` alone.

    Guarantees: a request whose answer has not begun :data:`DEADLINE_S` after it was read is
    answered 503, and what it waited for is cancelled; of a body that does not come within ten
    seconds nothing more is read. An answer that has begun is not cut off here; who does not read
    theirs is dropped with the connection (:mod:`services.protocol`).
    """

    def __init__(self, app: ASGIApp, service: Service | None = None) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; the whole says whose it is by ``scope["casewarden.service"]``."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        exchange = _Exchange(scope, receive, send)
        scope["casewarden.request_id"] = exchange.request_id
        if self._service is not None:
            scope["casewarden.service"] = self._service
        try:
            if _CONTROL.search(scope["path"]) or _AMBIGUOUS.search(scope.get("raw_path") or b""):
                raise errors.NotFound  # noqa: TRY301 - else `$` takes a line's end for the path's
            await exchange.run(self._app)
        except Exception as error:  # noqa: BLE001 - the outermost layer answers every error
            await exchange.fail(error)
        finally:
            _measure(scope, exchange.status, perf_counter() - started)


def _measure(scope: Scope, status: int, seconds: float) -> None:
    service = scope.get("casewarden.service")
    if service is None:
        return
    route = scope.get("route")
    path = getattr(route, "path", "unmatched")
    method = scope["method"] if path != "unmatched" else "OTHER"
    counter, histogram = _measures(service, method, path, status)
    counter.inc()
    histogram.observe(seconds)


@lru_cache(maxsize=1024)
def _measures(service: Service, method: str, path: str, status: int) -> tuple[Counter, Histogram]:
    """Return the metrics of these labels; finding them costs more than counting."""
    return (
        telemetry.HTTP_REQUESTS.labels(service, method, path, str(status)),
        telemetry.HTTP_SECONDS.labels(service, method, path),
    )


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            text = value.decode("latin-1")
            if _REQUEST_ID.match(text):
                return str(text)
    return str(uuid4())
