"""What every test stands on: a real PostgreSQL, an installation of its own, a clock, no network.

``server`` is one server for the session: an embedded one over a temporary directory, or the one
named by ``CASEWARDEN_TEST_DATABASE_URL`` (or ``CASEWARDEN_DATABASE_URL``). It is migrated once,
into a template; every test that asks for ``installation`` gets a copy of it, with nothing in it,
and the session's key database, emptied. Only time is faked: ids follow the ``clock``, randomness is
real.
"""

import asyncio
import contextlib
import gc
import ipaddress
import os
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from unittest.mock import patch
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import structlog

from services import demonstration
from services.audit import events as audit
from services.authz import events as authz
from services.cases import events as cases
from services.kernel import postgres
from services.kernel.database import Server, open_pool, role_name
from services.kernel.effects import Effects, MonotonicUuid7
from services.kernel.event_types import Registry
from services.kernel.events import Service
from services.kernel.migrate import migrate
from services.kernel.postgres import EmbeddedPostgres
from services.kernel.runtime import Installation
from services.kernel.server_roles import ROLES, ForeignRoles, mark, role_password

TYPES: Final = (*authz.TYPES, *cases.TYPES, *audit.TYPES)
_VARIABLES: Final = ("CASEWARDEN_TEST_DATABASE_URL", "CASEWARDEN_DATABASE_URL")
_FLEETING: Final = {
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_connections": "200",
}
_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - each directory made there is private to its maker
_ROOM: Final = 2 << 30
#: how the comment of a role ends that a test run made or took
_OF_TESTS: Final = ", of a test run"
_NAMED: Final = next((os.environ[name] for name in _VARIABLES if os.environ.get(name)), "")


class Clock:
    """A clock that stands still until told otherwise; it begins at the time it is made.

    The log compares ``valid_until`` with the database's own clock, which nothing here moves.
    """

    def __init__(self) -> None:
        self._now = datetime.now(UTC)

    def now(self) -> datetime:
        """Return the time."""
        return self._now

    def advance(self, by: timedelta) -> datetime:
        """Move on by ``by`` and return the time it is then."""
        self._now += by
        return self._now

    def set(self, now: datetime) -> None:
        """Make it ``now``, an aware time."""
        self._now = now

    def effects(self) -> Effects:
        """Return effects that tell this clock's time and draw ids by it."""
        ids = MonotonicUuid7(lambda: int(self._now.timestamp() * 1e9), secrets.token_bytes)
        return Effects(now=self.now, new_id=ids)


# Copying a template takes ten times as long as emptying what one test filled. The shape is every
# definition, event type and projection: while it is the same, only rows differ.
_SHAPE: Final = """
    with space as (select oid from pg_namespace where nspname in ('log', 'authz', 'cases', 'audit'))
    select md5(string_agg(part, ',' order by part)) from (
        select concat('relation ', oid, ' ', xmin) as part from pg_class
        where relnamespace in (select * from space)
        union all select concat('trigger ', t.oid, ' ', t.xmin) from pg_trigger t
        join pg_class c on c.oid = t.tgrelid where c.relnamespace in (select * from space)
        union all select concat('function ', oid, ' ', xmin) from pg_proc
        where pronamespace in (select * from space)
        union all select concat('schema ', oid, ' ', xmin) from pg_namespace
        union all select concat('column ', max(xmin::text::bigint)) from pg_attribute
        union all select concat('type ', name, role, fact) from log.event_type
        union all select concat('installation ', fingerprint, revision) from log.installation
        union all select concat('fold ', name) from authz.projection
        union all select concat('fold ', name) from cases.projection
        union all select concat('fold ', name) from audit.projection
    ) parts
"""
_HANG_UP: Final = """
    select pg_terminate_backend(pid, 1000) from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid()
    and backend_type = 'client backend'
"""
_EMPTY: Final = """
    do $$
    declare
        item regclass;
        filled boolean;
    begin
        perform set_config('session_replication_role', 'replica', true);
        for item in
            select oid from pg_class
            where relnamespace in (select oid from pg_namespace
                                   where nspname in ('log', 'authz', 'cases', 'audit'))
              and relkind = 'r' and relname not in ('event_type', 'installation', 'projection')
              and pg_relation_size(oid) > 0
        loop
            execute format('select exists (select from %s)', item) into filled;
            if filled then
                execute format('delete from %s', item);
            end if;
        end loop;
        update authz.projection set position = -1 where position <> -1;
        update cases.projection set position = -1 where position <> -1;
        update audit.projection set position = -1 where position <> -1;
    end $$
"""


@contextlib.asynccontextmanager
async def _connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


@dataclass(frozen=True)
class TestServer:
    """The session's server: its address for each database, and the migrated template."""

    url: str
    prefix: str
    roles: bytes
    embedded: EmbeddedPostgres | None
    #: empty logs that an earlier test left as clean as new: their names and shapes
    spare: dict[str, str] = field(default_factory=dict)

    __test__ = False

    def database(self, name: str) -> str:
        """Return the owner's address of a database."""
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{name}"))

    @property
    def template(self) -> str:
        """Name of the migrated log database that every test's is a copy of."""
        return f"{self.prefix}_template"

    async def take(self) -> tuple[Server, str]:
        """Give a migrated, empty log, the key database emptied, and the log's shape."""
        name, shape = self.spare.popitem() if self.spare else await self._copy()
        keys = self.database(f"{self.template}_keys")
        async with _connected(keys) as connection:
            await connection.execute("delete from keys.data_key")
        return Server(self.database(name), keys), shape

    async def _copy(self) -> tuple[str, str]:
        name = f"{self.prefix}_{secrets.token_hex(6)}"
        async with _connected(self.url) as connection:
            await connection.execute(f'create database "{name}" template "{self.template}"')
        async with _connected(self.database(name)) as connection:
            return name, await connection.fetchval(_SHAPE)

    async def give_back(self, server: Server, shape: str) -> None:
        """Empty the log for the next test, or drop it when more than its rows was changed."""
        name = urlsplit(server.url).path[1:]
        try:
            async with _connected(server.url) as connection:
                await connection.execute(_HANG_UP)
                if await connection.fetchval(_SHAPE) == shape:
                    await connection.execute(_EMPTY)
                    self.spare[name] = shape
                    return
        except asyncpg.InsufficientPrivilegeError:
            pass  # emptying an append-only log takes a superuser; dropping it does not
        await self.drop(name)

    async def drop(self, *names: str) -> None:
        """Drop databases and whatever is still connected to them."""
        async with _connected(self.url) as connection:
            for name in names:
                await connection.execute(f'drop database if exists "{name}" with (force)')


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Leave what was imported and collected out of every later search for garbage."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _only_this_machine() -> None:
    """Refuse every connection and every look-up that leaves this machine."""
    named = urlsplit(_NAMED).hostname
    allowed = {"localhost", named}
    if named:
        allowed |= {str(info[4][0]) for info in socket.getaddrinfo(named, None)}

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event in {"socket.connect", "socket.sendto"}:
            address = arguments[1]
            host = address[0] if isinstance(address, tuple) else None
        elif event in {"socket.getaddrinfo", "socket.gethostbyname"}:
            host = arguments[0]
        else:
            return
        if host in {None, ""} or host in allowed:
            return
        with contextlib.suppress(ValueError):
            if ipaddress.ip_address(str(host)).is_loopback:
                return
        pytest.fail(f"a test tried to reach {host!r}")

    sys.addaudithook(hook)


@pytest.fixture(scope="session", autouse=True)
def _plain_logs() -> None:
    """Log to whatever standard error is then, briefly; tracebacks with locals take seconds."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.dev.ConsoleRenderer(
                colors=False, exception_formatter=structlog.dev.plain_traceback
            ),
        ],
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )


def _in_memory() -> Path | None:
    """Return where files are memory, when there is room for a whole session's.

    A disk that stalls for seconds, as a shared one may, then fails no test that is not about disks.
    """
    with contextlib.suppress(OSError):
        if shutil.disk_usage(_MEMORY).free >= _ROOM:
            return _MEMORY
    return None


@contextlib.contextmanager
def embedded_server(where: Path | None = None) -> Iterator[EmbeddedPostgres]:
    """Name an embedded server, not yet started; stop it and remove what it held afterwards.

    It is made below ``where``, or among temporary files: not below pytest's own directory, which
    each pytest closes to other accounts as it starts; where tests run as root a server is another
    account.
    """
    directory = Path(tempfile.mkdtemp(prefix="casewarden-test-", dir=where))
    embedded = EmbeddedPostgres(directory)
    try:
        yield embedded
    finally:
        embedded.stop()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def server() -> Iterator[TestServer]:
    """Start (or find) the session's PostgreSQL, migrated once."""
    with contextlib.ExitStack() as stack:
        embedded = None if _NAMED else stack.enter_context(embedded_server(_in_memory()))
        yield from _served(embedded)


def _served(embedded: EmbeddedPostgres | None) -> Iterator[TestServer]:
    if embedded is not None:
        # What the session's server holds need not outlive the machine; the tests about durability
        # run a server of their own, with the settings of production.
        with patch.dict(postgres._SETTINGS, **_FLEETING):
            embedded.start()
    started = TestServer(
        url=embedded.dsn() if embedded else _NAMED,
        prefix=f"casewarden_test_{secrets.token_hex(4)}",
        roles=secrets.token_bytes(32),
        embedded=embedded,
    )
    asyncio.run(_prepare(started))
    yield started
    if embedded is None:
        names = (started.template, f"{started.template}_keys", *started.spare)
        asyncio.run(started.drop(*names))
        asyncio.run(_leave_roles(started))


async def _hold_demonstrations(server: TestServer, databases: Sequence[str]) -> bool:
    """Say whether these are of demonstrations alone, whose next start takes the roles again."""
    logs = [name for name in databases if not name.endswith("_keys")]
    for name in logs:
        async with _connected(server.database(name)) as owner:
            if await demonstration.read(owner) is None:
                return False
    return {*logs, *(f"{name}_keys" for name in logs)} >= set(databases)


async def _prepare(server: TestServer) -> None:
    """Migrate the template; take the server's roles from test runs and demonstrations alone."""
    template = Server.of(server.database(server.template))
    comments = "select shobj_description(oid, 'pg_authid') from pg_roles where rolname = any($1)"
    async with _connected(server.url) as owner:
        known = [row[0] or "" for row in await owner.fetch(comments, ROLES)]
        tests = all(comment.endswith(_OF_TESTS) for comment in known)
        try:
            await migrate(template, server.roles, TYPES, take_roles=tests)
        except ForeignRoles as error:
            if not await _hold_demonstrations(server, error.databases):
                pytest.exit(
                    "the server for tests holds an installation of Casewarden, whose roles the"
                    f" suite would take ({error}): name another server in {_VARIABLES[0]}",
                    returncode=1,
                )
            await migrate(template, server.roles, TYPES, take_roles=True)
        for role in ROLES:
            await owner.execute(f"comment on role {role} is '{mark(server.roles)}{_OF_TESTS}'")


async def _leave_roles(server: TestServer) -> None:
    """Leave the roles to whoever is next: a demonstration that was there takes them again."""
    async with _connected(server.url) as owner:
        for role in ROLES:
            await owner.execute(f"comment on role {role} is null")


@pytest.fixture
def clock() -> Clock:
    """Make a clock under the test's control."""
    return Clock()


@pytest.fixture
async def installation(
    server: TestServer, clock: Clock, tmp_path: Path
) -> AsyncIterator[Installation]:
    """Make a migrated installation with a log and a directory of its own."""
    data = tmp_path / "data"
    (data / "secrets").mkdir(mode=0o700, parents=True)
    (data / "secrets" / "roles").write_bytes(server.roles)
    own, shape = await server.take()
    yield Installation(own, data, clock.effects())
    await server.give_back(own, shape)


@pytest.fixture
def registry() -> Registry:
    """Every event type there is."""
    return Registry(TYPES)


Connect = Callable[..., Awaitable[asyncpg.Connection]]
Pools = Callable[..., Awaitable[asyncpg.Pool]]


def address(installation: Installation, service: Service | None, *, keys: bool = False) -> str:
    """Return the address of the log (or key) database for a service's role, or for the owner."""
    url = installation.server.keys_url if keys else installation.server.url
    if service is None:
        return url
    password = role_password(installation.secret("roles"), service)
    return installation.server.as_role(url, role_name(service), password)


@pytest.fixture
async def connect(installation: Installation) -> AsyncIterator[Connect]:
    """Give plain connections, as psql would make them, under a service's role or the owner's."""
    opened: list[asyncpg.Connection] = []

    async def connect_as(service: Service | None, *, keys: bool = False) -> asyncpg.Connection:
        opened.append(await asyncpg.connect(address(installation, service, keys=keys)))
        return opened[-1]

    yield connect_as
    for connection in opened:
        connection.terminate()


@pytest.fixture
async def pools(installation: Installation) -> AsyncIterator[Pools]:
    """Give pools as a service has them, to the log or to the key database."""
    opened: list[asyncpg.Pool] = []

    async def pool_of(service: Service, *, size: int = 4, keys: bool = False) -> asyncpg.Pool:
        url = address(installation, service, keys=keys)
        opened.append(await open_pool(url, size=size, name=str(service)))
        return opened[-1]

    yield pool_of
    for pool in opened:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(pool.close(), 3)
