"""Given: a small region with its staff, each in a live session, before authz over HTTP.

Two schools, two providers and the Ministry. Facts are seeded; everything a test claims goes through
the service's own routes, as a process of its own would serve them.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx

from services.authz import events as e
from services.authz import seeding
from services.authz.app import Authz, build
from services.authz.events import OrganisationKind, Role
from services.authz.recording import data_of
from services.authz.session_events import SESSION_STARTED, SessionStarted, session_key
from services.authz.usernames import username_once
from services.kernel.boundary import Boundary
from services.kernel.events import Event, Recorded, Service
from services.kernel.groups import Group
from services.kernel.runtime import Installation
from services.kernel.settings import Settings
from tests.authz.door import CHEAP
from tests.kernel.given import read_all

MINISTRY, MATAI, RIMU = "Ministry", "Matai School", "Rimu School"
SESSION_LASTS = timedelta(hours=8)
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
        await self.append(self._organisation(name, kind))
        return self.organisations[name]

    def _organisation(self, name: str, kind: OrganisationKind) -> Event:
        effects = self.installation.effects
        new_id = self.organisations[name] = effects.new_id()
        payload = e.OrganisationRegistered(
            organisation_id=new_id, kind=kind, name=name, time_zone="Pacific/Auckland"
        )
        return seeding.organisation_event(effects, payload, effects.now())

    async def person(self, name: str, *posts: tuple[Role, str]) -> UUID:
        """Seed a person who holds ``posts``, and let them sign in."""
        await self.staff({name: posts})
        return self.people[name]

    async def staff(self, people: Mapping[str, Sequence[tuple[Role, str]]]) -> None:
        """Seed people who hold posts, and let them sign in: all of it in one append."""
        effects = self.installation.effects
        self.people |= {name: effects.new_id() for name in people}
        needed = [key for name in people for key in seeding.needed_keys(self.people[name])]
        await self.authz.runtime.keys.load(needed, create=True)
        events = [event for name, posts in people.items() for event in self._person(name, posts)]
        sessions = [self._session(name) for name in people]
        digests = (self.authz.usernames.digest(name) for name in people)
        await self.append(*events, *sessions, once=tuple(map(username_once, digests)))
        for name in people:
            await self._keep_token(name)

    def _person(self, name: str, posts: Sequence[tuple[Role, str]]) -> list[Event]:
        effects, person_id = self.installation.effects, self.people[name]
        granted = [
            e.AssignmentGranted(
                assignment_id=effects.new_id(),
                person_id=person_id,
                role=role,
                organisation_id=self.organisations[place],
                starts_at=effects.now() - timedelta(days=1),
            )
            for role, place in posts
        ]
        if granted:
            self.assignments[name] = granted[0].assignment_id
        return seeding.person_events(
            self.authz.runtime.keys,
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
            recorded_at=effects.now(),
        )

    async def sign_in(self, name: str) -> UUID:
        """Begin a session, as a login with two factors ends, and keep its access token."""
        await self.append(self._session(name))
        await self._keep_token(name)
        return self.sessions[name]

    def _session(self, name: str) -> Event:
        effects = self.installation.effects
        session_id = self.sessions[name] = effects.new_id()
        started = SessionStarted(
            session_id=session_id,
            person_id=self.people[name],
            organisation_id=None,
            methods=("pwd", "otp"),
            expires_at=effects.now() + SESSION_LASTS,
            refresh_digest=session_id.hex,
        )
        return Event(
            id=effects.new_id(),
            type=SESSION_STARTED,
            stream=f"session:{session_id}",
            version=1,
            recorded_at=effects.now(),
            touches=(session_key(session_id),),
            data=data_of(started),
        )

    async def _keep_token(self, name: str) -> None:
        until = self.installation.effects.now() + SESSION_LASTS
        tokens = self.authz.tokens
        self.tokens[name], _ = tokens.access(
            await tokens.key(), self.people[name], self.sessions[name], until
        )

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

    async def hold(self, name: str, role: Role, place: str) -> None:
        """Give somebody another post, as if it had been theirs since yesterday."""
        effects, person_id = self.installation.effects, self.people[name]
        granted = e.AssignmentGranted(
            assignment_id=effects.new_id(),
            person_id=person_id,
            role=role,
            organisation_id=self.organisations[place],
            starts_at=effects.now() - timedelta(days=1),
        )
        await self._about(name, e.ASSIGNMENT_GRANTED, data_of(granted))

    async def lose(self, name: str) -> None:
        """Take the post away from somebody that they were given first."""
        revoked = e.AssignmentRevoked(
            assignment_id=self.assignments[name], person_id=self.people[name]
        )
        await self._about(name, e.ASSIGNMENT_REVOKED, data_of(revoked))

    async def _about(self, name: str, type_: str, data: Mapping[str, Any]) -> None:
        """Append the next fact of somebody's."""
        effects, person_id = self.installation.effects, self.people[name]
        version = await self.authz.runtime.pool.fetchval(
            "select max(version) from log.fact where stream = $1", f"person:{person_id}"
        )
        await self.append(
            Event(
                id=effects.new_id(),
                type=type_,
                stream=f"person:{person_id}",
                version=int(version) + 1,
                recorded_at=effects.now(),
                touches=(e.person_key(person_id),),
                data=data,
            )
        )

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
        other = await build(self.installation, Settings(), CHEAP)
        await other.start()
        self.others.append(other)
        return other


@asynccontextmanager
async def settled(installation: Installation) -> AsyncIterator[Region]:
    """Start a service over the region."""
    authz = await build(installation, Settings(), CHEAP)
    built = Region(authz, installation)
    try:
        await authz.start()
        await built.append(*(built._organisation(name, kind) for name, kind in _KINDS.items()))
        await built.staff({name: [post] for name, post in STAFF.items()})
        yield built
    finally:
        for one in (authz, *built.others):
            await one.stop()
