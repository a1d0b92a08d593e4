"""The paths of the audit service: parse, ask one question, answer (contract, section audit).

Every path answers 404 to whoever is not a security analyst or privacy officer, or, for events, a
service client with the scope ``audit.read``. What is malformed is told only to whoever is let in,
as the log knows them now (:meth:`Front.signed_in`), so that 401 comes before 422.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from services.audit import answers, models
from services.audit.askers import Asker
from services.audit.asking import Asking
from services.audit.judging import Judging
from services.audit.queries import EventQueries
from services.audit.reviews import Reviews
from services.audit.sessions import SessionQueries
from services.authz.access import AccessTokens, Claims
from services.kernel.bodies import check_json
from services.kernel.http import call_of


@dataclass(frozen=True, slots=True)
class Front:
    """What the paths call."""

    tokens: AccessTokens
    asking: Asking
    now: Callable[[], datetime]
    events: EventQueries
    sessions: SessionQueries
    reviews: Reviews
    judging: Judging

    async def admit(self, request: Request) -> Claims:
        """Return what the token of ``request`` says; raise :class:`Unauthenticated` for none."""
        return await self.tokens.claims(request, self.now())

    async def signed_in(self, request: Request) -> None:
        """Raise :class:`Unauthenticated` for whoever is not let in."""
        await self.asking.signed_in(await self.admit(request))


def routes(front: Front) -> APIRouter:
    """Return the paths over this front."""
    router = APIRouter(prefix="/v1")

    async def asker_of(request: Request) -> Asker:
        return Asker(await front.admit(request), call_of(request))

    asking = Depends(asker_of)

    @router.get("/events", tags=["events"])
    async def list_events(
        query: Annotated[models.EventQuery, Query()], asker: Asker = asking
    ) -> answers.EventPage:
        """List events, newest first, that pass every filter given (SG-8, SG-12, DP-5)."""
        return await front.events.events(asker, query)

    @router.get("/events/{event_id}", tags=["events"])
    async def get_event(event_id: UUID, asker: Asker = asking) -> answers.Event:
        """Return one event (SG-8, DP-5)."""
        return await front.events.event(asker, event_id)

    @router.get("/students/{student_id}/accesses", tags=["events"])
    async def list_accesses(
        student_id: UUID, window: Annotated[models.Window, Query()], asker: Asker = asking
    ) -> answers.EventPage:
        """List who saw or changed a learner's records, when, by which clause (AC-USE-1, SG-8).

        Outside the Ministry: what one's own organisation did. For a learner it never had, and for
        one who does not exist, that is an empty list.
        """
        return await front.events.accesses(asker, student_id, window)

    @router.get("/people/{person_id}/activity", tags=["events"])
    async def list_activity(
        person_id: UUID, window: Annotated[models.Window, Query()], asker: Asker = asking
    ) -> answers.EventPage:
        """List what a person did, refusals included (AC-USE-1, SG-9)."""
        return await front.events.activity(asker, person_id, window)

    @router.get("/sessions", tags=["sessions"])
    async def list_sessions(
        query: Annotated[models.SessionQuery, Query()], asker: Asker = asking
    ) -> answers.SessionPage:
        """List logins: from when until when, from where, and how they ended (AC-USE-1, SG-19)."""
        return await front.sessions.sessions(asker, query)

    @router.get("/alerts", tags=["alerts"])
    async def list_alerts(
        query: Annotated[models.AlertQuery, Query()], asker: Asker = asking
    ) -> answers.AlertPage:
        """List alerts, the latest raised first (SG-9, SG-10)."""
        return await front.reviews.alerts(asker, query)

    @router.get("/alerts/{alert_id}", tags=["alerts"])
    async def get_alert(alert_id: UUID, asker: Asker = asking) -> answers.AlertWithEvidence:
        """Return an alert with the events behind it (SG-9, SG-10)."""
        return await front.reviews.alert(asker, alert_id)

    @router.post(
        "/alerts/{alert_id}/resolve", tags=["alerts"], openapi_extra=_body(models.Resolution)
    )
    async def resolve_alert(
        alert_id: UUID, request: Request, asker: Asker = asking
    ) -> answers.Alert:
        """Say what an alert turned out to be (SG-8); once, until detection adds something to it."""
        attempt = await front.asking.attempt(request, asker)
        return await front.judging.resolve(asker, alert_id, await _resolution(request), attempt)

    return router


async def _resolution(request: Request) -> models.Resolution:
    """Read the body by hand: the framework would judge its form before who sent it."""
    try:
        body = await request.body()
        check_json(body)
        return models.Resolution.model_validate_json(body)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from None


def _body(model: type[models.Resolution]) -> dict[str, Any]:
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    inlined = {**schema, "properties": {**schema["properties"]}}
    definitions = inlined.pop("$defs", {})
    for name, value in inlined["properties"].items():
        if "$ref" in value:
            inlined["properties"][name] = definitions[value["$ref"].rpartition("/")[2]]
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": inlined}}}}
