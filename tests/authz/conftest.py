"""A running authz for a test, and such as a module's tests share.

Those are for claims that hold whatever the others left behind.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from services.kernel.runtime import Installation
from tests.authz.door import Door, opened
from tests.authz.staffed import Region, settled
from tests.conftest import Clock, TestServer


@pytest.fixture
async def door(installation: Installation, clock: Clock) -> AsyncIterator[Door]:
    """Open a door for one test."""
    async with opened(installation, clock) as door:
        yield door


@pytest.fixture
async def region(installation: Installation) -> AsyncIterator[Region]:
    """Fill a region for one test."""
    async with settled(installation) as built:
        yield built


@asynccontextmanager
async def _installed(server: TestServer, data: Path) -> AsyncIterator[tuple[Installation, Clock]]:
    """Make an installation that outlives one test."""
    clock = Clock()
    (data / "secrets").mkdir(mode=0o700)
    (data / "secrets" / "roles").write_bytes(server.roles)
    own, shape = await server.take()
    yield Installation(own, data, clock.effects()), clock
    await server.give_back(own, shape)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_door(
    server: TestServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Door]:
    """Open one door for a module."""
    async with (
        _installed(server, tmp_path_factory.mktemp("door")) as (installation, clock),
        opened(installation, clock) as door,
    ):
        yield door


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_region(
    server: TestServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Region]:
    """Fill one region for a module."""
    async with (
        _installed(server, tmp_path_factory.mktemp("region")) as (installation, _),
        settled(installation) as region,
    ):
        yield region
