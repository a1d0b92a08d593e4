"""The three services in one process: what it says of itself."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from uuid import uuid4

import asyncpg
import httpx
import pytest

from services import health
from services.app import House
from services.authz.signing_keys import SigningKeys
from services.commands.openapi import documents
from services.health import OK, UNAVAILABLE
from services.kernel import batches, errors
from services.kernel.events import Service
from services.kernel.groups import Group
from services.kernel.log import Log
from services.kernel.runtime import Installation
from services.kernel.settings import Settings
from services.kernel.telemetry import METRIC_NAMES
from tests.conftest import Connect
from tests.emptied import empty
from tests.test_order import ANONYMOUS

#: counts from the first alert on; alerts come of what detection finds, not of traffic
ONLY_WITH_AN_ALERT = {"casewarden_alerts_raised_total"}


@pytest.fixture
async def house(installation: Installation) -> AsyncIterator[House]:
    built = await House.build(installation, Settings(data=installation.data), list(Service))
    try:
        await built.start()
        yield built
    finally:
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

    async def look() -> Mapping[str, object]:
        nonlocal looks
        looks += 1
        await asyncio.sleep(0.01)
        return OK if looks == 1 else UNAVAILABLE

    monkeypatch.setattr(house.health, "look", look)
    answers = await asyncio.gather(*(client.get("/healthz") for _ in range(50)))
    assert {answer.status_code for answer in answers} == {200}
    assert looks == 1
    await asyncio.sleep(0.6)
    assert (await client.get("/healthz")).status_code == 503
    assert looks == 2


async def test_health_is_unavailable_whatever_is_wrong(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks takes 503 for an installation to send nobody to, and 500 for a fault of asking."""

    async def writable(_runtime: object) -> bool:
        raise asyncpg.QueryCanceledError

    monkeypatch.setattr(health, "_writable", writable)
    answer = await client.get("/healthz")
    assert (answer.status_code, answer.json()) == (503, {"status": "unavailable"})


async def test_a_service_is_not_reached_by_an_encoded_separator(client: httpx.AsyncClient) -> None:
    """Whoever stands in front keeps `/authz/metrics` to itself by its path."""
    assert (await client.get("/authz/metrics")).status_code == 200
    for path in ("authz%2fmetrics", "authz%2Fv1/me", "authz/v1%2fme", "authz/%2e/metrics"):
        assert (await client.get(f"http://casewarden/{path}")).status_code == 404, path


async def test_a_name_twice_is_malformed_to_who_logs_in(client: httpx.AsyncClient) -> None:
    """RFC 8259, 4: no service reads the one where a filter in front may have read the other."""
    body = b'{"username":"nobody@example.org","password":"of nobody","username":"a@example.org"}'
    sent = {"content-type": "application/json"}
    answer = await client.post("/authz/v1/login", content=body, headers=sent)
    assert (answer.status_code, answer.json()["code"]) == (422, "malformed")
    for path in ("/cases/v1/requests", f"/audit/v1/alerts/{uuid4()}/resolve", "/authz/v1/people"):
        assert (await client.post(path, content=body, headers=sent)).status_code == 401, path


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_every_answer_is_marked_once_whoever_gives_it(
    client: httpx.AsyncClient, method: str
) -> None:
    own = {"": (200, 405), "healthz": (200, 405)}
    for path in ("", "healthz", "/x", "nothing", "authz/v1/nothing", "cases"):
        url = f"http://casewarden/{path}"
        answer = await client.request(method, url, headers={"x-request-id": "mine-1"})
        assert answer.status_code == own.get(path, (404, 404))[method == "POST"]
        for name, value in (
            ("x-request-id", "mine-1"),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
        ):
            assert answer.headers.get_list(name) == [value]
        if answer.is_error:
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["request_id"] == "mine-1"


async def test_a_start_that_fails_half_way_leaves_nothing_behind(
    installation: Installation, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a task nor a connection: what comes after is not made to fail by it."""
    owner = await connect(None)
    house = await House.build(installation, Settings(data=installation.data), list(Service))

    async def ensure(_keys: SigningKeys) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(SigningKeys, "ensure", ensure)
    with pytest.raises(ZeroDivisionError):
        await house.start()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    async with asyncio.timeout(5):
        while await owner.fetchval(
            "select count(*) from pg_stat_activity where datname = current_database()"
            " and application_name like 'casewarden %'"
        ):
            await asyncio.sleep(0.02)


async def test_a_start_waits_for_a_log_that_is_slow_to_begin_with(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused, append = 0, Log.append

    async def slow(log: Log, group: Group) -> int:
        nonlocal refused
        if refused < 2:
            refused += 1
            raise errors.Unavailable
        return await append(log, group)

    monkeypatch.setattr(Log, "append", slow)
    house = await House.build(installation, Settings(data=installation.data), [Service.AUTHZ])
    try:
        await house.start()
        assert refused == 2
        transport = httpx.ASGITransport(house)
        async with httpx.AsyncClient(transport=transport, base_url="http://casewarden") as client:
            keys = (await client.get("/authz/.well-known/jwks.json")).json()["keys"]
        assert len(keys) == 1
    finally:
        await house.stop()


async def test_while_a_start_folds_anew_what_an_upgrade_emptied_who_asks_is_told_how_far_it_is(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is shown from half of what there is, and nobody takes it for dead."""
    settings, services = Settings(data=installation.data), [Service.AUTHZ, Service.CASES]
    former = await House.build(installation, settings, services)
    await former.start()
    runtime = former._services[Service.AUTHZ].runtime
    for _ in range(4):
        await SigningKeys(runtime).rotate()
    events = await runtime.projector.head() + 1
    assert (await former.health.look()) == OK
    await former.stop()

    monkeypatch.setattr(batches, "_BATCH", 1)
    monkeypatch.setattr(batches, "_CATCHING_UP", 1)
    monkeypatch.setattr(health, "_STANDS_S", 0)
    house = await House.build(installation, settings, services)
    projector, gate = house._services[Service.AUTHZ].runtime.projector, asyncio.Semaphore(0)
    folds = projector._batches
    await empty(projector)
    folding = folds.fold

    async def one() -> batches.Folded:
        await gate.acquire()
        return await folding()

    monkeypatch.setattr(folds, "fold", one)
    starting = asyncio.create_task(house.start())
    try:
        transport = httpx.ASGITransport(house)
        async with httpx.AsyncClient(transport=transport, base_url="http://casewarden") as client:
            answer = await client.get("/healthz")
            assert (answer.status_code, answer.json()) == (503, {"status": "starting"})
            gate.release()
            async with asyncio.timeout(5):
                while (answer := await client.get("/healthz")).json() == {"status": "starting"}:
                    await asyncio.sleep(0.01)
            far = {"status": "catching_up", "percent": 100 // events}
            assert (answer.status_code, answer.json()) == (503, far)
            for path in ("/authz/.well-known/jwks.json", "/cases/v1/cases"):
                refused = await client.get(path)
                assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
            assert (await client.get("/cases/metrics")).status_code == 200
            for _ in range(100):
                gate.release()
            await starting
            answer = await client.get("/healthz")
            assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
            assert (await client.get("/cases/v1/cases")).status_code == 401
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await house.stop()


async def test_every_route_asks_for_a_token_but_those_described_as_anonymous(
    client: httpx.AsyncClient,
) -> None:
    """SG-1: 401 before anything else, whatever else is wrong with the request."""
    anonymous = set()
    for service, document in (await documents()).items():
        for path, operations in json.loads(document)["paths"].items():
            for method, operation in operations.items():
                filled = re.sub(r"\{\w+\}", str(uuid4()), path)
                answer = await client.request(method, f"/{service}{filled}")
                if operation.get("security") in ANONYMOUS:
                    anonymous.add(path)
                    assert answer.status_code in {200, 422}, (method, path)
                else:
                    assert answer.status_code == 401, (method, path)
    assert "/v1/login" in anonymous
    assert len(anonymous) == 7
