"""Two processes of everything over one database: they agree at once, and do nothing twice."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pyotp
import pytest

from services.audit.events import ALERT_RAISED
from services.kernel.runtime import Installation
from tests.authz.door import PASSWORD, TOTP_SECRET, Somebody, opened
from tests.conftest import Clock, Connect
from tests.test_cli import environment, free_port, wait_for

_SERVE = [sys.executable, "-m", "services.cli", "serve", "all"]


@dataclass
class Process:
    """A process that serves everything, and a client of it."""

    process: subprocess.Popen[bytes]
    client: httpx.Client
    said: Path

    def log_in(self, somebody: Somebody) -> dict[str, str]:
        """Return the headers of a new session; each person has one code each thirty seconds."""
        first = self.try_password(somebody.username, PASSWORD)
        assert first.status_code == 200, first.text
        code = pyotp.TOTP(TOTP_SECRET).at(datetime.now(UTC))
        body = {"login_token": first.json()["login_token"], "method": "totp", "code": code}
        second = self.client.post("/authz/v1/login/verify", json=body)
        assert second.status_code == 200, second.text
        return {"authorization": f"Bearer {second.json()['access_token']}"}

    def try_password(self, username: str, password: str) -> httpx.Response:
        """Offer a first factor."""
        body = {"username": username, "password": password}
        return self.client.post("/authz/v1/login", json=body)

    def statuses(self, headers: dict[str, str]) -> list[int]:
        """Ask two services with a session."""
        paths = ("/authz/v1/me", "/cases/v1/cases")
        return [self.client.get(path, headers=headers).status_code for path in paths]

    def stop(self) -> str:
        """Stop as an operator does; return what it had to say."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=30) == 0
        return self.said.read_text()


@pytest.fixture
def two(installation: Installation, tmp_path: Path) -> Iterator[tuple[Process, Process]]:
    """Start both at the same moment."""
    with ExitStack() as stack:
        started = []
        for number in range(2):
            port, said = free_port(), tmp_path / f"{number}.err"
            environ: dict[str, Any] = {
                **environment(installation),
                "CASEWARDEN_PORT": str(port),
                "CASEWARDEN_LOG_FORMAT": "json",
            }
            with said.open("wb") as errors:
                process = subprocess.Popen(_SERVE, env=environ, stderr=errors)
            stack.callback(process.wait, 30)
            stack.callback(process.kill)
            base = f"http://127.0.0.1:{port}"
            client = stack.enter_context(httpx.Client(base_url=base, timeout=30))
            started.append(Process(process, client, said))
        for one in started:
            wait_for(int(one.client.base_url.port or 0), "/healthz", 200)
        yield started[0], started[1]


async def test_two_processes_refuse_alike_at_once_alert_once_and_stop_cleanly(
    installation: Installation, clock: Clock, connect: Connect, two: tuple[Process, Process]
) -> None:
    """SG-3, SG-8: whichever process took a revocation, none answers after it."""
    async with opened(installation, clock) as door:
        people = [await door.somebody(f"person.{number}") for number in range(4)]
    here, there = two
    for somebody in people[1:]:
        session = here.log_in(somebody)
        assert there.statuses(session) == [200, 200]
        assert here.client.post("/authz/v1/logout", headers=session).status_code == 204
        assert there.statuses(session) == [401, 401]
    for number in range(6):
        refused = two[number % 2].try_password(people[0].username, "not the password of anybody")
        assert refused.status_code in {401, 429}
    owner = await connect(None)
    raised = (
        "select count(*) from log.fact join log.event using (position) where type = $1"
        " and position(convert_to($2, 'utf8') in body) > 0 group by stream"
    )
    rule = (ALERT_RAISED, "repeated_failures_account")
    async with asyncio.timeout(20):
        while not await owner.fetch(raised, *rule):
            await asyncio.sleep(0.05)
    # two turns of raising in each process
    await asyncio.sleep(1.2)
    assert [row["count"] for row in await owner.fetch(raised, *rule)] == [1]
    for said in (here.stop(), there.stop()):
        assert "Traceback" not in said
        assert '"level": "error"' not in said
