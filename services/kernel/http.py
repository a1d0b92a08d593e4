"""The edge: request ids, body limits, problem+json, metrics, and what a call carries with it.

One pure ASGI middleware (:class:`Boundary`) stands around everything. It answers every error as
RFC 9457 problem+json, never with a stack trace, never with what the caller sent, and never says
more than the error's class does. It holds the one deadline of a request.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from time import perf_counter
from typing import Any, Final
from uuid import uuid4

import msgspec
import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from prometheus_client import Counter, Histogram
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.kernel import errors, telemetry
from services.kernel.database import CONNECTION_ERRORS
from services.kernel.errors import Problem
from services.kernel.events import Service

MAX_BODY_BYTES: Final = 1_048_576
#: from having read a request to beginning its answer, everything tried again included
DEADLINE_S: Final = 5.0
_BODY_S: Final = 10.0
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9-]{1,64}\Z")
_logger = structlog.get_logger(__name__)

#: Why somebody looks (SG-15); the optional ``Purpose`` header is one of these codes.
PURPOSES: Final = frozenset(
    {
        "attendance_support",
        "case_management",
        "case_review",
        "investigation",
        "contract_management",
        "prosecution",
        "safeguarding",
        "subject_request",
        "security_review",
        "breach_response",
        "system_support",
    }
)

_BY_STATUS: Final[Mapping[int, type[Problem]]] = {
    problem.status: problem
    for problem in (
        errors.Unauthenticated,
        errors.Malformed,
        errors.NotFound,
        errors.Forbidden,
        errors.Conflict,
        errors.TooManyRequests,
        errors.TooLarge,
        errors.Unavailable,
        errors.MethodNotAllowed,
        errors.UnsupportedMediaType,
    )
}


@dataclass(frozen=True, slots=True)
class Call:
    """Where a request comes from, apart from who sends it."""

    request_id: str
    ip: str
    user_agent: str
    purpose: str | None = None


def call_of(request: Request) -> Call:
    """Return the call; raise :class:`Malformed` for a purpose that is not a published code."""
    purpose = request.headers.get("purpose")
    if purpose is not None and purpose not in PURPOSES:
        raise errors.Malformed("Purpose is not one of the published codes")
    client = request.client
    return Call(
        request_id=request.scope["casewarden.request_id"],
        ip=client.host if client else "",
        user_agent=request.headers.get("user-agent", "")[:300],
        purpose=purpose,
    )


def problem_response(problem: Problem, request_id: str) -> Response:
    """Render ``problem`` as RFC 9457 problem+json."""
    body = msgspec.json.encode(
        {
            "type": f"urn:casewarden:problem:{problem.code}",
            "title": problem.title,
            "status": int(problem.status),
            "detail": problem.detail,
            "code": problem.code,
            "request_id": request_id,
        }
    )
    headers = {}
    if problem.status is HTTPStatus.REQUEST_TIMEOUT:
        headers["connection"] = "close"
    if problem.retry_after_s is not None:
        headers["retry-after"] = str(problem.retry_after_s)
    if problem.status is HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    return Response(body, int(problem.status), headers, media_type="application/problem+json")


def problem_unasked(problem: Problem) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Return headers and body of ``problem`` for a connection on which no request was made out."""
    request_id = str(uuid4())
    response = problem_response(problem, request_id)
    return [*response.raw_headers, *_marks(request_id)], bytes(response.body)


def _marks(request_id: str) -> tuple[tuple[bytes, bytes], ...]:
    """Return the headers of every answer."""
    return (
        (b"x-request-id", request_id.encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    )


def as_problem(error: Exception) -> Problem:
    """Return what a caller may know about ``error``."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, RequestValidationError):
        return errors.Malformed(_where(error))
    if isinstance(error, HTTPException):
        kind = _BY_STATUS.get(error.status_code)
        if kind is None and 400 <= error.status_code < 500:  # noqa: PLR2004 - client errors
            return errors.Malformed()
        return (kind or Problem)()
    if isinstance(error, CONNECTION_ERRORS):
        return errors.Unavailable()
    return Problem()


def _where(error: RequestValidationError) -> str:
    """Say which fields are wrong and how, without repeating what was sent."""
    known = []
    for item in error.errors()[:5]:
        place = ".".join(str(part)[:40] for part in item["loc"] if part != "body")
        known.append(f"{place or 'body'}: {item['type']}")
    return "; ".join(known)


class _Exchange:
    """One request and its answer: what is read is bounded, in bytes and in time."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, limit: int) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._left = limit
        announced = dict(scope["headers"]).get(b"content-length", b"")
        self._too_large = announced.isdigit() and int(announced[:20]) > limit
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
        if self._too_large:
            raise errors.TooLarge
        if self._read:
            return await self._receive()
        self._reading = True
        self._allow(self._read_by)
        message = await self._receive()
        self._reading = False
        self._allow(asyncio.get_running_loop().time() + DEADLINE_S)
        self._read = not message.get("more_body", False)
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            self._too_large = True
            raise errors.TooLarge
        return message

    async def answer(self, message: Message) -> None:
        """Send what the application answers."""
        if self._too_large and self.status == 0:
            # The application took our refusal to read on for a body that it cannot parse.
            self._replaced = True
            await self._tell(errors.TooLarge())
        elif not self._replaced:
            await self._marked(message)

    async def fail(self, error: Exception) -> None:
        """Answer ``error``, unless an answer has begun."""
        self._deadline = None
        problem = as_problem(error)
        if isinstance(error, TimeoutError) and self._reading:
            problem = errors.RequestTimeout()
        if type(problem) is Problem:
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
            message["headers"] = [*message.get("headers", ()), *_marks(self.request_id)]
            self._allow(None)
        await self._send(message)


class Boundary:
    """The outermost layer: of the whole, or of one ``service`` alone.

    Guarantees: a request whose answer has not begun :data:`DEADLINE_S` after it was read is
    answered 503, and what it waited for is cancelled; of a body that does not come within ten
    seconds nothing more is read. An answer that has begun is never cut off.
    """

    def __init__(
        self, app: ASGIApp, service: Service | None = None, *, max_body: int = MAX_BODY_BYTES
    ) -> None:
        self._app = app
        self._service = service
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; the whole says whose it is by ``scope["casewarden.service"]``."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        exchange = _Exchange(scope, receive, send, self._max_body)
        scope["casewarden.request_id"] = exchange.request_id
        if self._service is not None:
            scope["casewarden.service"] = self._service
        try:
            if _CONTROL.search(scope["path"]):
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


def install_errors(app: FastAPI) -> None:
    """Answer every error of ``app`` as problem+json."""

    async def render(request: Request, error: Exception) -> Response:
        return problem_response(as_problem(error), request.scope["casewarden.request_id"])

    handler: Callable[[Request, Any], Awaitable[Response]] = render
    for kind in (Problem, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, handler)
