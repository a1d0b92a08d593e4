"""Errors as callers are told them: RFC 9457 problem+json, with never more than their class says.

Never a stack trace, never what was sent, never what a database or a validator said of it. Owns how
a problem and the headers of every answer are written; which errors there are is
:mod:`services.kernel.errors`.
"""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPMethod, HTTPStatus
from typing import Any, Final

import asyncpg
import msgspec
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.kernel import errors
from services.kernel.database import is_connection_error
from services.kernel.errors import MEDIA_TYPE, Problem

#: after which somebody may ask again who was answered 503, where nothing better is known; many who
#: wait are told one time, and who is refused again waits longer by themselves
RETRY_AFTER_S: Final = 1
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


def problem_response(problem: Problem, request_id: str, **extension: str) -> Response:
    """Render ``problem`` as RFC 9457 problem+json; ``extension`` are members of its own (3.2).

    Every 503 says when to ask again (RFC 9110, 10.2.3 and 15.6.4), in whole seconds.
    """
    body = msgspec.json.encode(
        {
            "type": f"urn:casewarden:problem:{problem.code}",
            "title": problem.title,
            "status": int(problem.status),
            "detail": problem.detail,
            "code": problem.code,
            "request_id": request_id,
            **extension,
        }
    )
    headers = {}
    if problem.status is HTTPStatus.REQUEST_TIMEOUT:
        headers["connection"] = "close"
    wait_s = problem.retry_after_s
    if wait_s is None and problem.status is HTTPStatus.SERVICE_UNAVAILABLE:
        wait_s = RETRY_AFTER_S
    if wait_s is not None:
        headers["retry-after"] = str(wait_s)
    if problem.status is HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    if isinstance(problem, errors.MethodNotAllowed):
        headers["allow"] = ", ".join(sorted(problem.allowed))
    return Response(body, int(problem.status), headers, media_type=MEDIA_TYPE)


def marks(request_id: str) -> tuple[tuple[bytes, bytes], ...]:
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
        return _of_framework(error)
    if is_connection_error(error) or isinstance(error, asyncpg.PostgresError):
        # what the database refuses cannot be recorded, whatever its reason is
        return errors.Unavailable()
    return Problem()


def _of_framework(error: HTTPException) -> Problem:
    if isinstance(error.__cause__, Problem):  # raised where the framework read the body
        return error.__cause__
    kind = _BY_STATUS.get(error.status_code)
    if kind is None and 400 <= error.status_code < 500:  # noqa: PLR2004 - client errors
        return errors.Malformed()
    return (kind or Problem)()


def _where(error: RequestValidationError) -> str:
    """Say which fields are wrong and how, without repeating what was sent."""
    known = []
    for item in error.errors()[:5]:
        place = ".".join(str(part)[:40] for part in item["loc"] if part != "body")
        known.append(f"{place or 'body'}: {item['type']}")
    return "; ".join(known)


def _told(request: Request, error: Exception) -> Problem:
    """Return what may be known of an ``error`` in answering ``request``."""
    problem = as_problem(error)
    if isinstance(error, HTTPException) and isinstance(problem, errors.MethodNotAllowed):
        return errors.MethodNotAllowed(_methods(request))
    return problem


def _methods(request: Request) -> list[str]:
    """Return the methods that the path of ``request`` answers, of all of its routes together.

    The framework names those of one route only (RFC 9110, 10.2.1).
    """
    routes = request.app.routes
    return [
        method.value
        for method in HTTPMethod
        if any(
            route.matches({**request.scope, "method": method.value})[0] is Match.FULL
            for route in routes
        )
    ]


def install_errors(app: FastAPI) -> None:
    """Answer every error of ``app`` as problem+json."""

    async def render(request: Request, error: Exception) -> Response:
        return problem_response(_told(request, error), request.scope["casewarden.request_id"])

    handler: Callable[[Request, Any], Awaitable[Response]] = render
    for kind in (Problem, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, handler)


_Asks = Callable[[Request], Awaitable[object]]


def authenticate_first(app: FastAPI, admit: _Asks, signed_in: _Asks) -> None:
    """Answer what is malformed as malformed only to who is signed in: 401 comes first.

    ``signed_in`` raises for everybody else. A body that the framework cannot parse is malformed
    too; a path or a method that is not there is not, and is told to anybody. Of a body nothing is
    read unless ``admit`` lets the request in, by its token alone: cheap, and asked once more.
    """
    app.add_middleware(_Admission, admit=admit)

    async def render(request: Request, error: Exception) -> Response:
        problem = _told(request, error)
        if isinstance(problem, errors.Unauthenticated):
            raise problem  # for the handler of those, who counts them
        if isinstance(problem, errors.Malformed):
            await signed_in(request)
        return problem_response(problem, request.scope["casewarden.request_id"])

    for kind in (errors.Malformed, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, render)


class _Admission:
    """The layer that admits a request before its body is read."""

    def __init__(self, app: ASGIApp, admit: _Asks) -> None:
        self._app = app
        self._admit = admit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        admitted = False

        async def admitted_first() -> Message:
            nonlocal admitted
            if not admitted:
                await self._admit(Request(scope))
                admitted = True
            return await receive()

        await self._app(scope, admitted_first, send)
