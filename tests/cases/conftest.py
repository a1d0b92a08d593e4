"""Fixtures of the cases service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from services.kernel.runtime import Installation
from tests.cases.atlas import Atlas, drawn
from tests.cases.world import Region, World, make_region, open_world
from tests.conftest import Clock, TestServer


@pytest.fixture
async def world(installation: Installation, clock: Clock) -> AsyncIterator[World]:
    """Open a world without anybody in it."""
    async with open_world(installation, clock) as opened:
        yield opened


@pytest.fixture
async def region(world: World) -> Region:
    """Fill a world with two schools, two providers and their staff."""
    return await make_region(world)


@asynccontextmanager
async def settled(server: TestServer, data: Path) -> AsyncIterator[World]:
    """Open a world that outlives one test."""
    clock = Clock()
    (data / "secrets").mkdir(mode=0o700)
    (data / "secrets" / "roles").write_bytes(server.roles)
    own, shape = await server.take()
    async with open_world(Installation(own, data, clock.effects()), clock) as opened:
        yield opened
    await server.give_back(own, shape)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def atlas(
    server: TestServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Atlas]:
    """Draw one atlas of records for a module whose tests change none of them."""
    data = tmp_path_factory.mktemp("atlas")
    async with settled(server, data) as opened, drawn(opened) as atlas:
        yield atlas


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(
    server: TestServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Region]:
    """Fill one region for a module whose tests make records of their own."""
    async with settled(server, tmp_path_factory.mktemp("place")) as opened:
        yield await make_region(opened)
