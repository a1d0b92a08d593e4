"""An installation to measure: an embedded PostgreSQL with production's settings, and a region.

The region is the demonstration's, but for learners without a record. Nothing is measured here.
"""

import asyncio
import base64
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

import asyncpg
import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.app import House
from services.authz import access
from services.authz import session_events as authz
from services.authz.usernames import Usernames
from services.demo.chance import Chance
from services.demo.history import Narrator
from services.demo.posts import Posts
from services.demo.region import Region, build_region
from services.demo.sealed import Sealer
from services.demo.staffing import Staffing
from services.demo.steps import Step, student_step
from services.installation import DATABASE, vocabulary
from services.kernel.database import Server
from services.kernel.effects import Effects
from services.kernel.event_types import Registry
from services.kernel.events import Event, Service
from services.kernel.groups import Group
from services.kernel.migrate import migrate
from services.kernel.postgres import EmbeddedPostgres
from services.kernel.runtime import Installation, Runtime, open_runtime
from services.kernel.settings import Settings

SEED: Final = 20
_PER_GROUP: Final = 200
_AT_ONCE: Final = 32


@contextmanager
def place() -> Iterator[Installation]:
    """Give an empty, migrated installation over a server of its own; remove both afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="casewarden-bench-"))
    postgres = EmbeddedPostgres(directory / "postgres")
    postgres.start()
    try:
        server = Server.of(postgres.dsn(DATABASE))
        installation = Installation(server, directory, Effects())
        asyncio.run(migrate(server, installation.secret("roles"), vocabulary()))
        yield installation
    finally:
        postgres.stop()
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def slow_flush(installation: Installation, milliseconds: int) -> Iterator[None]:
    """Let every commit wait ``milliseconds`` before its flush, on the whole server."""
    asyncio.run(set_delay(installation, milliseconds * 1000))
    try:
        yield
    finally:
        asyncio.run(set_delay(installation, 0))


async def set_delay(installation: Installation, microseconds: int) -> None:
    """Let every commit of the server wait before its flush, however alone it is."""
    owner = await asyncpg.connect(installation.server.url)
    try:
        await owner.execute(f"alter system set commit_delay = {microseconds}")
        await owner.execute("alter system set commit_siblings = 0")
        await owner.execute("select pg_reload_conf()")
    finally:
        await owner.close()
    await asyncio.sleep(0.5)


async def lone_commit_ms(installation: Installation, count: int = 50) -> float:
    """Return the median time of a commit of one row, in milliseconds."""
    owner = await asyncpg.connect(installation.server.url)
    loop = asyncio.get_running_loop()
    taken = []
    try:
        await owner.execute("create unlogged table if not exists public.nothing (n int)")
        await owner.execute("create table if not exists public.commits (n int)")
        for number in range(count):
            began = loop.time()
            await owner.execute(f"insert into public.commits values ({number})")
            taken.append(loop.time() - began)
    finally:
        await owner.close()
    return sorted(taken)[count // 2] * 1000


@asynccontextmanager
async def appender(installation: Installation, service: Service) -> AsyncIterator[Runtime]:
    """Open a runtime that appends and follows nothing."""
    runtime = await open_runtime(installation, service, Registry([]), lambda _keys: [])
    runtime.log.start()
    try:
        yield runtime
    finally:
        await runtime.stop()


def region() -> Region:
    """Return the region that is seeded."""
    return build_region(SEED, datetime.now(UTC).date())


async def seed(installation: Installation, made: Region) -> None:
    """Append the region's organisations, staff, records and the learners these are about."""
    async with appender(installation, Service.CASES) as cases:
        sealer = Sealer(cases.keys, cases.effects)
        steps = _steps(made)
        await sealer.prepare(steps)
        for first in range(0, len(steps), _PER_GROUP):
            events = sealer.events(steps[first : first + _PER_GROUP])
            await cases.log.append(Group(events))
    async with appender(installation, Service.AUTHZ) as runtime:
        usernames = Usernames(installation.secret("username"))
        staffing = Staffing(made, SEED, runtime.keys, runtime.effects, usernames)
        await runtime.keys.load(staffing.needed_keys(), create=True)
        people = (staffing.person(person, "nobody logs in") for person in made.people)
        groups = [*staffing.organisations(), *people]
        for first in range(0, len(groups), _AT_ONCE):
            some = groups[first : first + _AT_ONCE]
            await asyncio.gather(*(runtime.log.append(group) for group in some))


async def fold(installation: Installation) -> None:
    """Let the cases service fold everything, so that the measured processes start warm."""
    house = await House.build(installation, Settings(), [Service.CASES])
    try:
        await house.start()
        await house.caught_up(120)
    finally:
        await house.stop()


def _steps(made: Region) -> list[Step]:
    names = {o.organisation_id: o.name for o in made.organisations}
    narrator = Narrator(made, Chance(SEED), Posts(made.people))
    involved = {request.student_id for request in made.requests}
    known = [student_step(s, names) for s in made.students if s.student_id in involved]
    happened = [step for request in made.requests for step in narrator.request(request)]
    happened.sort(key=lambda step: step.at.timestamp() if step.at else 0)
    return [*known, *happened]


@dataclass(frozen=True)
class SignedIn:
    """A person in a session that began now."""

    person_id: UUID
    session_id: UUID
    token: str


async def sign_in(
    installation: Installation, people: list[UUID]
) -> tuple[dict[UUID, SignedIn], bytes]:
    """Start a session of each of ``people``, under a key of our own; return it raw as well."""
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw()
    effects, signed = installation.effects, {}
    kid, version = str(effects.new_id()), await _next_key(installation)
    events = [
        Event(
            id=effects.new_id(),
            type=authz.SIGNING_KEY_ADDED,
            stream="signing-keys",
            version=version,
            recorded_at=effects.now(),
            data={"kid": kid, "public_key": base64.b64encode(public).decode()},
        )
    ]
    until = datetime.now(UTC) + timedelta(hours=8)
    for person_id in people:
        session_id = effects.new_id()
        events.append(_started(effects, person_id, session_id, until))
        token = _token(key, kid, effects, person_id, session_id, until)
        signed[person_id] = SignedIn(person_id, session_id, token)
    async with appender(installation, Service.AUTHZ) as runtime:
        for first in range(0, len(events), _PER_GROUP):
            await runtime.log.append(Group(events[first : first + _PER_GROUP]))
    return signed, public


async def _next_key(installation: Installation) -> int:
    owner = await asyncpg.connect(installation.server.url)
    try:
        last = await owner.fetchval(
            "select max(version) from log.fact where stream = 'signing-keys'"
        )
        return int(last or 0) + 1
    finally:
        await owner.close()


def _started(effects: Effects, person_id: UUID, session_id: UUID, until: datetime) -> Event:
    started = authz.SessionStarted(
        session_id=session_id,
        person_id=person_id,
        organisation_id=None,
        methods=("pwd", "otp"),
        expires_at=until,
        refresh_digest="-",
    )
    return Event(
        id=effects.new_id(),
        type=authz.SESSION_STARTED,
        stream=f"session:{session_id}",
        version=1,
        recorded_at=effects.now(),
        data=msgspec.to_builtins(started),
    )


def _token(
    key: Ed25519PrivateKey,
    kid: str,
    effects: Effects,
    person_id: UUID,
    session_id: UUID,
    until: datetime,
) -> str:
    claims = {
        "iss": access.ISSUER,
        "aud": access.AUDIENCE,
        "sub": str(person_id),
        "sid": str(session_id),
        "jti": str(effects.new_id()),
        "iat": int(effects.now().timestamp()),
        "exp": int(until.timestamp()),
    }
    return jwt.encode(claims, key, access.ALGORITHM, {"kid": kid, "typ": access.TYPE})
