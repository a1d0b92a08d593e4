"""A small region for the claims about cases: schools, providers, their staff, and learners.

People and organisations are appended as authz appends them; everything else goes through the
cases application as it is served, so that every record in these tests has come about by itself.
"""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg
import httpx
import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.authz import access
from services.authz import events as authz
from services.authz.directory_fold import Directory
from services.authz.events import OrganisationKind, Role
from services.authz.session_events import (
    SESSION_ENDED,
    SESSION_STARTED,
    SIGNING_KEY_ADDED,
    SessionEnded,
    SessionStarted,
    session_key,
)
from services.cases import events as cases
from services.cases.app import Cases, build
from services.cases.terms import Box, student_key
from services.cases.views import decode_student
from services.kernel.boundary import Boundary
from services.kernel.budgets import RefusalBudget
from services.kernel.event_types import Registry
from services.kernel.events import Event, Recorded, Service, decode
from services.kernel.groups import Group
from services.kernel.runtime import Installation, Runtime, open_runtime
from services.kernel.sealing import Compartment, KeyRef
from services.kernel.settings import Settings
from tests.conftest import Clock

Json = dict[str, Any]
LONG_AGO: Final = timedelta(days=365)
REASON: Final = "Away since the second week of term; whānau have been visited twice."


@dataclass(frozen=True)
class Staff:
    """A person with one assignment, signed in."""

    id: UUID
    name: str
    role: Role
    organisation_id: UUID
    assignment_id: UUID
    session_id: UUID
    token: str


@dataclass
class World:
    """An installation with authz's hold on the log and cases being served."""

    clock: Clock
    authz: Runtime
    cases: Cases
    client: httpx.AsyncClient
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    people: dict[str, Staff] = field(default_factory=dict)
    versions: dict[UUID, int] = field(default_factory=dict)
    _owner: asyncpg.Connection | None = None

    @property
    def installation(self) -> Installation:
        """Where it all lives."""
        return self.cases.runtime.installation

    def id(self) -> UUID:
        """Draw an id."""
        return self.authz.effects.new_id()

    def now(self) -> datetime:
        """Return the time."""
        return self.clock.now()

    # -- what there is ------------------------------------------------------------------------

    async def append(self, *events: Event) -> int:
        """Append authz facts and wait until cases has folded them."""
        position = await self.authz.log.append(Group(events))
        await self.cases.runtime.projector.reached(position)
        return position

    async def organisation(
        self, kind: OrganisationKind, name: str, organisation_id: UUID | None = None
    ) -> UUID:
        """Register an organisation, or one that is known as another kind."""
        organisation_id = organisation_id or self.id()
        version = self.versions.get(organisation_id, 0) + 1
        payload = authz.OrganisationRegistered(
            organisation_id=organisation_id,
            kind=kind,
            name=name,
            time_zone="Pacific/Auckland",
            region="Te Awa",
            phone="09 555 0100",
        )
        await self.append(
            Event(
                id=self.id(),
                type=authz.ORGANISATION_REGISTERED,
                stream=f"organisation:{organisation_id}",
                version=version,
                recorded_at=self.now(),
                touches=(authz.organisation_key(organisation_id),),
                data=msgspec.to_builtins(payload),
            )
        )
        self.versions[organisation_id] = version
        return organisation_id

    async def catchment(self, provider_id: UUID, school_id: UUID) -> None:
        """Let a provider serve a school."""
        self.versions[provider_id] += 1
        payload = authz.CatchmentChanged(
            provider_id=provider_id, school_id=school_id, starts_at=self.now() - LONG_AGO
        )
        await self.append(
            Event(
                id=self.id(),
                type=authz.CATCHMENT_CHANGED,
                stream=f"organisation:{provider_id}",
                version=self.versions[provider_id],
                recorded_at=self.now(),
                touches=(authz.catchment_key(school_id),),
                data=msgspec.to_builtins(payload),
            )
        )

    async def staff(
        self, name: str, role: Role, organisation_id: UUID, *, until: datetime | None = None
    ) -> Staff:
        """Register a person with one assignment and sign them in."""
        person_id, assignment_id, event_id = self.id(), self.id(), self.id()
        ref = KeyRef(person_id, Compartment.STAFF)
        await self.authz.keys.load([ref], create=True)
        profile = authz.Profile(given_name=name, family_name="Ngata", email=f"{name}@x.nz")
        registered = authz.PersonRegistered(
            person_id=person_id,
            profile=self.authz.keys.seal(
                ref, event_id, "profile", msgspec.json.encode(profile).decode()
            ),
            username_digest=f"digest-{person_id}",
            username="sealed",
        )
        self.versions[person_id] = 1
        person, session = self._session(
            Staff(person_id, name, role, organisation_id, assignment_id, person_id, "")
        )
        await self.append(
            self._of_person(person_id, 1, authz.PERSON_REGISTERED, registered, event_id),
            self._grant(person_id, role, organisation_id, assignment_id, until),
            session,
        )
        self.people[name] = person
        return person

    def _of_person(
        self, person_id: UUID, version: int, type_: str, payload: object, event_id: UUID
    ) -> Event:
        return Event(
            id=event_id,
            type=type_,
            stream=f"person:{person_id}",
            version=version,
            recorded_at=self.now(),
            touches=(authz.person_key(person_id),),
            data=msgspec.to_builtins(payload),
        )

    async def grant(
        self,
        person_id: UUID,
        role: Role,
        organisation_id: UUID,
        assignment_id: UUID,
        *,
        until: datetime | None = None,
    ) -> int:
        """Give a person an assignment."""
        return await self.append(
            self._grant(person_id, role, organisation_id, assignment_id, until)
        )

    def _grant(
        self,
        person_id: UUID,
        role: Role,
        organisation_id: UUID,
        assignment_id: UUID,
        until: datetime | None,
    ) -> Event:
        self.versions[person_id] += 1
        granted = authz.AssignmentGranted(
            assignment_id=assignment_id,
            person_id=person_id,
            role=role,
            organisation_id=organisation_id,
            starts_at=self.now() - LONG_AGO,
            ends_at=until,
        )
        version = self.versions[person_id]
        return self._of_person(person_id, version, authz.ASSIGNMENT_GRANTED, granted, self.id())

    async def revoke(self, who: Staff) -> int:
        """Take a person's assignment away; return without waiting for anybody's fold."""
        self.versions[who.id] += 1
        revoked = authz.AssignmentRevoked(assignment_id=who.assignment_id, person_id=who.id)
        event = self._of_person(
            who.id, self.versions[who.id], authz.ASSIGNMENT_REVOKED, revoked, self.id()
        )
        return await self.authz.log.append(Group([event]))

    async def also(self, who: Staff, role: Role, organisation_id: UUID) -> Staff:
        """Give somebody one more assignment; return them in it, in the same session."""
        assignment_id = self.id()
        await self.grant(who.id, role, organisation_id, assignment_id)
        return replace(who, role=role, organisation_id=organisation_id, assignment_id=assignment_id)

    async def suspend(self, who: Staff) -> int:
        """Suspend a person."""
        self.versions[who.id] += 1
        suspended = authz.PersonSuspended(person_id=who.id, reason="sealed")
        return await self.append(
            self._of_person(
                who.id, self.versions[who.id], authz.PERSON_SUSPENDED, suspended, self.id()
            )
        )

    async def end_session(self, who: Staff) -> int:
        """End a person's session; return without waiting for anybody's fold."""
        ended = SessionEnded(
            session_id=who.session_id, person_id=who.id, reason="logout", duration_s=1
        )
        event = Event(
            id=self.id(),
            type=SESSION_ENDED,
            stream=f"session:{who.session_id}",
            version=2,
            recorded_at=self.now(),
            touches=(session_key(who.session_id),),
            data=msgspec.to_builtins(ended),
        )
        return await self.authz.log.append(Group([event]))

    async def enrol(self, student_id: UUID, school_id: UUID | None) -> int:
        """Let a learner be at another school from now on, as the enrolment feed will say it."""
        state = await self.cases.runtime.pool.fetchval(
            "select state from cases.student where id = $1", student_id
        )
        student = decode_student(state)
        payload = cases.StudentRegistered(
            student_id=student_id,
            school_id=school_id,
            basic=student.basic.box,
            demographics=student.demographics.box,
            family=student.family.box,
        )
        event = Event(
            id=self.id(),
            type=cases.STUDENT_REGISTERED,
            stream=f"student:{student_id}",
            version=student.version + 1,
            recorded_at=self.now(),
            student_id=student_id,
            touches=(student_key(student_id),),
            data=msgspec.to_builtins(payload),
        )
        position = await self.cases.runtime.log.append(Group([event]))
        await self.cases.runtime.projector.reached(position)
        return position

    async def sign_in(self, who: Staff) -> Staff:
        """Start a session and sign an access token for it."""
        person, session = self._session(who)
        await self.append(session)
        return person

    def _session(self, who: Staff) -> tuple[Staff, Event]:
        session_id, until = self.id(), self.now() + timedelta(hours=8)
        started = SessionStarted(
            session_id=session_id,
            person_id=who.id,
            organisation_id=who.organisation_id,
            methods=("pwd", "otp"),
            expires_at=until,
            refresh_digest="-",
        )
        event = Event(
            id=self.id(),
            type=SESSION_STARTED,
            stream=f"session:{session_id}",
            version=1,
            recorded_at=self.now(),
            data=msgspec.to_builtins(started),
        )
        claims = {
            "iss": access.ISSUER,
            "aud": access.AUDIENCE,
            "sub": str(who.id),
            "sid": str(session_id),
            "jti": str(self.id()),
            "iat": int(self.now().timestamp()),
            "exp": int(until.timestamp()),
        }
        token = jwt.encode(claims, self.key, access.ALGORITHM, {"kid": "test", "typ": access.TYPE})
        return replace(who, session_id=session_id, token=token), event

    async def student(
        self,
        school_id: UUID | None,
        given: str,
        family: str,
        *,
        student_id: UUID | None = None,
        version: int | None = None,
        address: str = "1 Kauri Road",
        caregiver: str = "Mere",
    ) -> UUID:
        """Register a learner, or say anew who ``student_id`` is."""
        version = version or (1 if student_id is None else 2)
        student_id, event_id = student_id or self.id(), self.id()
        ref = KeyRef(student_id, Compartment.STUDENT)
        keys = self.cases.runtime.keys
        await keys.load([ref], create=True)
        basic = {
            "student_number": str(student_id.int)[-10:],
            "given_name": given,
            "family_name": family,
            "preferred_name": None,
            "year_level": 9,
            "date_of_birth": "2012-05-04",
        }

        def box(name: str, value: object) -> Box:
            text = msgspec.json.encode(value).decode()
            sealed = keys.seal(ref, event_id, name, text)
            return Box(event_id, name, sealed, Compartment.STUDENT)

        payload = cases.StudentRegistered(
            student_id=student_id,
            school_id=school_id,
            basic=box("basic", basic),
            demographics=box("demographics", {"address": address, "gender": "female"}),
            family=box("family", {"caregivers": [{"name": caregiver, "relation": "mother"}]}),
        )
        position = await self.cases.runtime.log.append(
            Group(
                [
                    Event(
                        id=event_id,
                        type=cases.STUDENT_REGISTERED,
                        stream=f"student:{student_id}",
                        version=version,
                        recorded_at=self.now(),
                        student_id=student_id,
                        touches=(student_key(student_id),),
                        data=msgspec.to_builtins(payload),
                    )
                ]
            )
        )
        await self.cases.runtime.projector.reached(position)
        return student_id

    # -- what people do -----------------------------------------------------------------------

    async def send(
        self,
        who: Staff | None,
        method: str,
        path: str,
        body: Json | None = None,
        **headers: str,
    ) -> httpx.Response:
        """Send a request as ``who``; underscores in header names stand for hyphens."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if who is not None:
            sent["authorization"] = f"Bearer {who.token}"
        return await self.client.request(method, path, json=body, headers=sent)

    async def get(self, who: Staff | None, path: str) -> httpx.Response:
        """Ask as ``who``."""
        return await self.send(who, "GET", path)

    async def must(
        self, who: Staff, method: str, path: str, body: Json | None = None, **headers: str
    ) -> Json:
        """Send a request that has to succeed and return its JSON."""
        answer = await self.send(who, method, path, body, **headers)
        assert answer.status_code < 300, (method, path, answer.status_code, answer.text)
        found: Json = answer.json()
        return found

    async def request(self, maker: Staff, student_id: UUID, *, submit: bool = True) -> UUID:
        """Draft (and submit) a request for support."""
        body = {"student_id": str(student_id), "reason": REASON}
        made = await self.must(maker, "POST", "/v1/requests", body)
        if submit:
            await self.must(maker, "POST", f"/v1/requests/{made['id']}/submit")
        return UUID(made["id"])

    async def case(
        self, maker: Staff, student_id: UUID, team: Staff, lead: Staff, manager: Staff
    ) -> UUID:
        """Take a request all the way to a case."""
        request_id = await self.request(maker, student_id)
        base = f"/v1/requests/{request_id}"
        await self.must(team, "POST", f"{base}/accept")
        provider = {"organisation_id": str(lead.organisation_id)}
        await self.must(team, "POST", f"{base}/allocate", provider)
        # A case is younger than its request; of one age, each would be the other's history.
        self.clock.advance(timedelta(seconds=1))
        made = await self.must(lead, "POST", f"{base}/assign", {"person_id": str(manager.id)})
        return UUID(made["case_id"])

    async def version(self, who: Staff, path: str) -> str:
        """Return the ETag of what ``who`` sees at ``path``."""
        answer = await self.get(who, path)
        assert answer.status_code == 200, answer.text
        return answer.headers["etag"]

    async def events(self) -> list[Recorded]:
        """Return the whole log."""
        connection = await asyncpg.connect(self.installation.server.url)
        try:
            rows = await connection.fetch("select position, body from log.event order by position")
        finally:
            await connection.close()
        return [decode(row["position"], row["body"]) for row in rows]

    async def newest(self) -> Event:
        """Return the newest event of the log."""
        connection = await self._peek()
        row = await connection.fetchrow(
            "select position, body from log.event order by position desc limit 1"
        )
        assert row is not None
        return decode(row["position"], row["body"]).event

    async def told(self) -> Event:
        """Return the events of the newest request as if they were one.

        There is one for each organisation that the caller acts for, and each names its own only.
        """
        connection = await self._peek()
        rows = await connection.fetch(
            "select position, body from log.event order by position desc limit 4"
        )
        last = [decode(row["position"], row["body"]).event for row in reversed(rows)]
        newest = last[-1]
        told = [one for one in last if one.origin.request_id == newest.origin.request_id]
        held = await connection.fetch(
            "select id, organisation_id from cases.assignment where id = any($1)",
            [ground.assignment_id for one in told for ground in one.grounds],
        )
        organisations = {row["id"]: row["organisation_id"] for row in held}
        for one in told:
            own = {organisations[ground.assignment_id] for ground in one.grounds}
            assert own <= {one.actor.organisation_id}
        shown: dict[str, list[str]] = {}
        for one in told:
            for part, ids in one.shown.items():
                shown.setdefault(part, []).extend(ids)
        grounds = tuple(ground for one in told for ground in one.grounds)
        alone = {id_ for one in told for id_ in one.data.get("summaries", ())}
        for one in told:
            alone -= set(one.shown.get("items", ())) - set(one.data.get("summaries", ()))
        data = {**newest.data, "summaries": sorted(alone)}
        return msgspec.structs.replace(newest, shown=shown, grounds=grounds, data=data)

    async def _peek(self) -> asyncpg.Connection:
        if self._owner is None:
            self._owner = await asyncpg.connect(self.installation.server.url)
        return self._owner

    def forgive(self) -> None:
        """Forget who was refused how often, so that a matrix of refusals runs on."""
        self.cases.front._budget = RefusalBudget()

    async def close(self) -> None:
        """Hang up."""
        if self._owner is not None:
            await self._owner.close()

    async def last(self, type_: str) -> Event:
        """Return the newest event of a type."""
        found = [r.event for r in await self.events() if r.event.type == type_]
        return found[-1]


@asynccontextmanager
async def open_world(installation: Installation, clock: Clock) -> AsyncIterator[World]:
    """Open and close a world without anybody in it."""
    async with AsyncExitStack() as stack:
        authz_runtime = await open_runtime(
            installation, Service.AUTHZ, Registry(authz.TYPES), lambda _keys: [Directory("authz")]
        )
        stack.push_async_callback(authz_runtime.stop)
        service = await build(installation, Settings())
        stack.push_async_callback(service.stop)
        authz_runtime.start()
        await service.start()
        transport = httpx.ASGITransport(app=Boundary(service.app, Service.CASES))
        client = httpx.AsyncClient(transport=transport, base_url="http://cases.test")
        await stack.enter_async_context(client)
        world = World(clock, authz_runtime, service, client)
        stack.push_async_callback(world.close)
        public = base64.b64encode(world.key.public_key().public_bytes_raw()).decode()
        await world.append(
            Event(
                id=world.id(),
                type=SIGNING_KEY_ADDED,
                stream="signing-keys",
                version=1,
                recorded_at=world.now(),
                data={"kid": "test", "public_key": public},
            )
        )
        yield world


@dataclass
class Region:
    """Two schools, two providers and everybody who works there."""

    world: World
    school: UUID
    other_school: UUID
    asp: UUID
    other_asp: UUID
    leader: Staff
    contact: Staff
    second_contact: Staff
    office: Staff
    other_leader: Staff
    lead: Staff
    manager: Staff
    colleague: Staff
    member: Staff
    other_lead: Staff
    other_manager: Staff
    team: Staff
    student: UUID
    other_student: UUID

    async def case(self, student_id: UUID | None = None) -> UUID:
        """Open a case of the first school's learner at the first provider."""
        return await self.world.case(
            self.leader, student_id or self.student, self.team, self.lead, self.manager
        )

    @property
    def everybody(self) -> list[Staff]:
        """All staff."""
        return list(self.world.people.values())


async def make_region(world: World) -> Region:
    """Fill a world; what waits for nobody is told to the log together."""
    school, other_school, asp, other_asp, ministry = await asyncio.gather(
        world.organisation(OrganisationKind.SCHOOL, "Kōwhai School"),
        world.organisation(OrganisationKind.SCHOOL, "Rātā College"),
        world.organisation(OrganisationKind.ASP, "Te Ara Attendance"),
        world.organisation(OrganisationKind.ASP, "Harbour Attendance"),
        world.organisation(OrganisationKind.MINISTRY, "Central Investigation"),
    )
    for provider in (asp, other_asp):
        await world.catchment(provider, school)
    await world.catchment(other_asp, other_school)
    staff = {
        "leader": (Role.SCHOOL_LEADER, school),
        "contact": (Role.PRIMARY_CONTACT, school),
        "second_contact": (Role.PRIMARY_CONTACT, school),
        "office": (Role.SCHOOL_OFFICE, school),
        "other_leader": (Role.SCHOOL_LEADER, other_school),
        "lead": (Role.ASP_WORKFLOW_LEAD, asp),
        "manager": (Role.ASP_CASE_MANAGER, asp),
        "colleague": (Role.ASP_CASE_MANAGER, asp),
        "member": (Role.ASP_CASE_MANAGER, asp),
        "other_lead": (Role.ASP_WORKFLOW_LEAD, other_asp),
        "other_manager": (Role.ASP_CASE_MANAGER, other_asp),
        "team": (Role.CENTRAL_INVESTIGATION, ministry),
    }
    people = await asyncio.gather(
        *(world.staff(name.replace("_", "-"), *post) for name, post in staff.items())
    )
    student, other_student = await asyncio.gather(
        world.student(school, "Mārama", "Te Whare"),
        world.student(other_school, "Liam", "O'Brien"),
    )
    return Region(
        world=world,
        school=school,
        other_school=other_school,
        asp=asp,
        other_asp=other_asp,
        student=student,
        other_student=other_student,
        **dict(zip(staff, people, strict=True)),
    )
