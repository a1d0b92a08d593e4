"""A database that hangs, or is away. Everybody is told so, and nothing else."""

import asyncio
import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import httpx
import pytest

from services.app import House
from services.kernel import postgres
from services.kernel.boundary import DEADLINE_S
from services.kernel.database import Server
from services.kernel.events import Service
from services.kernel.migrate import migrate
from services.kernel.postgres import EmbeddedPostgres
from services.kernel.runtime import Installation
from services.kernel.settings import Settings
from tests.authz.door import Door
from tests.conftest import _FLEETING, TYPES, Clock, embedded_server
from tests.test_cli import free_port

#: a deadline, what a cancellation may take beyond it, and a busy machine
WITHIN_S = DEADLINE_S + 4
#: what is answered from the log, a recorded refusal too
SERVED = {200, 403, 404}


@pytest.fixture
def own_server() -> Iterator[EmbeddedPostgres]:
    """Start a server that no other test uses."""
    with embedded_server() as embedded, patch.dict(postgres._SETTINGS, **_FLEETING):
        embedded.start()
        yield embedded


@contextlib.contextmanager
def hung(server: EmbeddedPostgres) -> Iterator[None]:
    """Stop every process of a server for the length of the block, or until it is told to go on."""
    postmaster = server._cluster.postmaster()
    assert postmaster is not None
    stopped: list[int] = []
    try:
        for pid in _with_children(postmaster):
            os.kill(pid, signal.SIGSTOP)
            stopped.append(pid)
        yield
    finally:
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def _with_children(postmaster: int) -> Iterator[int]:
    """Name a process, and then its children: a stopped one makes no more of them."""
    yield postmaster
    yield from map(int, Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split())


@dataclass
class Served:
    """A running whole, somebody signed in, and the means to ask."""

    house: House
    client: httpx.AsyncClient
    token: str

    async def ask(self, path: str) -> tuple[httpx.Response, float]:
        """Return an answer and the seconds it took."""
        began = time.perf_counter()
        headers = {"authorization": f"Bearer {self.token}"}
        answer = await self.client.get(path, headers=headers)
        return answer, time.perf_counter() - began

    async def until(self, path: str, statuses: Collection[int], within_s: float) -> None:
        """Ask until the status is one of these."""
        async with asyncio.timeout(within_s):
            while (await self.ask(path))[0].status_code not in statuses:
                await asyncio.sleep(0.05)


@pytest.fixture
async def served(
    own_server: EmbeddedPostgres, clock: Clock, tmp_path: Path
) -> AsyncIterator[Served]:
    """Serve everything over a server of its own, with one person signed in."""
    data, roles = tmp_path / "data", secrets.token_bytes(32)
    (data / "secrets").mkdir(mode=0o700, parents=True)
    (data / "secrets" / "roles").write_bytes(roles)
    at = Server.of(own_server.dsn("casewarden"))
    await migrate(at, roles, TYPES)
    installation, settings = Installation(at, data, clock.effects()), Settings(data=data)
    house = await House.build(installation, settings, list(Service))
    await house.start()
    transport = httpx.ASGITransport(house)
    async with httpx.AsyncClient(transport=transport, base_url="http://casewarden") as client:
        door = Door(house._services[Service.AUTHZ], clock, settings)  # type: ignore[arg-type] # it is an Authz
        tokens = await door.log_in(await door.somebody())
        yield Served(house, client, tokens["access_token"])
    await house.stop()


async def test_a_hung_database_is_503_for_all_in_one_deadline_and_nothing_needs_a_restart(
    served: Served, own_server: EmbeddedPostgres
) -> None:
    """SG-8: who cannot be recorded is shown nothing; one deadline holds for all that is tried."""
    paths = ("/authz/v1/me", "/cases/v1/cases", "/audit/v1/alerts")
    for path in paths:
        answer, _ = await served.ask(path)
        assert answer.status_code in SERVED, answer.text
    with hung(own_server):
        # more than there are connections
        asked = await asyncio.gather(
            *(served.ask(path) for path in paths * 5), served.ask("/healthz")
        )
    *answers, (health, seconds) = asked
    assert health.status_code == 503
    assert seconds < 4
    for answer, seconds in answers:
        assert answer.status_code == 503
        assert answer.json()["code"] == "unavailable"
        assert answer.headers["content-type"] == "application/problem+json"
        assert "Aroha" not in answer.text
        assert seconds < WITHIN_S
    for path in (*paths, "/healthz"):
        await served.until(path, SERVED, within_s=10)


async def test_stopping_over_a_hung_database_ends(
    served: Served, own_server: EmbeddedPostgres
) -> None:
    """Whoever restarts a service during an outage does not have to kill it."""
    with hung(own_server):
        asked = asyncio.create_task(served.ask("/cases/v1/cases"))
        await asyncio.sleep(0.3)
        async with asyncio.timeout(30):
            await served.house.stop()
        assert (await asked)[0].status_code == 503


async def test_up_says_once_that_it_waits_for_a_database_that_is_away_and_goes_on_when_it_is_there(
    own_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    """As `serve` does: both are started together with their database, in either order."""
    here = own_server.socket_directory
    away = here.with_name(f"{here.name}-later")
    kept = {k: v for k, v in os.environ.items() if not k.startswith("CASEWARDEN_")}
    environ = {
        **kept,
        "CASEWARDEN_DATABASE_URL": own_server.dsn("casewarden").replace(str(here), str(away)),
        "CASEWARDEN_DATA": str(tmp_path / "data"),
        "CASEWARDEN_PORT": str(free_port()),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "services.cli", "up"], env=environ, text=True, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(40):
            line = await asyncio.to_thread(process.stderr.readline)
            assert line == "casewarden: waiting for the database …\n"
            await asyncio.sleep(1)
            away.symlink_to(here)
            line = await asyncio.to_thread(process.stderr.readline)
            assert line == "casewarden: making the database …\n"
        process.send_signal(signal.SIGTERM)
        _, said = await asyncio.to_thread(process.communicate, timeout=40)
        assert said == "casewarden: stopped\n"
        assert process.returncode == 0
    finally:
        process.kill()
        away.unlink(missing_ok=True)


async def test_up_stops_while_it_waits_for_its_database(tmp_path: Path) -> None:
    """Whoever starts it by mistake does not have to kill it."""
    environ = {
        **os.environ,
        "CASEWARDEN_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/casewarden",
        "CASEWARDEN_DATA": str(tmp_path / "data"),
        "CASEWARDEN_PORT": str(free_port()),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "services.cli", "up"], env=environ, text=True, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        assert "waiting" in await asyncio.to_thread(process.stderr.readline)
        process.send_signal(signal.SIGTERM)
        _, said = await asyncio.to_thread(process.communicate, timeout=20)
    finally:
        process.kill()
    assert said == "casewarden: stopped\n"
    assert process.returncode == 0
