"""The edge: request ids, body limits, problem+json, metrics, and what a call carries with it.

One pure ASGI middleware (:class:`Boundary`) stands around each service. It answers every error as
RFC 9457 problem+json, never with a stack trace, never with what the caller sent, and never says
more than the error's class does.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from http import HTTPStatus
from time import perf_counter
from typing import Any, Final
from uuid import UUID, uuid4

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
from services.kernel.effects import Effects
from services.kernel.errors import Problem
from services.kernel.events import Origin, Service
from services.kernel.sealing import Compartment, KeyRef, KeyStore, period_subject

MAX_BODY_BYTES: Final = 1_048_576
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


@lru_cache(maxsize=1024)
def device_of(user_agent: str) -> str:
    """Return the kind of device a user agent names, such as ``Firefox on Windows`` (AC-USE-1)."""
    from ua_parser import parse

    result = parse(user_agent)
    browser = result.user_agent.family if result.user_agent else "Other"
    system = result.os.family if result.os else "Other"
    return f"{browser} on {system}"


@lru_cache(maxsize=4)
def _origin_key(year: int, month: int) -> KeyRef:
    moment = datetime(year, month, 1, tzinfo=UTC)
    return KeyRef(period_subject("origin", moment), Compartment.ORIGIN)


class Origins:
    """Seals where calls come from under the period key of the month (staff data expires)."""

    def __init__(self, keys: KeyStore, effects: Effects) -> None:
        self._keys = keys
        self._effects = effects

    async def seal(self, event_id: UUID, call: Call, session_id: UUID | None) -> Origin:
        """Return the origin of an event: IP, device and user agent sealed, references plain."""
        now = self._effects.now()
        ref = _origin_key(now.year, now.month)
        await self._keys.load([ref], create=True)
        text = msgspec.json.encode(
            {"ip": call.ip, "device": device_of(call.user_agent), "user_agent": call.user_agent}
        ).decode()
        return Origin(
            sealed=self._keys.seal(ref, event_id, "origin", text),
            request_id=call.request_id,
            session_id=session_id,
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
    if problem.retry_after_s is not None:
        headers["retry-after"] = str(problem.retry_after_s)
    if problem.status is HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    return Response(body, int(problem.status), headers, media_type="application/problem+json")


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


class _Limited:
    """A request's body, not read beyond ``limit`` bytes, announced or not."""

    def __init__(self, scope: Scope, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._left = limit
        announced = dict(scope["headers"]).get(b"content-length", b"")
        self.too_large = announced.isdigit() and int(announced[:20]) > limit

    async def receive(self) -> Message:
        """Return the next message; raise :class:`TooLarge` instead of one too many bytes."""
        if self.too_large:
            raise errors.TooLarge
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            self.too_large = True
            raise errors.TooLarge
        return message


class Boundary:
    """The outermost layer of a service."""

    def __init__(self, app: ASGIApp, service: Service, *, max_body: int = MAX_BODY_BYTES) -> None:
        self._app = app
        self._service = service
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        request_id = _request_id(scope)
        scope["casewarden.request_id"] = request_id
        status = 0
        body = _Limited(scope, receive, self._max_body)

        replaced = False

        async def answer(message: Message) -> None:
            nonlocal replaced
            if body.too_large and status == 0:
                # The application took our refusal to read on for a body that it cannot parse.
                replaced = True
                await problem_response(errors.TooLarge(), request_id)(scope, receive, add_headers)
            elif not replaced:
                await add_headers(message)

        async def add_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", request_id.encode()),
                    (b"cache-control", b"no-store"),
                    (b"x-content-type-options", b"nosniff"),
                ]
            await send(message)

        try:
            await self._app(scope, body.receive, answer)
        except Exception as error:  # noqa: BLE001 - the outermost layer answers every error
            problem = as_problem(error)
            if type(problem) is Problem:
                _logger.error(  # noqa: TRY400 - a message may quote what it was given
                    "unexpected_error", request_id=request_id, **telemetry.described(error)
                )
            if status == 0:
                await problem_response(problem, request_id)(scope, receive, answer)
        finally:
            self._measure(scope, status, perf_counter() - started)

    def _measure(self, scope: Scope, status: int, seconds: float) -> None:
        route = scope.get("route")
        path = getattr(route, "path", "unmatched")
        method = scope["method"] if path != "unmatched" else "OTHER"
        counter, histogram = _measures(self._service, method, path, status)
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
