"""Given: a small region with its staff, each in a live session, before authz over HTTP.

Two schools, two providers and the Ministry. Facts are seeded; everything a test claims goes through
the service's own routes, as a process of its own would serve them.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import httpx
import pytest

from services.authz import events as e
from services.authz import seeding
from services.authz.app import Authz, build
from services.authz.events import OrganisationKind, Role
from services.authz.recording import data_of
from services.authz.usernames import username_once
from services.kernel.events import Event, Recorded, Service
from services.kernel.http import Boundary
from services.kernel.log import Group, read_all
from services.kernel.runtime import Installation
from services.kernel.settings import Settings

MINISTRY, MATAI, RIMU = "Ministry", "Matai School", "Rimu School"
KOTARE, TUI = "Kōtare Attendance", "Tūī In-school"
_KINDS = {
    MINISTRY: OrganisationKind.MINISTRY,
    MATAI: OrganisationKind.SCHOOL,
    RIMU: OrganisationKind.SCHOOL,
    KOTARE: OrganisationKind.ASP,
    TUI: OrganisationKind.ISP,
}
STAFF = {
    "admin": (Role.ADMINISTRATOR, MINISTRY),
    "investigator": (Role.CENTRAL_INVESTIGATION, MINISTRY),
    "leader": (Role.SCHOOL_LEADER, MATAI),
    "office": (Role.SCHOOL_OFFICE, MATAI),
    "contact": (Role.PRIMARY_CONTACT, MATAI),
    "rimu_leader": (Role.SCHOOL_LEADER, RIMU),
    "rimu_contact": (Role.PRIMARY_CONTACT, RIMU),
    "lead": (Role.ASP_WORKFLOW_LEAD, KOTARE),
    "manager": (Role.ASP_CASE_MANAGER, KOTARE),
}


@dataclass
class Region:
    """The region, and the service of one process before it."""

    authz: Authz
    installation: Installation
    organisations: dict[str, UUID] = field(default_factory=dict)
    people: dict[str, UUID] = field(default_factory=dict)
    assignments: dict[str, UUID] = field(default_factory=dict)
    sessions: dict[str, UUID] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    others: list[Authz] = field(default_factory=list)

    async def append(self, *events: Event, once: tuple[bytes, ...] = ()) -> None:
        """Append facts and wait until they are folded."""
        runtime = self.authz.runtime
        position = await runtime.log.append(Group(events, once=once))
        await runtime.projector.reached(position)

    async def organisation(self, name: str, kind: OrganisationKind) -> UUID:
        """Seed an organisation."""
        effects = self.installation.effects
        new_id = effects.new_id()
        payload = e.OrganisationRegistered(
            organisation_id=new_id, kind=kind, name=name, time_zone="Pacific/Auckland"
        )
        await self.append(seeding.organisation_event(effects, payload, effects.now()))
        self.organisations[name] = new_id
        return new_id

    async def person(self, name: str, *posts: tuple[Role, str]) -> UUID:
        """Seed a person who holds ``posts``, and let them sign in."""
        runtime, effects = self.authz.runtime, self.installation.effects
        person_id, now = effects.new_id(), effects.now()
        granted = [
            e.AssignmentGranted(
                assignment_id=effects.new_id(),
                person_id=person_id,
                role=role,
                organisation_id=self.organisations[place],
                starts_at=now - timedelta(days=1),
            )
            for role, place in posts
        ]
        await runtime.keys.load(seeding.needed_keys(person_id), create=True)
        events = seeding.person_events(
            runtime.keys,
            effects,
            self.authz.usernames,
            person_id=person_id,
            username=name,
            profile=e.Profile(
                given_name=name, family_name="Example", email=f"{name}@school.example"
            ),
            password_hash="not a hash",
            totp_secret="JBSWY3DPEHPK3PXP",
            assignments=granted,
            recorded_at=now,
        )
        await self.append(*events, once=(username_once(self.authz.usernames.digest(name)),))
        self.people[name] = person_id
        if granted:
            self.assignments[name] = granted[0].assignment_id
        await self.sign_in(name)
        return person_id

    async def sign_in(self, name: str) -> UUID:
        """Begin a session, as a login with two factors ends, and keep its access token."""
        effects, person_id = self.installation.effects, self.people[name]
        session_id, expires_at = effects.new_id(), effects.now() + timedelta(hours=8)
        started = e.SessionStarted(
            session_id=session_id,
            person_id=person_id,
            organisation_id=None,
            methods=("pwd", "otp"),
            expires_at=expires_at,
            refresh_digest=session_id.hex,
        )
        await self.append(
            Event(
                id=effects.new_id(),
                type=e.SESSION_STARTED,
                stream=f"session:{session_id}",
                version=1,
                recorded_at=effects.now(),
                touches=(e.session_key(session_id),),
                data=data_of(started),
            )
        )
        token, _ = await self.authz.tokens.access(person_id, session_id, expires_at)
        self.sessions[name], self.tokens[name] = session_id, token
        return session_id

    async def call(
        self,
        who: str,
        method: str,
        path: str,
        json: object = None,
        *,
        headers: dict[str, str] | None = None,
        at: Authz | None = None,
    ) -> httpx.Response:
        """Ask the service (or that of another process) as somebody."""
        transport = httpx.ASGITransport(Boundary((at or self.authz).app, Service.AUTHZ))
        sent = {"authorization": f"Bearer {self.tokens[who]}", "x-request-id": "r-1"}
        async with httpx.AsyncClient(transport=transport, base_url="http://authz") as client:
            return await client.request(
                method, path, json=json, headers={**sent, **(headers or {})}
            )

    async def grant(
        self, who: str, to: str, role: Role, place: str, **more: object
    ) -> httpx.Response:
        """Ask, as ``who``, that ``to`` holds a role at an organisation."""
        headers = more.pop("headers", None)
        body = {"role": role, "organisation_id": str(self.organisations[place]), **more}
        path = f"/v1/people/{self.people[to]}/assignments"
        assert headers is None or isinstance(headers, dict)
        return await self.call(who, "POST", path, body, headers=headers)

    async def version(self, who: str, of: str) -> str:
        """Return the entity tag of a person's first assignment, as ``who`` sees it."""
        seen = (await self.call(who, "GET", f"/v1/people/{self.people[of]}")).json()
        own = str(self.assignments[of])
        return next(f'"{a["version"]}"' for a in seen["assignments"] if a["id"] == own)

    async def revoke(
        self, who: str, of: str, *, query: str = "", version: str | None = None
    ) -> httpx.Response:
        """Ask, as ``who``, that somebody's first assignment ends; as the leader sees it now."""
        path = f"/v1/people/{self.people[of]}/assignments/{self.assignments[of]}{query}"
        tag = await self.version(who, of) if version is None else version
        return await self.call(who, "DELETE", path, headers={"if-match": tag})

    async def decision(self, who: str, person: str, role: Role, **more: object) -> httpx.Response:
        """Record, as ``who``, an access decision about Matai School."""
        expires = self.installation.effects.now() + timedelta(days=7)
        body = {
            "person_id": str(self.people[person]),
            "role": role,
            "organisation_id": str(self.organisations[MATAI]),
            "expires_at": expires.isoformat(),
            **more,
        }
        return await self.call(who, "POST", "/v1/access-decisions", body)

    async def log(self, type_: str) -> list[Recorded]:
        """Return every event of a type, oldest first."""
        async with self.authz.runtime.pool.acquire() as connection:
            events = await read_all(connection, -1, 10_000)
        return [recorded for recorded in events if recorded.event.type == type_]

    async def another(self) -> Authz:
        """Start another process's service on the same installation."""
        other = await build(self.installation, Settings())
        await other.start()
        self.others.append(other)
        return other


@pytest.fixture
async def region(installation: Installation) -> AsyncIterator[Region]:
    """Start a service over the region."""
    authz = await build(installation, Settings())
    await authz.start()
    built = Region(authz, installation)
    for name, kind in _KINDS.items():
        await built.organisation(name, kind)
    for name, post in STAFF.items():
        await built.person(name, post)
    yield built
    for one in (authz, *built.others):
        await one.stop()
