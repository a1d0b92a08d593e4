"""Visits: a request with the session it came in, established before anything else is looked at.

401 comes before 422: :func:`authenticated` makes routes that admit a request before its body is
read. Admission is the gate only; every decision loads the caller again, with the facts it rests on.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Depends
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from services.authz.access import AccessTokens
from services.authz.login_views import live_caller
from services.kernel.budgets import RECORDED, RefusalBudget
from services.kernel.errors import Malformed
from services.kernel.http import Call, call_of
from services.kernel.runtime import Runtime
from services.kernel.wholeness import signed_in

#: here what is malformed too: where that rests on facts, as a role which an organisation of its
#: kind does not have, it is recorded as well
_RECORDED: Final = (*RECORDED, Malformed)


@dataclass(frozen=True, slots=True)
class Visit:
    """Who says they call, in which session, from where."""

    person_id: UUID
    session_id: UUID
    expires_at: datetime
    call: Call


class Gate:
    """Admits requests that carry a valid token of a live session.

    Who is refused all day meets 429, at the gate of one process: a budget of refusals per person.
    """

    def __init__(self, runtime: Runtime, tokens: AccessTokens) -> None:
        self._runtime = runtime
        self._tokens = tokens
        self._budget = RefusalBudget()

    async def admit(self, request: Request) -> Visit:
        """Return the visit; raise ``Unauthenticated``, and only then look at the rest."""
        now = self._runtime.effects.now()
        person_id, session_id, expires_at = await self._tokens.person(request, now)
        runtime, session = self._runtime, (person_id, session_id, expires_at)
        await signed_in(
            runtime.projector, lambda: live_caller(runtime.pool, *session, runtime.effects.now())
        )
        self._budget.check(person_id, now)
        return Visit(person_id, session_id, expires_at, call_of(request))

    def refused(self, visit: Visit) -> None:
        """Count one refusal of whoever visits."""
        self._budget.spend(visit.person_id, self._runtime.effects.now())


def authenticated(gate: Gate) -> type[APIRoute]:
    """Return a route class whose requests pass ``gate`` before FastAPI reads them."""

    class AuthenticatedRoute(APIRoute):
        """Admits, then serves."""

        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            """Return the handler behind the gate."""
            serve = super().get_route_handler()

            async def handle(request: Request) -> Response:
                visit = request.state.visit = await gate.admit(request)
                try:
                    return await serve(request)
                except _RECORDED:
                    gate.refused(visit)
                    raise

            return handle

    return AuthenticatedRoute


def _visit_of(request: Request) -> Visit:
    visit: Visit = request.state.visit
    return visit


#: the visit of a request to an authenticated route
Visiting = Annotated[Visit, Depends(_visit_of)]
