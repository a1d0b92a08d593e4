"""Routes about organisations and their staff lists. Parse, one call, answer."""

from datetime import datetime
from typing import Annotated, Final
from uuid import UUID
from zoneinfo import available_timezones

from fastapi import APIRouter, Request, Response
from pydantic import AfterValidator, BaseModel, Field
from pydantic_core import PydanticCustomError

from services.authz.desk import Desk
from services.authz.directory import Organisation
from services.authz.events import OrganisationKind, Role
from services.authz.organisation_resets import OrganisationResets, ResetStaff
from services.authz.organisations import Organisations, Register
from services.authz.pages import MAX_PAGE, Cursor, Limit, Pages
from services.authz.staff import Staff
from services.authz.staff_views import StaffMember, version_of
from services.authz.visits import Gate, Visiting, authenticated
from services.kernel.cursors import Cursors
from services.kernel.etags import not_modified
from services.kernel.texts import Body, Line, Prose

_ORGANISATIONS: Final = "organisations"


def _known_zone(name: str) -> str:
    if name not in available_timezones():
        raise PydanticCustomError("time_zone_unknown", "no such time zone")
    return name


TimeZone = Annotated[Line, AfterValidator(_known_zone)]


class NewOrganisation(Body):
    """An organisation as an administrator registers it."""

    kind: OrganisationKind
    name: Line
    time_zone: TimeZone
    holiday_subdivision: Line | None = None
    phone: Line | None = None
    address: Line | None = None
    region: Line | None = None


class StaffReset(Body):
    """Whose credentials are taken back and why: everybody's who works there, or those named."""

    reason: Prose
    person_ids: Annotated[frozenset[UUID], Field(min_length=1, max_length=MAX_PAGE)] | None = None


class StaffResetOut(BaseModel):
    """An act, how many it reset, and how their invitations are delivered."""

    id: UUID
    organisation_id: UUID
    reset: int
    channel: str


class OrganisationOut(BaseModel):
    """An organisation."""

    id: UUID
    kind: OrganisationKind
    name: str
    time_zone: str
    holiday_subdivision: str | None
    phone: str | None
    address: str | None
    region: str | None


class StaffOut(BaseModel):
    """Somebody with access to an organisation; ``version`` is its tag without the quotes."""

    person_id: UUID
    name: str
    role: Role
    assignment_id: UUID
    from_: datetime = Field(serialization_alias="from")
    until: datetime | None
    suspended: bool
    version: str


class OrganisationList(BaseModel):
    """A page of organisations."""

    items: list[OrganisationOut]
    next_cursor: str | None


class StaffList(BaseModel):
    """A page of a staff list."""

    items: list[StaffOut]
    next_cursor: str | None


def organisation_router(gate: Gate, desk: Desk, channel: str) -> APIRouter:
    """Return the routes under ``/v1/organisations``."""
    router = APIRouter(
        prefix="/v1/organisations", tags=["organisations"], route_class=authenticated(gate)
    )
    organisations, staff, resets = Organisations(desk), Staff(desk), OrganisationResets(desk)
    pages = Pages(Cursors(desk.runtime.installation.secret("cursor")))

    @router.get("")
    async def list_organisations(
        visit: Visiting, limit: Limit = 50, cursor: Cursor = None
    ) -> OrganisationList:
        """List the organisations one may see, by id (AC-DO-16, SG-1)."""
        after = pages.after(visit, _ORGANISATIONS, cursor)
        page = await organisations.page(visit, after, limit)
        return OrganisationList(
            items=[_organisation(one) for one in page.items],
            next_cursor=pages.next(visit, _ORGANISATIONS, page.after),
        )

    @router.post("", status_code=201)
    async def register_organisation(
        visit: Visiting, request: Request, body: NewOrganisation, response: Response
    ) -> OrganisationOut:
        """Register an organisation (AC-DO-16)."""
        attempt = await desk.idempotency.attempt(request, visit.person_id)
        command = Register(**body.model_dump())
        made = await organisations.register(visit, attempt, command)
        response.headers["etag"] = version_of(desk, visit, made)
        return _organisation(made)

    @router.get("/{organisation_id}", response_model=OrganisationOut)
    async def show_organisation(
        visit: Visiting, organisation_id: UUID, request: Request, response: Response
    ) -> Response | OrganisationOut:
        """Show an organisation (AC-DO-16, SG-1)."""
        found = await organisations.one(visit, organisation_id)
        version = response.headers["etag"] = version_of(desk, visit, found)
        return not_modified(request, version) or _organisation(found)

    @router.get("/{organisation_id}/staff")
    async def list_staff(
        visit: Visiting, organisation_id: UUID, limit: Limit = 50, cursor: Cursor = None
    ) -> StaffList:
        """List who has access to an organisation, and in which role (AC-SEE-7, AC-SEE-11)."""
        text = f"staff {organisation_id}"
        after = pages.after(visit, text, cursor)
        page = await staff.page(visit, organisation_id, after, limit)
        return StaffList(
            items=[_member(one) for one in page.items],
            next_cursor=pages.next(visit, text, page.after),
        )

    @router.post("/{organisation_id}/reset")
    async def reset_staff(
        visit: Visiting, request: Request, organisation_id: UUID, body: StaffReset
    ) -> StaffResetOut:
        """Reset everybody who works there, or those named, but not oneself (SG-21).

        Send an `Idempotency-Key`: whatever interrupts it, the same request again does the rest.
        """
        attempt = await desk.idempotency.attempt(request, visit.person_id)
        command = ResetStaff(organisation_id, body.reason, body.person_ids)
        done = await resets.reset(visit, attempt, command)
        return StaffResetOut(
            id=done.act_id, organisation_id=organisation_id, reset=done.count, channel=channel
        )

    return router


def _organisation(one: Organisation) -> OrganisationOut:
    return OrganisationOut(**{name: getattr(one, name) for name in OrganisationOut.model_fields})


def _member(one: StaffMember) -> StaffOut:
    assignment = one.assignment
    return StaffOut(
        person_id=assignment.person_id,
        name=one.name,
        role=assignment.role,
        assignment_id=assignment.assignment_id,
        from_=assignment.starts_at,
        until=assignment.ends_at,
        suspended=one.suspended,
        version=one.version.strip('"'),
    )
