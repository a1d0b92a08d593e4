"""A running authz with people who can log in: what the tests of its front door begin with."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import Any, Final
from uuid import UUID

import asyncpg
import httpx
import pyotp
import pytest
from argon2 import PasswordHasher

from services.authz import events as e
from services.authz import seeding
from services.authz.app import Authz, build
from services.authz.credential_events import INVITATION_ISSUED
from services.authz.invitations import Invitations
from services.authz.passwords import Effort, hash_password
from services.authz.recording import data_of
from services.authz.usernames import username_once
from services.kernel.boundary import Boundary
from services.kernel.errors import Unavailable
from services.kernel.events import Event, Recorded, Service, decode
from services.kernel.groups import Group
from services.kernel.log import Log
from services.kernel.runtime import Installation
from services.kernel.settings import Settings
from tests.conftest import Clock

PASSWORD: Final = "granite-otter-lantern-94-quilt"
TOTP_SECRET: Final = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
HOME: Final = "192.0.2.10"
ELSEWHERE: Final = "198.51.100.77"
FIREFOX: Final = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:128.0) Gecko/20100101 Firefox/128.0"


#: passwords that cost nothing to try, for tests that claim nothing about what they cost
CHEAP: Final = Effort(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1), floor_s=0.0)


@cache
def kept_password(effort: Effort = CHEAP) -> str:
    """Return the hash of :data:`PASSWORD`, made once."""
    return hash_password(PASSWORD, b"0123456789abcdef", effort.hasher)


@dataclass
class Somebody:
    """A person who can log in, and what they hold."""

    id: UUID
    username: str
    organisation_id: UUID
    assignment_id: UUID


@dataclass
class Door:
    """One authz process, and requests to it from chosen addresses."""

    authz: Authz
    clock: Clock
    settings: Settings
    effort: Effort = CHEAP
    _clients: dict[str, httpx.AsyncClient] = field(default_factory=dict)

    def at(self, ip: str) -> httpx.AsyncClient:
        """Return a client whose requests come from ``ip``."""
        if ip not in self._clients:
            app = Boundary(self.authz.app, Service.AUTHZ)
            transport = httpx.ASGITransport(app=app, client=(ip, 40_000))
            self._clients[ip] = httpx.AsyncClient(
                transport=transport,
                base_url="http://authz.test",
                headers={"user-agent": FIREFOX},
            )
        return self._clients[ip]

    async def post(
        self, path: str, body: object, ip: str = HOME, token: str | None = None
    ) -> httpx.Response:
        """Send JSON."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return await self.at(ip).post(path, json=body, headers=headers)

    async def get(self, path: str, token: str, ip: str = HOME) -> httpx.Response:
        """Ask with an access token."""
        return await self.at(ip).get(path, headers={"authorization": f"Bearer {token}"})

    def code(self) -> str:
        """Return the code that the authenticator shows now."""
        return pyotp.TOTP(TOTP_SECRET).at(self.clock.now())

    def next_step(self) -> None:
        """Wait until the authenticator shows another code."""
        self.clock.advance(timedelta(seconds=30))

    async def first_factor(self, somebody: Somebody, ip: str = HOME) -> str:
        """Return a login token."""
        body = {"username": somebody.username, "password": PASSWORD}
        answer = await self.post("/v1/login", body, ip)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["login_token"])

    async def verify(
        self, login_token: str, code: str, ip: str = HOME, method: str = "totp"
    ) -> httpx.Response:
        """Offer a second factor."""
        body = {"login_token": login_token, "method": method, "code": code}
        return await self.post("/v1/login/verify", body, ip)

    async def log_in(self, somebody: Somebody, ip: str = HOME) -> dict[str, Any]:
        """Return the tokens of a new session, taking the next code."""
        self.next_step()
        answer = await self.verify(await self.first_factor(somebody, ip), self.code(), ip)
        assert answer.status_code == 200, answer.text
        tokens: dict[str, Any] = answer.json()
        return tokens

    async def somebody(
        self, username: str = "aroha.ngata", given: str = "Aroha", family: str = "Ngata"
    ) -> Somebody:
        """Seed a school leader."""
        runtime = self.authz.runtime
        effects, now = runtime.effects, self.clock.now()
        person_id, organisation_id = effects.new_id(), effects.new_id()
        granted = e.AssignmentGranted(
            assignment_id=effects.new_id(),
            person_id=person_id,
            role=e.Role.SCHOOL_LEADER,
            organisation_id=organisation_id,
            starts_at=now - timedelta(days=1),
        )
        school = e.OrganisationRegistered(
            organisation_id=organisation_id,
            kind=e.OrganisationKind.SCHOOL,
            name="Kowhai Street School",
            time_zone="Pacific/Auckland",
        )
        await runtime.keys.load(seeding.needed_keys(person_id), create=True)
        events = seeding.person_events(
            runtime.keys,
            effects,
            self.authz.usernames,
            person_id=person_id,
            username=username,
            profile=e.Profile(
                given_name=given, family_name=family, email=f"{username}@kowhai.example"
            ),
            password_hash=kept_password(self.effort),
            totp_secret=TOTP_SECRET,
            assignments=[granted],
            recorded_at=now,
        )
        once = username_once(self.authz.usernames.digest(username))
        group = Group([seeding.organisation_event(effects, school, now), *events], once=(once,))
        await self.append(group)
        return Somebody(person_id, username, organisation_id, granted.assignment_id)

    async def append(self, group: Group) -> None:
        """Append facts and fold them."""
        position = await self.authz.runtime.log.append(group)
        await self.authz.runtime.projector.reached(position)

    async def person_version(self, somebody: Somebody) -> int:
        """Return the version of a person's stream."""
        version = await self.authz.runtime.pool.fetchval(
            "select max(version) from log.fact where stream = $1", f"person:{somebody.id}"
        )
        return int(version)

    async def invite(self, somebody: Somebody) -> str:
        """Issue an invitation to a person; return its token."""
        event_id = self.authz.runtime.effects.new_id()
        invitation = Invitations(b"invitation").of(event_id)
        event = Event(
            id=event_id,
            type=INVITATION_ISSUED,
            stream=f"person:{somebody.id}",
            version=await self.person_version(somebody) + 1,
            recorded_at=self.clock.now(),
            action="create",
            touches=(e.person_key(somebody.id),),
            data=data_of(invitation.issued_to(somebody.id)),
        )
        await self.append(Group([event]))
        return invitation.token

    async def suspend(self, somebody: Somebody) -> None:
        """Append the suspension of a person."""
        effects = self.authz.runtime.effects
        event = Event(
            id=effects.new_id(),
            type=e.PERSON_SUSPENDED,
            stream=f"person:{somebody.id}",
            version=await self.person_version(somebody) + 1,
            recorded_at=self.clock.now(),
            action="update",
            touches=(e.person_key(somebody.id),),
            data={"person_id": somebody.id, "reason": "sealed elsewhere"},
        )
        await self.append(Group([event]))

    async def log(self) -> list[Recorded]:
        """Return everything that was appended."""
        rows = await self.authz.runtime.pool.fetch(
            "select position, body from log.event order by position"
        )
        return [decode(row["position"], row["body"]) for row in rows]

    async def of_type(self, type_: str) -> list[Event]:
        """Return the events of one type."""
        return [r.event for r in await self.log() if r.event.type == type_]

    async def close(self) -> None:
        """Stop the process."""
        for client in self._clients.values():
            await client.aclose()
        await self.authz.stop()


@contextmanager
def log_away() -> Iterator[None]:
    """Let nothing be appended meanwhile: whoever would is 503."""

    async def away(_log: Log, _group: Group) -> int:
        raise Unavailable

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Log, "append", away)
        yield


@asynccontextmanager
async def opened(
    installation: Installation,
    clock: Clock,
    settings: Settings | None = None,
    effort: Effort = CHEAP,
) -> AsyncIterator[Door]:
    """Run an authz process."""
    settings = settings or Settings()
    door = Door(await build(installation, settings, effort), clock, settings, effort)
    try:
        await door.authz.start()
        yield door
    finally:
        await door.close()


@asynccontextmanager
async def two_opened(installation: Installation, clock: Clock) -> AsyncIterator[tuple[Door, Door]]:
    """Run two authz processes over one log, started at the same moment."""
    async with AsyncExitStack() as stack:
        built = [
            Door(await build(installation, Settings(), CHEAP), clock, Settings()) for _ in range(2)
        ]
        for door in built:
            stack.push_async_callback(door.close)
        started = await asyncio.gather(
            *(door.authz.start() for door in built), return_exceptions=True
        )
        for failed in filter(None, started):
            raise failed
        yield built[0], built[1]


async def owner(installation: Installation) -> asyncpg.Connection:
    """Connect as the owner of the database."""
    return await asyncpg.connect(installation.server.url)
