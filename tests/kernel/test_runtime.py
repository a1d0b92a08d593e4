"""What a running service holds: room ahead in the log, and connections that nobody is kept from."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest

from services.app import build_service
from services.authz import engine
from services.authz import events as authz
from services.authz.directory_fold import Directory
from services.commands.migrate import needed
from services.kernel import database, telemetry
from services.kernel.background import ended
from services.kernel.database import open_pool
from services.kernel.event_types import Registry
from services.kernel.events import Service
from services.kernel.groups import Group
from services.kernel.problems import as_problem
from services.kernel.runtime import Installation, Runtime, open_runtime
from services.kernel.server_roles import ROLES
from services.kernel.settings import Settings
from tests.conftest import Connect, Pools, address
from tests.kernel.given import fact, read


@pytest.fixture
async def runtime(installation: Installation) -> AsyncIterator[Runtime]:
    opened = await open_runtime(
        installation, Service.AUTHZ, Registry(authz.TYPES), lambda _keys: [Directory("authz")]
    )
    yield opened
    await opened.stop()


async def test_a_service_makes_partitions_ahead_of_the_head(
    runtime: Runtime, connect: Connect
) -> None:
    """Made only when migrating, they would be used up by a service that runs for long."""
    owner = await connect(None)
    await owner.execute("drop table log.event_10000000")
    runtime.start()
    async with asyncio.timeout(5):
        while not await owner.fetchval("select to_regclass('log.event_10000000') is not null"):
            await asyncio.sleep(0.01)
    assert await runtime.log.append(Group([read()])) == 0


async def test_requests_that_hold_every_connection_keep_no_append_and_no_fold_waiting(
    runtime: Runtime,
) -> None:
    """SG-8: what is shown is recorded, however many ask."""
    runtime.start()
    held = [await runtime.pool.acquire() for _ in range(runtime.pool.get_max_size())]
    try:
        async with asyncio.timeout(3):
            position = await runtime.log.append(Group([fact(f"person:{uuid4()}")]))
            await runtime.projector.reached(position)
            assert await runtime.projector.head() == position
    finally:
        for connection in held:
            await runtime.pool.release(connection)


async def test_who_waits_too_long_for_a_connection_is_told_503(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = [await runtime.pool.acquire() for _ in range(runtime.pool.get_max_size())]
    monkeypatch.setattr(database, "_WAIT_S", 0.05)  # only now: connecting may take longer
    with pytest.raises(TimeoutError) as waited:
        await runtime.pool.fetchval("select 1")
    assert as_problem(waited.value).status == 503
    monkeypatch.undo()
    for connection in held:
        await runtime.pool.release(connection)
    assert await runtime.pool.fetchval("select 1") == 1


async def test_what_a_role_made_its_defaults_holds_in_no_session_and_ends_with_a_start(
    installation: Installation, connect: Connect, pools: Pools
) -> None:
    """A role may change its own; neither its honest service nor durability depends on them."""
    cases = await connect(Service.CASES)
    database_name = await cases.fetchval("select quote_ident(current_database())")
    own = f"alter role casewarden_cases in database {database_name} set"
    try:
        for changed in (
            "alter role casewarden_cases set statement_timeout = '1ms'",
            "alter role casewarden_cases set idle_in_transaction_session_timeout = '1ms'",
            f"{own} default_transaction_isolation = serializable",
            f"{own} search_path = cases",
            f"{own} synchronous_commit = off",
        ):
            await cases.execute(changed)
        pool = await pools(Service.CASES)
        for name, relied_on in database._SESSION.items():
            setting = await pool.fetchval("select setting from pg_settings where name = $1", name)
            assert setting == relied_on, name
        assert await pool.fetchval("select pg_sleep(0.02) is not null")
    finally:
        assert not await needed(installation)
    later = await connect(Service.CASES)
    assert await later.fetchval("show statement_timeout") == "0"
    assert await later.fetchval("show default_transaction_isolation") == "read committed"


async def test_a_warm_start_leaves_roles_alone_that_do_not_carry_its_mark(
    installation: Installation, connect: Connect, tmp_path: Path
) -> None:
    """Migrating says whose they are; until then nothing of another installation is changed."""
    owner, (role, *_) = await connect(None), ROLES
    theirs = replace(installation, data=tmp_path / "theirs")
    theirs.secret("roles")
    of_one = "select setconfig from pg_db_role_setting where setrole = $1::regrole"
    await owner.execute(f"alter role {role} set statement_timeout = '1ms'")
    try:
        assert await needed(theirs)
        assert await owner.fetchval(of_one, role) == ["statement_timeout=1ms"]
    finally:
        assert not await needed(installation)
    assert await owner.fetchval(of_one, role) is None


def test_what_is_malformed_is_no_lost_connection() -> None:
    """Told as 503 it would be tried again for ever, and nobody would look for the fault."""
    malformed = asyncpg.exceptions.ClientConfigurationError("no such option")
    assert as_problem(malformed).status == 500
    assert as_problem(asyncpg.InterfaceError("connection is closed")).status == 503


def test_an_error_is_described_without_what_it_says() -> None:
    """SG-18: a database, a parser or a validator quotes what it was given."""
    with pytest.raises(ValueError, match="huhu") as raised:
        int("Ōtāhuhu")
    told = telemetry.described(raised.value)
    assert told["error"] == "ValueError"
    assert "test_runtime.py:" in str(told["frames"])
    assert "huhu" not in str(told)


class Network:
    """A way to the database that swallows, when told to, what comes back on open connections."""

    def __init__(self, there: str) -> None:
        self._there = urlsplit(there)
        self._ways: list[asyncio.Event] = []
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: list[asyncio.Task[None]] = []
        self.url = ""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Be reached at ``url`` for the length of the block."""
        server = await asyncio.start_server(self._connect, "127.0.0.1")
        port = server.sockets[0].getsockname()[1]
        credentials = self._there.netloc.rpartition("@")[0]
        here = self._there._replace(netloc=f"{credentials}@127.0.0.1:{port}", query="")
        self.url = urlunsplit(here)
        yield
        server.close()
        await ended(*self._tasks)
        for writer in self._writers:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    def swallow(self) -> None:
        """Let nothing more come back to those connected now; nobody is told."""
        for way in self._ways:
            way.set()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._there.hostname:
            port = self._there.port or 5432
            answers, asks = await asyncio.open_connection(self._there.hostname, port)
        else:
            folder = parse_qs(self._there.query)["host"][0]
            answers, asks = await asyncio.open_unix_connection(f"{folder}/.s.PGSQL.5432")
        swallowed = asyncio.Event()
        self._ways.append(swallowed)
        self._writers += (writer, asks)
        for way in (_carry(reader, asks, asyncio.Event()), _carry(answers, writer, swallowed)):
            self._tasks.append(asyncio.create_task(way))


async def _carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, swallowed: asyncio.Event
) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            if not swallowed.is_set():
                writer.write(data)
    if not swallowed.is_set():
        writer.close()


@pytest.fixture
async def network(installation: Installation) -> AsyncIterator[Network]:
    network = Network(address(installation, Service.CASES))
    async with network.open():
        yield network


async def test_a_connection_that_never_answers_again_is_given_up_soon_and_never_used_again(
    network: Network,
) -> None:
    """A rollback, or a release, would wait for it: for ever, where packets are swallowed."""
    pool = await open_pool(network.url, size=1, name="cases")
    before = await pool.fetchval("select pg_backend_pid()")
    network.swallow()
    began = time.perf_counter()
    with pytest.raises((TimeoutError, *database.CONNECTION_ERRORS)):
        async with asyncio.timeout(0.1), pool.acquire() as connection, connection.transaction():
            await connection.fetchval("select 1")
    assert time.perf_counter() - began < 5
    async with asyncio.timeout(5):
        assert await pool.fetchval("select pg_backend_pid()") != before
    await pool.close()


async def test_a_statement_that_is_cancelled_keeps_its_connection(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_CANCEL_S", 10)
    pool = await open_pool(network.url, size=1, name="cases")
    before = await pool.fetchval("select pg_backend_pid()")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await pool.fetchval("select pg_sleep(60)")
    assert await pool.fetchval("select pg_backend_pid()") == before
    await pool.close()


@pytest.mark.parametrize(
    ("statement", "times"),
    [("select array[1, 2]", 1), ("select null::log.event", 3)],
    ids=["PostgreSQL's own", "ours"],
)
async def test_a_type_that_every_database_has_is_asked_about_once_and_ours_by_each_connection(
    pools: Pools, monkeypatch: pytest.MonkeyPatch, statement: str, times: int
) -> None:
    """What a number means in one database holds in the next only where PostgreSQL gave it out."""
    asked, answers, introspect = 0, [], asyncpg.Connection._introspect_types  # type: ignore[attr-defined] # the stubs lack it

    async def counted(*question: object) -> object:
        nonlocal asked
        asked += 1
        return await introspect(*question)

    monkeypatch.setattr(asyncpg.Connection, "_introspect_types", counted)
    monkeypatch.setattr(database, "_known", {})
    for _ in range(3):
        pool = await pools(Service.CASES, size=1)
        answers.append(await pool.fetchval(statement))
    assert answers == [[1, 2] if times == 1 else None] * 3
    assert asked == times


async def test_a_runtime_that_cannot_be_opened_whole_leaves_nothing_open(
    installation: Installation, connect: Connect
) -> None:
    owner = await connect(None)
    keys = urlsplit(installation.server.keys_url)._replace(path="/not_there")
    nowhere = replace(installation.server, keys_url=urlunsplit(keys))
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        await open_runtime(
            replace(installation, server=nowhere),
            Service.AUTHZ,
            Registry(authz.TYPES),
            lambda _keys: [],
        )
    await nobody_else(owner)


@pytest.mark.parametrize("service", list(Service))
async def test_a_service_that_cannot_be_wired_leaves_nothing_open(
    installation: Installation,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
    service: Service,
) -> None:
    owner = await connect(None)

    def load() -> engine.Policy:
        raise ZeroDivisionError

    monkeypatch.setattr(engine, "load", load)
    with pytest.raises(ZeroDivisionError):
        await build_service(service, installation, Settings(data=installation.data))
    await nobody_else(owner)


async def nobody_else(owner: asyncpg.Connection) -> None:
    """Return when nobody else is connected to the database."""
    async with asyncio.timeout(5):
        while await owner.fetchval(
            "select count(*) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
            " and backend_type = 'client backend'"
        ):
            await asyncio.sleep(0.02)
