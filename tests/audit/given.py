"""A world for the claims about audit: organisations, staff, logins and reads, through the log.

Everything is appended the way the services append it: by each service's own role, sealed where it
would be sealed. What is asked goes through the application as it is served.
"""

import base64
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.audit.app import Audit, build
from services.authz import access
from services.authz import events as authz
from services.authz.credential_events import CREDENTIALS_RESET, CredentialsReset
from services.authz.directory_fold import Directory
from services.authz.session_events import (
    LOGIN_FAILED,
    SESSION_ENDED,
    SESSION_STARTED,
    SIGNING_KEY_ADDED,
    SessionEnded,
    SessionStarted,
    SigningKeyAdded,
    session_key,
)
from services.cases import events as cases
from services.cases.content_events import ITEM_ADDED
from services.kernel.boundary import Boundary
from services.kernel.event_types import Registry
from services.kernel.events import Actor, Event, Ground, ObjectRef, Origin, Outcome, Service
from services.kernel.groups import Group
from services.kernel.http import Call
from services.kernel.runtime import Installation, Runtime, open_runtime
from services.kernel.settings import Settings
from tests.conftest import TYPES, Clock

# A Tuesday in term, 10:00 in Auckland; and 02:00 the night after.
TUESDAY_MORNING = datetime(2026, 3, 2, 21, 0, tzinfo=UTC)
AT_NIGHT = datetime(2026, 3, 3, 13, 0, tzinfo=UTC)

# Where people work, and with what.
DESK = "203.0.113.7"
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Firefox/140.0"

Answer = dict[str, Any]


@dataclass(frozen=True)
class Staff:
    """A person with one assignment."""

    id: UUID
    role: authz.Role
    organisation_id: UUID
    assignment_id: UUID


@dataclass
class World:
    """An installation with its three services' hold on the log, audit being served."""

    clock: Clock
    authz: Runtime
    cases: Runtime
    audit: Audit
    client: httpx.AsyncClient
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    #: of the streams of people who were reset
    versions: dict[UUID, int] = field(default_factory=dict)

    def id(self) -> UUID:
        """Draw an id."""
        return self.authz.effects.new_id()

    @contextmanager
    def at(self, moment: datetime) -> Iterator[None]:
        """Let it be another time meanwhile."""
        now = self.clock.now()
        self.clock.set(moment)
        yield
        self.clock.set(now)

    async def fact(
        self, type_: str, stream: str, version: int, data: object, touches: tuple[str, ...] = ()
    ) -> Event:
        """Append a fact of authz."""
        event_id = self.id()
        event = Event(
            id=event_id,
            type=type_,
            stream=stream,
            version=version,
            recorded_at=self.clock.now(),
            touches=touches,
            data=msgspec.to_builtins(data),
        )
        await self.authz.log.append(Group([event]))
        return event

    async def signing_key(self) -> None:
        """Publish the key that tokens are signed with here; it signs once it is known."""
        public = base64.b64encode(self.key.public_key().public_bytes_raw()).decode()
        added = SigningKeyAdded(kid="k1", public_key=public)
        await self.fact(SIGNING_KEY_ADDED, "signing-keys", 1, added)
        projector = self.audit.runtime.projector
        await projector.reached(await projector.head())

    async def organisation(self, kind: str = "asp", zone: str = "Pacific/Auckland") -> UUID:
        """Register an organisation."""
        organisation_id = self.id()
        data = authz.OrganisationRegistered(
            organisation_id=organisation_id,
            kind=authz.OrganisationKind(kind),
            name="An organisation",
            time_zone=zone,
            holiday_subdivision="AUK",
        )
        stream = f"organisation:{organisation_id}"
        await self.fact(authz.ORGANISATION_REGISTERED, stream, 1, data)
        return organisation_id

    async def staff(self, role: str, organisation_id: UUID) -> Staff:
        """Register a person who holds a role at an organisation."""
        person = Staff(self.id(), authz.Role(role), organisation_id, self.id())
        stream = f"person:{person.id}"
        registered = authz.PersonRegistered(
            person_id=person.id, profile="sealed", username_digest="d", username="sealed"
        )
        granted = authz.AssignmentGranted(
            assignment_id=person.assignment_id,
            person_id=person.id,
            role=person.role,
            organisation_id=organisation_id,
            starts_at=datetime(2020, 1, 1, tzinfo=UTC),
        )
        await self.fact(authz.PERSON_REGISTERED, stream, 1, registered)
        touched = (authz.person_key(person.id),)
        await self.fact(authz.ASSIGNMENT_GRANTED, stream, 2, granted, touches=touched)
        return person

    async def revoke(self, person: Staff) -> None:
        """Take a person's one assignment away."""
        revoked = authz.AssignmentRevoked(assignment_id=person.assignment_id, person_id=person.id)
        touched = (authz.person_key(person.id),)
        await self.fact(authz.ASSIGNMENT_REVOKED, f"person:{person.id}", 3, revoked, touched)

    async def reset(self, by: Staff, whom: Staff, at: datetime, *, agent: str = BROWSER) -> UUID:
        """Let somebody reset another's credentials, at their own desk; return the event's id."""
        event_id, version = self.id(), self.versions.get(whom.id, 2) + 1
        self.versions[whom.id] = version
        with self.at(at):
            origin = await self.authz.origins.seal(event_id, Call("r-2", DESK, agent), None)
        event = Event(
            id=event_id,
            type=CREDENTIALS_RESET,
            stream=f"person:{whom.id}",
            version=version,
            recorded_at=at,
            actor=Actor(person_id=by.id, organisation_id=by.organisation_id),
            origin=origin,
            action="reset",
            object=ObjectRef("person", str(whom.id)),
            organisation_id=whom.organisation_id,
            data=msgspec.to_builtins(CredentialsReset(person_id=whom.id, reason="sealed")),
        )
        await self.authz.log.append(Group([event]))
        return event_id

    async def begin(
        self,
        person: Staff,
        at: datetime = TUESDAY_MORNING,
        ip: str = DESK,
        *,
        agent: str = BROWSER,
        others: int = 0,
    ) -> UUID:
        """Let a person log in at a moment, beside other sessions; return the session."""
        session_id, event_id = self.id(), self.id()
        data = SessionStarted(
            session_id=session_id,
            person_id=person.id,
            organisation_id=person.organisation_id,
            methods=("password", "totp"),
            expires_at=datetime.now(UTC) + timedelta(hours=12),
            refresh_digest="d",
            other_sessions=others,
        )
        with self.at(at):
            call = Call("r-1", ip, agent)
            event = Event(
                id=event_id,
                type=SESSION_STARTED,
                stream=f"session:{session_id}",
                version=1,
                recorded_at=at,
                actor=Actor(person_id=person.id, organisation_id=person.organisation_id),
                origin=await self.authz.origins.seal(event_id, call, session_id),
                action="login",
                object=ObjectRef("session", str(session_id)),
                organisation_id=person.organisation_id,
                data=msgspec.to_builtins(data),
            )
            await self.authz.log.append(Group([event]))
        return session_id

    async def end(self, person: Staff, session_id: UUID, reason: str = "logout") -> None:
        """End a session."""
        ended = SessionEnded(
            session_id=session_id, person_id=person.id, reason=reason, duration_s=60
        )
        event = Event(
            id=self.id(),
            type=SESSION_ENDED,
            stream=f"session:{session_id}",
            version=2,
            recorded_at=self.clock.now(),
            actor=Actor(person_id=person.id, organisation_id=person.organisation_id),
            origin=Origin(session_id=session_id),
            action="logout",
            object=ObjectRef("session", str(session_id)),
            organisation_id=person.organisation_id,
            touches=(session_key(session_id),),
            data=msgspec.to_builtins(ended),
        )
        await self.authz.log.append(Group([event]))

    async def failed_login(self, person: Staff, at: datetime, ip: str = "203.0.113.9") -> None:
        """Let a login fail."""
        event_id = self.id()
        with self.at(at):
            event = Event(
                id=event_id,
                type=LOGIN_FAILED,
                recorded_at=at,
                actor=Actor(person_id=person.id, organisation_id=person.organisation_id),
                origin=await self.authz.origins.seal(event_id, Call("r", ip, "curl"), None),
                action="login",
                outcome=Outcome.FAILED,
                data={"account": "digest"},
            )
            await self.authz.log.append(Group([event]))

    async def saw(
        self,
        person: Staff,
        student: UUID | None = None,
        *,
        session_id: UUID | None = None,
        action: str = "read",
        outcome: Outcome = Outcome.ALLOWED,
        students: tuple[UUID, ...] = (),
        case_id: UUID | None = None,
        kind: str = "case",
        at: datetime | None = None,
        in_vain: bool = False,
        part_of: UUID | None = None,
    ) -> UUID:
        """Let a person read something in cases, or list ``in_vain``; return the event's id.

        What is read is ``part_of`` that case, as something other than a record is.
        """
        event_id, allowed = self.id(), outcome is Outcome.ALLOWED
        call = Call("request-7", "203.0.113.7", "Mozilla/5.0 Firefox/140.0")
        case_id = case_id or self.id()
        ground = Ground(person.assignment_id, person.role.value, "AC-SEE-12", ("overview",))
        event = Event(
            id=event_id,
            type=cases.READ if allowed else cases.REFUSED,
            recorded_at=at or self.clock.now(),
            actor=Actor(person_id=person.id, organisation_id=person.organisation_id),
            origin=await self.cases.origins.seal(event_id, call, session_id),
            action=action,
            outcome=outcome,
            grounds=(ground,) if allowed else (),
            policy_version="p1",
            purpose="case_management",
            student_id=student,
            object=ObjectRef(kind, str(case_id)),
            organisation_id=person.organisation_id,
            shown={"overview": [str(case_id)]} if allowed and not in_vain else {},
            data={"students": [str(s) for s in students]}
            if students or in_vain
            else {"record": {"type": "case", "id": str(part_of)}}
            if part_of
            else {"kept": "apart"},
        )
        await self.cases.log.append(Group([event]))
        return event_id

    async def wrote(self, person: Staff, case_id: UUID, item_id: UUID) -> UUID:
        """Let a person put the first item on a case; return the event's id."""
        event = Event(
            id=self.id(),
            type=ITEM_ADDED,
            stream=f"case:{case_id}",
            version=1,
            recorded_at=self.clock.now(),
            actor=Actor(person_id=person.id, organisation_id=person.organisation_id),
            action="create",
            object=ObjectRef("item", str(item_id)),
            data={"kept": "apart"},
        )
        await self.cases.log.append(Group([event]))
        return event.id

    def token(self, person: Staff, session_id: UUID) -> str:
        """Sign an access token."""
        now = self.clock.now()
        claims = {
            "iss": access.ISSUER,
            "aud": access.AUDIENCE,
            "sub": str(person.id),
            "sid": str(session_id),
            "iat": int(now.timestamp()),
            "exp": int((now + timedelta(hours=1)).timestamp()),
            "jti": str(self.id()),
        }
        headers = {"kid": "k1", "typ": access.TYPE}
        return jwt.encode(claims, self.key, algorithm=access.ALGORITHM, headers=headers)

    async def caller(self, role: str, organisation_id: UUID) -> "Caller":
        """Register somebody of a role and log them in."""
        person = await self.staff(role, organisation_id)
        session_id = await self.begin(person)
        return Caller(self, person, session_id, self.token(person, session_id))

    async def analyst(self, kind: str = "ministry") -> "Caller":
        """Log a security analyst in, at the Ministry or another organisation of their own."""
        return await self.caller("security_analyst", await self.organisation(kind))


@dataclass(frozen=True)
class Caller:
    """Somebody with a token, asking audit."""

    world: World
    person: Staff
    session_id: UUID
    token: str

    async def ask(self, path: str, **filters: object) -> httpx.Response:
        """GET a path."""
        asked = {name.rstrip("_"): str(value) for name, value in filters.items()}
        return await self.world.client.get(path, params=asked, headers=self.headers)

    async def tell(self, path: str, body: object, key: str | None = None) -> httpx.Response:
        """POST to a path, perhaps under an ``Idempotency-Key``."""
        headers = self.headers | ({"idempotency-key": key} if key else {})
        return await self.world.client.post(path, json=body, headers=headers)

    @property
    def headers(self) -> dict[str, str]:
        """What the caller sends along."""
        return {"authorization": f"Bearer {self.token}", "purpose": "security_review"}

    async def items(self, path: str, **filters: object) -> list[Answer]:
        """GET a list and return its items."""
        response = await self.ask(path, **filters)
        assert response.status_code == 200, response.text
        items: list[Answer] = response.json()["items"]
        return items

    async def ids(self, path: str, **filters: object) -> list[UUID]:
        """GET a list and return the ids of its items."""
        return [UUID(item["id"]) for item in await self.items(path, **filters)]


@asynccontextmanager
async def opened(installation: Installation, service: Service) -> AsyncIterator[Runtime]:
    """Open and start the runtime of a service that folds the directory only."""
    runtime = await open_runtime(
        installation, service, Registry(TYPES), lambda _: [Directory(str(service))]
    )
    try:
        runtime.start()
        yield runtime
    finally:
        await runtime.stop()


@asynccontextmanager
async def served(installation: Installation) -> AsyncIterator[tuple[Audit, httpx.AsyncClient]]:
    """Start audit and a client of it."""
    audit = await build(installation, Settings(), TYPES)
    transport = httpx.ASGITransport(Boundary(audit.app, Service.AUDIT))
    try:
        await audit.start()
        async with httpx.AsyncClient(transport=transport, base_url="http://audit") as client:
            yield audit, client
    finally:
        await audit.stop()


@asynccontextmanager
async def world_of(installation: Installation, clock: Clock) -> AsyncIterator[World]:
    """Start a world with a signing key and nobody in it."""
    async with AsyncExitStack() as stack:
        of_authz = await stack.enter_async_context(opened(installation, Service.AUTHZ))
        of_cases = await stack.enter_async_context(opened(installation, Service.CASES))
        audit, client = await stack.enter_async_context(served(installation))
        world = World(clock, of_authz, of_cases, audit, client)
        await world.signing_key()
        yield world
