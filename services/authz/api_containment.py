"""Routes that contain: suspension and its end, and reset credentials (SG-3, SG-21)."""

from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import BaseModel

from services.authz.api_people import InvitationOut
from services.authz.desk import Desk
from services.authz.people import People
from services.authz.resets import Resets
from services.authz.visits import Gate, Visiting, authenticated
from services.kernel.texts import Body, Prose


class Containment(Body):
    """Why somebody is shut out, or has their credentials taken back."""

    reason: Prose


class SuspensionOut(BaseModel):
    """Whether somebody is shut out."""

    id: UUID
    suspended: bool


class ResetOut(BaseModel):
    """Whose credentials were reset; the invitation to set new ones is delivered to them."""

    id: UUID
    invitation: InvitationOut


def containment_router(gate: Gate, desk: Desk, channel: str) -> APIRouter:
    """Return the routes under ``/v1/people`` that shut somebody out or let them in again."""
    router = APIRouter(prefix="/v1/people", tags=["containment"], route_class=authenticated(gate))
    people, resets = People(desk), Resets(desk)
    attempt_of = desk.idempotency.attempt

    @router.post("/{person_id}/suspend")
    async def suspend_person(
        visit: Visiting, request: Request, person_id: UUID, body: Containment
    ) -> SuspensionOut:
        """Shut somebody out; every session of theirs ends now (SG-3, SG-21)."""
        attempt = await attempt_of(request, visit.person_id)
        suspended = await people.suspend(visit, attempt, person_id, body.reason)
        return SuspensionOut(id=person_id, suspended=suspended)

    @router.post("/{person_id}/reinstate")
    async def reinstate_person(visit: Visiting, request: Request, person_id: UUID) -> SuspensionOut:
        """Let somebody in again who was suspended (SG-21)."""
        attempt = await attempt_of(request, visit.person_id)
        suspended = await people.reinstate(visit, attempt, person_id)
        return SuspensionOut(id=person_id, suspended=suspended)

    @router.post("/{person_id}/reset")
    async def reset_person(
        visit: Visiting, request: Request, person_id: UUID, body: Containment
    ) -> ResetOut:
        """Take somebody's credentials back and invite them anew (SG-21); three times an hour."""
        attempt = await attempt_of(request, visit.person_id)
        done = await resets.reset(visit, attempt, person_id, body.reason)
        return ResetOut(id=done.person_id, invitation=InvitationOut.of(done.invitation_id, channel))

    return router
