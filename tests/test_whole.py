"""The three services in one process: what it says of itself."""

import asyncio
import re
from collections.abc import AsyncIterator

import httpx
import pytest

from services.app import House
from services.kernel.events import Service
from services.kernel.runtime import Installation
from services.kernel.settings import Settings
from services.kernel.telemetry import METRIC_NAMES

#: counts from the first alert on; alerts come of what detection finds, not of traffic
ONLY_WITH_AN_ALERT = {"casewarden_alerts_raised_total"}


@pytest.fixture
async def house(installation: Installation) -> AsyncIterator[House]:
    built = await House.build(installation, Settings(data=installation.data), list(Service))
    await built.start()
    yield built
    await built.stop()


@pytest.fixture
async def client(house: House) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(house)
    async with httpx.AsyncClient(transport=transport, base_url="http://casewarden") as opened:
        yield opened


async def test_every_metric_there_is_is_emitted_after_some_traffic(
    house: House, client: httpx.AsyncClient
) -> None:
    """SG-10: an alert on a metric that is never set never comes, or never goes."""
    await house.caught_up(10)
    for path in ("/authz/v1/me", "/cases/v1/cases", "/audit/v1/alerts"):
        assert (await client.get(path)).status_code == 401
    login = {"username": "nobody@example.org", "password": "not the password of anybody"}
    assert (await client.post("/authz/v1/login", json=login)).status_code == 401
    async with asyncio.timeout(10):
        while missing := METRIC_NAMES - ONLY_WITH_AN_ALERT - await emitted(client):
            assert missing <= {"casewarden_alerts_open"}, missing
            await asyncio.sleep(0.05)


async def emitted(client: httpx.AsyncClient) -> set[str]:
    """Return the names of metrics that have a value."""
    text = (await client.get("/authz/metrics")).text
    names = re.findall(
        r"^(casewarden_\w+?)(?:_bucket|_sum|_count|_created)?[{ ]", text, re.MULTILINE
    )
    return set(names)


async def test_health_is_looked_at_once_however_many_ask(
    house: House, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody logs in to ask: asking makes no work."""
    looks = 0

    async def healthy() -> bool:
        nonlocal looks
        looks += 1
        await asyncio.sleep(0.01)
        return looks == 1

    monkeypatch.setattr(house, "healthy", healthy)
    answers = await asyncio.gather(*(client.get("/healthz") for _ in range(50)))
    assert {answer.status_code for answer in answers} == {200}
    assert looks == 1
    await asyncio.sleep(0.6)
    assert (await client.get("/healthz")).status_code == 503
    assert looks == 2
