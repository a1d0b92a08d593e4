"""The question asked most, without the framework's general machinery: a whole case, by its id.

``GET /v1/cases/{id}`` with a well-formed id and no query goes straight to the front; it is
documented, and answered in every other form, by the route of the same path in ``api_cases``.
"""

from typing import Any

from starlette.requests import Request
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from services.cases.events import RecordKind
from services.cases.front import Front


class WholeCase(Route):
    """The route; to be tried before all others."""

    def __init__(self, front: Front) -> None:
        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            case_id = scope["path_params"]["case_id"]
            response = await front.read(Request(scope, receive), RecordKind.CASE, case_id)
            await response(scope, receive, send)

        super().__init__("/v1/cases/{case_id:uuid}", front.read, include_in_schema=False)
        self.app = answer
        self.methods = {"GET"}
        #: as metrics name it: the same route as the documented one
        self.path = "/v1/cases/{case_id}"

    def matches(self, scope: Scope) -> tuple[Match, Any]:
        """Match only what needs no checking of arguments."""
        if scope["type"] != "http" or scope["method"] != "GET" or scope["query_string"]:
            return Match.NONE, {}
        match, found = super().matches(scope)
        return match, {**found, "route": self} if match is Match.FULL else {}
