"""What a running service holds: room ahead in the log, and connections that nobody is kept from."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from services.authz import events as authz
from services.authz.directory import Directory
from services.kernel import database, telemetry
from services.kernel.events import Registry, Service
from services.kernel.http import as_problem
from services.kernel.log import Group
from services.kernel.runtime import Installation, Runtime, open_runtime
from tests.conftest import Connect
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


def test_an_error_is_described_without_what_it_says() -> None:
    """SG-18: a database, a parser or a validator quotes what it was given."""
    with pytest.raises(ValueError, match="huhu") as raised:
        int("Ōtāhuhu")
    told = telemetry.described(raised.value)
    assert told["error"] == "ValueError"
    assert "test_runtime.py:" in str(told["frames"])
    assert "huhu" not in str(told)
