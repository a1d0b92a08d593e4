"""Routes about catchments: which schools a provider serves. Parse, one call, answer."""

from datetime import datetime
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, model_validator
from pydantic_core import PydanticCustomError

from services.authz.catchment_views import Catchment, Key
from services.authz.catchments import Catchments, Serve
from services.authz.desk import Desk
from services.authz.pages import Cursor, Limit
from services.authz.visits import Gate, Visiting, authenticated
from services.kernel.cursors import Cursors
from services.kernel.texts import Body, Moment


class NewCatchment(Body):
    """A school that the provider is to serve, from a moment (now) until a moment (open).

    `until` alone is the end of what is in force or to come, where there is any.
    """

    school_id: UUID
    from_: Moment | None = Field(None, alias="from")
    until: Moment | None = None

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> "NewCatchment":
        if self.from_ and self.until and self.until <= self.from_:
            raise PydanticCustomError("ends_first", "ends before it begins")
        return self


class CatchmentOut(BaseModel):
    """A provider serves a school."""

    provider_id: UUID
    school_id: UUID
    from_: datetime = Field(serialization_alias="from")
    until: datetime | None


class CatchmentList(BaseModel):
    """A page of catchment entries."""

    items: list[CatchmentOut]
    next_cursor: str | None


def catchment_router(gate: Gate, desk: Desk) -> APIRouter:
    """Return the routes under ``/v1/organisations/{id}/catchment``."""
    router = APIRouter(
        prefix="/v1/organisations", tags=["catchments"], route_class=authenticated(gate)
    )
    catchments = Catchments(desk)
    cursors = Cursors(desk.runtime.installation.secret("cursor"))

    @router.get("/{organisation_id}/catchment")
    async def list_catchment(
        visit: Visiting, organisation_id: UUID, limit: Limit = 50, cursor: Cursor = None
    ) -> CatchmentList:
        """List the schools that a provider serves, or who serves a school (AC-DO-16).

        With them what is over, what is to come, and, ending when it begins, what never will.
        """
        text = f"catchment {organisation_id}"
        after = None if cursor is None else cursors.open(visit.person_id, text, cursor, Key)
        page = await catchments.page(visit, organisation_id, after, limit)
        return CatchmentList(
            items=[_catchment(one) for one in page.items],
            next_cursor=page.after and cursors.seal(visit.person_id, text, page.after),
        )

    @router.post("/{provider_id}/catchment", status_code=201)
    async def serve_school(
        visit: Visiting, request: Request, provider_id: UUID, body: NewCatchment
    ) -> CatchmentOut:
        """Let a provider serve a school, or change until when (AC-DO-16).

        The same `from` again changes its `until`. `until` alone ends the entry in force, or else
        the next one to come; where there is none, the school is served from now until then.
        """
        attempt = await desk.idempotency.attempt(request, visit.person_id)
        command = Serve(provider_id, body.school_id, body.from_, body.until)
        return _catchment(await catchments.serve(visit, attempt, command))

    return router


def _catchment(one: Catchment) -> CatchmentOut:
    return CatchmentOut(
        provider_id=one.provider_id,
        school_id=one.school_id,
        from_=one.starts_at,
        until=one.ends_at,
    )
