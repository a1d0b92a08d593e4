"""Routes about people: registered, shown, corrected. Parse, one call, answer."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from fastapi import APIRouter, Request, Response
from msgspec import UNSET
from pydantic import BaseModel, Field
from pydantic.config import JsonDict
from pydantic.json_schema import SkipJsonSchema

from services.authz.api_access import VersionedAssignmentOut, versioned
from services.authz.api_me import Correction, Email
from services.authz.desk import Desk
from services.authz.events import Profile
from services.authz.invitations import expires_at
from services.authz.known_people import KnownPeople
from services.authz.me import Change
from services.authz.pages import Cursor, Limit, Pages
from services.authz.profiles import Profiles
from services.authz.registration import Register, Registration
from services.authz.staff import Staff
from services.authz.staff_views import PersonView, version_of
from services.authz.visits import Gate, Visit, Visiting, authenticated
from services.kernel.cursors import Cursors
from services.kernel.etags import not_modified
from services.kernel.texts import Body, Line


class NewPerson(Body):
    """A person as they are registered for an organisation."""

    username: Line
    given_name: Line
    family_name: Line
    email: Email
    phone: Line | None = None
    organisation_id: UUID


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


def _without_default(schema: JsonDict) -> None:
    schema.pop("default", None)


#: absent, not null, where the reader does not see it
_Contact = Annotated[
    str | SkipJsonSchema[None],
    Field(exclude_if=lambda value: value is None, json_schema_extra=_without_default),
]


class PersonOut(BaseModel):
    """A person, as far as the reader sees them.

    `email` and `phone` are there for the person themselves, for whoever may correct them, and for
    an administrator who gives or takes back their post; and absent for everybody else.
    """

    id: UUID
    given_name: str
    family_name: str
    email: _Contact = None
    phone: _Contact = None
    suspended: bool
    assignments: list[VersionedAssignmentOut]
    version: str


class PeopleList(BaseModel):
    """A page of people."""

    items: list[PersonOut]
    next_cursor: str | None


def people_router(gate: Gate, desk: Desk, channel: str) -> APIRouter:
    """Return the routes under ``/v1/people`` that are about who somebody is.

    ``channel`` is how invitations are delivered.
    """
    router = APIRouter(prefix="/v1", tags=["people"], route_class=authenticated(gate))
    registration, staff = Registration(desk), Staff(desk)
    profiles, known = Profiles(desk, staff), KnownPeople(desk, staff)
    pages = Pages(Cursors(desk.runtime.installation.secret("cursor")))
    attempt_of = desk.idempotency.attempt

    @router.get("/people")
    async def list_people(
        visit: Visiting,
        organisation: UUID | None = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> PeopleList:
        """List whom one's own assignments let one see, by id (AC-SEE-7, AC-SEE-11, AC-SEE-22).

        Each as `GET /v1/people/{person_id}` shows them. `organisation` leaves those one sees there:
        one that there is not, or that one does not see, has nobody.
        """
        text = f"people {organisation or ''}"
        after = pages.after(visit, text, cursor)
        page = await known.page(visit, organisation, after, limit)
        return PeopleList(
            items=[_person(desk, visit, one, version_of(desk, visit, one)) for one in page.items],
            next_cursor=pages.next(visit, text, page.after),
        )

    @router.post("/people", status_code=201)
    async def register_person(visit: Visiting, request: Request, body: NewPerson) -> RegisteredOut:
        """Register somebody for an organisation and invite them (AC-DO-1, AC-DO-5, AC-DO-16).

        They see nothing until somebody gives them a role. The invitation goes to them alone.
        """
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
        """Show somebody whom one's own assignments let one see (AC-SEE-7, AC-SEE-11)."""
        found = await staff.person(visit, person_id)
        version = version_of(desk, visit, found)
        response.headers["etag"] = version
        return not_modified(request, version) or _person(desk, visit, found, version)

    @router.patch("/people/{person_id}")
    async def correct_person(
        visit: Visiting, request: Request, person_id: UUID, body: Correction, response: Response
    ) -> PersonOut:
        """Correct the details of one's own staff (AC-DO-13)."""
        change = Change(**body.model_dump())
        corrected = await profiles.correct(visit, request, person_id, change)
        version = version_of(desk, visit, corrected)
        response.headers["etag"] = version
        return _person(desk, visit, corrected, version)

    return router


def _profile(body: NewPerson) -> Profile:
    return Profile(
        given_name=body.given_name,
        family_name=body.family_name,
        email=body.email,
        phone=body.phone or "",
    )


def _person(desk: Desk, visit: Visit, found: PersonView, version: str) -> PersonOut:
    return PersonOut(
        id=found.id,
        given_name=found.given_name,
        family_name=found.family_name,
        email=None if found.email is UNSET else found.email,
        phone=None if found.phone is UNSET else found.phone,
        suspended=found.suspended,
        assignments=[versioned(one, version_of(desk, visit, one)) for one in found.assignments],
        version=version.strip('"'),
    )
