"""Routes about oneself: profile, password, activity, logout (AC-SEE-22, AC-DO-13)."""

from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from services.authz.activity_views import ActivityPage
from services.authz.api_login import Secret
from services.authz.attempts import BadCredentials
from services.authz.events import Role
from services.authz.me import Change, Me
from services.authz.own_activity import OwnActivity
from services.authz.own_password import PasswordChanges
from services.authz.passwords import REFUSALS
from services.authz.sessions import Sessions
from services.authz.visits import Gate, Visiting, authenticated
from services.kernel.errors import Malformed, Unauthenticated
from services.kernel.etags import not_modified
from services.kernel.problem_answers import one_of
from services.kernel.texts import Body, Line

#: an address as HTML has it: one mailbox, which no mail server can read as two
_EMAIL: Final = r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$"
_PHONE: Final = r"^[0-9+() ./x-]*$"
_PAGE: Final = 50
_MOST: Final = 200


Email = Annotated[Line, StringConstraints(pattern=_EMAIL)]


class OwnAssignment(BaseModel):
    """A role one holds now."""

    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True)

    id: UUID
    role: Role
    organisation_id: UUID
    organisation: str | None
    starts_at: datetime = Field(alias="from")
    until: datetime | None


class OwnProfile(BaseModel):
    """Oneself as one sees it; ``version`` is the ``ETag`` without its quotes."""

    person_id: UUID
    given_name: str
    family_name: str
    email: str
    phone: str
    assignments: list[OwnAssignment]
    version: str


class Correction(Body):
    """What to correct; what is left out stays."""

    given_name: Line | None = None
    family_name: Line | None = None
    email: Email | None = None
    phone: Annotated[str, StringConstraints(max_length=50, pattern=_PHONE)] | None = None


class PasswordChange(Body):
    """The password that is, and the one that is to be."""

    current_password: Secret
    new_password: Secret


def me_router(
    gate: Gate,
    me: Me,
    activities: OwnActivity,
    changes: PasswordChanges,
    sessions: Sessions,
) -> APIRouter:
    """Return the routes about oneself."""
    router = APIRouter(tags=["me"], route_class=authenticated(gate))

    @router.get("/v1/me", response_model=OwnProfile)
    async def show_own_profile(
        visit: Visiting, request: Request, response: Response
    ) -> OwnProfile | Response:
        """Show one's own profile (AC-SEE-22)."""
        seen = await me.profile(visit)
        response.headers["etag"] = seen.tag
        return not_modified(request, seen.tag) or OwnProfile.model_validate(seen.profile)

    @router.patch("/v1/me")
    async def correct_own_profile(
        visit: Visiting, request: Request, response: Response, body: Correction
    ) -> OwnProfile:
        """Correct one's own details (AC-DO-13).

        Invitations go to a changed `email` 72 hours after the former one was told, at the earliest.
        """
        seen = await me.correct(visit, request, Change(**body.model_dump()))
        response.headers["etag"] = seen.tag
        return OwnProfile.model_validate(seen.profile)

    @router.get("/v1/me/activity")
    async def list_own_activity(
        visit: Visiting,
        limit: Annotated[int, Query(ge=1, le=_MOST)] = _PAGE,
        cursor: Annotated[str | None, Query(max_length=1024)] = None,
    ) -> ActivityPage:
        """Show everything one did oneself, in every service (AC-SEE-22, AC-USE-1).

        Records and learners stand without ids, and the newest comes first.
        """
        return await activities.page(visit, limit, cursor)

    @router.post(
        "/v1/me/password",
        status_code=204,
        responses=one_of(Unauthenticated, BadCredentials, Malformed, *REFUSALS),
    )
    async def change_own_password(visit: Visiting, body: PasswordChange) -> None:
        """Change one's password; one's other sessions end (SG-4, SG-21)."""
        await changes.change(visit, body.current_password, body.new_password)

    @router.post("/v1/logout", status_code=204)
    async def log_out(visit: Visiting) -> None:
        """End this session, everywhere, now (SG-3)."""
        await sessions.logout(visit)

    return router
