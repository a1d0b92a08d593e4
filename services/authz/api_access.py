"""Routes about access: assignments, and leaders' decisions. Parse, one call, answer."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from services.authz.access_decisions import AccessDecisions, Decide
from services.authz.desk import Desk
from services.authz.events import Role
from services.authz.grants import Grant, Grants, TooManyAssignments
from services.authz.revocations import Revocations
from services.authz.staff_views import AssignmentView
from services.authz.visits import Gate, Visiting, authenticated
from services.kernel.errors import Conflict
from services.kernel.problem_answers import one_of
from services.kernel.texts import Body, Moment

Change = Literal["grant", "revoke"]


class NewAssignment(Body):
    """A role to be held at an organisation, on a leader's decision where one is needed."""

    role: Role
    organisation_id: UUID
    from_: Moment | None = Field(None, alias="from")
    until: Moment | None = None
    decision_id: UUID | None = None


class NewAccessDecision(Body):
    """A leader's decision that somebody is to have, or to lose, a role (AC-DO-3)."""

    person_id: UUID
    role: Role
    organisation_id: UUID
    expires_at: Moment
    action: Change = "grant"


class AssignmentOut(BaseModel):
    """An assignment."""

    id: UUID
    person_id: UUID
    role: Role
    organisation_id: UUID
    from_: datetime = Field(serialization_alias="from")
    until: datetime | None


class VersionedAssignmentOut(AssignmentOut):
    """An assignment; ``version`` is its tag without the quotes."""

    version: str


class DecisionOut(BaseModel):
    """A recorded decision."""

    id: UUID
    person_id: UUID
    role: Role
    organisation_id: UUID
    expires_at: datetime
    action: Change


def access_router(gate: Gate, desk: Desk) -> APIRouter:
    """Return the routes of assignments and of access decisions."""
    router = APIRouter(prefix="/v1", tags=["access"], route_class=authenticated(gate))
    grants, revocations, decisions = Grants(desk), Revocations(desk), AccessDecisions(desk)
    attempt_of = desk.idempotency.attempt

    @router.post(
        "/people/{person_id}/assignments",
        status_code=201,
        responses=one_of(Conflict, TooManyAssignments),
    )
    async def grant_assignment(
        visit: Visiting,
        request: Request,
        person_id: UUID,
        body: NewAssignment,
        response: Response,
    ) -> VersionedAssignmentOut:
        """Give somebody a role at an organisation (AC-DO-1, AC-DO-3, AC-DO-5, AC-DO-16).

        Without `from` it begins now; with `until` it ends by itself (SG-14). The school office
        names the leader's `decision_id`, which serves once. A person holds 64 at most of those
        that the caller sees, now or from a later day.
        """
        attempt = await attempt_of(request, visit.person_id)
        command = Grant(
            person_id, body.role, body.organisation_id, body.from_, body.until, body.decision_id
        )
        granted = await grants.grant(visit, attempt, command)
        response.headers["etag"] = granted.etag
        return versioned(granted.assignment, granted.etag)

    @router.delete("/people/{person_id}/assignments/{assignment_id}", status_code=204)
    async def revoke_assignment(
        visit: Visiting,
        request: Request,
        person_id: UUID,
        assignment_id: UUID,
        decision_id: Annotated[UUID | None, Query()] = None,
    ) -> None:
        """Take a role back, in every service within a second (SG-3; AC-DO-1, AC-DO-3, AC-DO-5).

        `If-Match` is the assignment's `version`, as the staff list or the person shows it.
        """
        await revocations.revoke(visit, person_id, assignment_id, request, decision_id)

    @router.post("/access-decisions", status_code=201)
    async def record_decision(
        visit: Visiting, request: Request, body: NewAccessDecision
    ) -> DecisionOut:
        """Record a leader's decision that the school office carries out (AC-DO-1, AC-DO-3)."""
        attempt = await attempt_of(request, visit.person_id)
        fields = body.model_dump(exclude={"action"})
        made = await decisions.record(visit, attempt, Decide(**fields, change=body.action))
        return DecisionOut(id=made, **fields, action=body.action)

    return router


def versioned(view: AssignmentView, version: str) -> VersionedAssignmentOut:
    """Return an assignment with its tag."""
    return VersionedAssignmentOut(
        id=view.assignment_id,
        person_id=view.person_id,
        role=view.role,
        organisation_id=view.organisation_id,
        from_=view.starts_at,
        until=view.ends_at,
        version=version.strip('"'),
    )
