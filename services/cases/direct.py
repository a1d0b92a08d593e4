"""The question asked most, without the framework's general machinery: a whole case, by its id.

``GET /v1/cases/{id}`` with a well-formed id and no query goes straight to the front: no layer of
the framework does anything for it. It is documented, and answered in every other form, by the
route of the same path in ``api_cases``; what it raises, the application's own handlers answer.
"""

import re
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from services.cases.front import Front
from services.cases.terms import RecordKind

_CASE: Final = re.compile(r"/v1/cases/([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})")


class WholeCase:
    """The layer; ``handlers`` are what the application answers exceptions with, by type."""

    #: as metrics name it: the same route as the documented one
    path = "/v1/cases/{case_id}"

    def __init__(self, app: ASGIApp, front: Front, handlers: Mapping[Any, Any]) -> None:
        self._app = app
        self._front = front
        self._handlers = handlers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what needs no checking of arguments; leave the rest to the application."""
        case_id = _whole_case(scope)
        if case_id is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = self
        request = Request(scope, receive)
        try:
            response = await self._front.read(request, RecordKind.CASE, case_id)
        except Exception as error:  # noqa: BLE001 - handled as the application handles it
            response = await self._handled(request, error)
        await response(scope, receive, send)

    async def _handled(self, request: Request, error: Exception) -> Response:
        for kind in type(error).__mro__:
            if kind is not Exception and kind in self._handlers:
                response: Response = await self._handlers[kind](request, error)
                return response
        raise error  # unexpected: for the layers around this one to tell and to log


def _whole_case(scope: Scope) -> UUID | None:
    """Return the id of the case that is asked for, if it is asked for like this."""
    if scope["type"] != "http" or scope["method"] != "GET" or scope["query_string"]:
        return None
    found = _CASE.fullmatch(scope["path"].removeprefix(scope.get("root_path", "")))
    return UUID(found[1]) if found else None
