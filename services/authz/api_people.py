"""Routes about people: registered, corrected, granted. Parse, one call, answer."""

from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from services.authz.access_decisions import AccessDecisions, Decide
from services.authz.api_me import Correction, Email
from services.authz.desk import Desk
from services.authz.events import Profile, Role
from services.authz.grants import Grant, Granted, Grants
from services.authz.invitations import expires_at
from services.authz.me import Change
from services.authz.profiles import Profiles
from services.authz.registration import Register, Registration
from services.authz.revocations import Revocations
from services.authz.staff_views import AssignmentView, PersonView, Staff, version_of
from services.authz.visits import Gate, Visiting, authenticated
from services.kernel.etags import not_modified
from services.kernel.texts import Body, Line, Moment


class NewPerson(Body):
    """A person as they are registered for an organisation."""

    username: Line
    given_name: Line
    family_name: Line
    email: Email
    phone: Line | None = None
    organisation_id: UUID


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
    action: Literal["grant", "revoke"] = "grant"


class InvitationOut(BaseModel):
    """A one-time invitation on its way to the person alone, and by which channel.

    ``id`` is the reference in the message; what the message says besides is never answered.
    """

    id: UUID
    channel: str
    expires_at: datetime

    @classmethod
    def of(cls, invitation_id: UUID, channel: str) -> Self:
        """Show that an invitation was issued."""
        return cls(id=invitation_id, channel=channel, expires_at=expires_at(invitation_id))


class RegisteredOut(BaseModel):
    """A new person; their invitation is delivered to them."""

    id: UUID
    organisation_id: UUID
    invitation: InvitationOut


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


class PersonOut(BaseModel):
    """A person, as far as the reader sees them."""

    id: UUID
    given_name: str
    family_name: str
    email: str
    phone: str
    suspended: bool
    assignments: list[VersionedAssignmentOut]
    version: str


class DecisionOut(BaseModel):
    """A recorded decision."""

    id: UUID
    person_id: UUID
    role: Role
    organisation_id: UUID
    expires_at: datetime
    action: str


def people_router(gate: Gate, desk: Desk, channel: str) -> APIRouter:
    """Return the routes under ``/v1/people``, and of access decisions.

    ``channel`` is how invitations are delivered.
    """
    router = APIRouter(prefix="/v1", route_class=authenticated(gate))
    registration, staff, grants = Registration(desk), Staff(desk), Grants(desk)
    revocations, decisions = Revocations(desk), AccessDecisions(desk)
    profiles = Profiles(desk, staff)
    attempt_of = desk.idempotency.attempt

    @router.post("/people", status_code=201)
    async def register_person(visit: Visiting, request: Request, body: NewPerson) -> RegisteredOut:
        attempt = await attempt_of(request, visit.person_id)
        command = Register(body.username, _profile(body), body.organisation_id)
        made = await registration.register(visit, attempt, command)
        return RegisteredOut(
            id=made.person_id,
            organisation_id=made.organisation_id,
            invitation=InvitationOut.of(made.invitation_id, channel),
        )

    @router.get("/people/{person_id}", response_model=PersonOut)
    async def show_person(
        visit: Visiting, request: Request, person_id: UUID, response: Response
    ) -> PersonOut | Response:
        found = await staff.person(visit, person_id)
        version = version_of(desk, visit, found)
        if not_modified(request, version):
            return Response(status_code=304, headers={"etag": version})
        response.headers["etag"] = version
        tags = [version_of(desk, visit, one) for one in found.assignments]
        return _person(found, version, tags)

    @router.patch("/people/{person_id}")
    async def correct_person(
        visit: Visiting, request: Request, person_id: UUID, body: Correction, response: Response
    ) -> PersonOut:
        change = Change(**body.model_dump())
        corrected = await profiles.correct(visit, request, person_id, change)
        version = version_of(desk, visit, corrected)
        response.headers["etag"] = version
        tags = [version_of(desk, visit, one) for one in corrected.assignments]
        return _person(corrected, version, tags)

    @router.post("/people/{person_id}/assignments", status_code=201)
    async def grant_assignment(
        visit: Visiting,
        request: Request,
        person_id: UUID,
        body: NewAssignment,
        response: Response,
    ) -> VersionedAssignmentOut:
        attempt = await attempt_of(request, visit.person_id)
        command = Grant(
            person_id, body.role, body.organisation_id, body.from_, body.until, body.decision_id
        )
        granted = await grants.grant(visit, attempt, command)
        response.headers["etag"] = granted.etag
        return _assignment(granted)

    @router.delete("/people/{person_id}/assignments/{assignment_id}", status_code=204)
    async def revoke_assignment(
        visit: Visiting,
        request: Request,
        person_id: UUID,
        assignment_id: UUID,
        decision_id: Annotated[UUID | None, Query()] = None,
    ) -> None:
        await revocations.revoke(visit, person_id, assignment_id, request, decision_id)

    @router.post("/access-decisions", status_code=201)
    async def record_decision(
        visit: Visiting, request: Request, body: NewAccessDecision
    ) -> DecisionOut:
        attempt = await attempt_of(request, visit.person_id)
        fields = body.model_dump(exclude={"action"})
        made = await decisions.record(visit, attempt, Decide(**fields, change=body.action))
        return DecisionOut(id=made, **fields, action=body.action)

    return router


def _profile(body: NewPerson) -> Profile:
    return Profile(
        given_name=body.given_name,
        family_name=body.family_name,
        email=body.email,
        phone=body.phone or "",
    )


def _assignment(granted: Granted) -> VersionedAssignmentOut:
    return _versioned(granted.assignment, granted.etag)


def _versioned(view: AssignmentView, version: str) -> VersionedAssignmentOut:
    return VersionedAssignmentOut(
        id=view.assignment_id,
        person_id=view.person_id,
        role=view.role,
        organisation_id=view.organisation_id,
        from_=view.starts_at,
        until=view.ends_at,
        version=version.strip('"'),
    )


def _person(found: PersonView, version: str, tags: list[str]) -> PersonOut:
    profile = found.profile
    return PersonOut(
        id=found.id,
        given_name=profile.given_name,
        family_name=profile.family_name,
        email=profile.email,
        phone=profile.phone,
        suspended=found.suspended,
        assignments=[
            _versioned(view, tag) for view, tag in zip(found.assignments, tags, strict=True)
        ],
        version=version.strip('"'),
    )
