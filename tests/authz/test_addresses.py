"""Which address an attempt counts against and is recorded with, behind a proxy and not (SG-4)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from services.authz.session_events import LOGIN_FAILED
from services.authz.throttle import ADDRESS
from services.kernel.boundary import Boundary
from services.kernel.events import Service
from services.kernel.origins import Places
from services.kernel.settings import Settings
from services.server import claim, serve
from tests.authz.door import ELSEWHERE, Door

BODY = {"username": "nobody.here", "password": "wrong-wrong-wrong-wrong"}
PROXY = "127.0.0.1"


@asynccontextmanager
async def _listening(door: Door, trusted_proxies: str) -> AsyncIterator[httpx.AsyncClient]:
    """Serve ``door`` on a port, as it is served; who asks comes from the proxy's address."""
    settings = Settings(port=0, trusted_proxies=trusted_proxies)
    claimed, stop, ready = claim(settings), asyncio.Event(), asyncio.Event()
    app = Boundary(door.authz.app, Service.AUTHZ)
    serving = asyncio.create_task(serve(app, claimed, settings, stop, ready.set))
    await ready.wait()
    url = f"http://{PROXY}:{claimed.getsockname()[1]}"
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        yield client
    stop.set()
    await serving


async def _tried(client: httpx.AsyncClient, forwarded_for: str | None) -> int:
    headers = {} if forwarded_for is None else {"x-forwarded-for": forwarded_for}
    return (await client.post("/v1/login", json=BODY, headers=headers)).status_code


async def _blocked(door: Door, ip: str) -> None:
    for number in range(ADDRESS.failures):
        await door.authz.throttle.admit(f"account-{number}", ip)


async def _recorded(door: Door) -> list[str | None]:
    failed, places = await door.of_type(LOGIN_FAILED), Places(door.authz.runtime.keys)
    await places.load(failed)
    return [places.of(event).ip for event in failed]


async def test_trusted_proxy_says_who_tries_and_nobody_can_speak_for_it(door: Door) -> None:
    """SG-4, AC-USE-1: what a client wrote before the proxy's own entry counts for nothing."""
    await _blocked(door, ELSEWHERE)
    async with _listening(door, PROXY) as client:
        statuses = [
            await _tried(client, ELSEWHERE),
            await _tried(client, f"203.0.113.9, {ELSEWHERE}"),
            await _tried(client, f"203.0.113.9, {ELSEWHERE}:40123, {PROXY}"),
            await _tried(client, "203.0.113.9"),
        ]

    assert statuses == [429, 429, 429, 401]
    assert await _recorded(door) == ["203.0.113.9"]


@pytest.mark.parametrize("trusted", ["", "192.0.2.1"])
async def test_nobody_else_says_who_tries(door: Door, trusted: str) -> None:
    """SG-4: without trust, a header changes neither what is counted nor what is recorded."""
    async with _listening(door, trusted) as client:
        told = await _tried(client, "203.0.113.9")
        await _blocked(door, "203.0.113.9")
        again = await _tried(client, "203.0.113.9")

    assert (told, again) == (401, 401)
    assert await _recorded(door) == [PROXY, PROXY]
