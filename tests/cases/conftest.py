"""Fixtures of the cases service."""

from collections.abc import AsyncIterator

import pytest

from services.kernel.runtime import Installation
from tests.cases.world import Region, World, make_region, open_world
from tests.conftest import Clock


@pytest.fixture
async def world(installation: Installation, clock: Clock) -> AsyncIterator[World]:
    """Open a world without anybody in it."""
    async with open_world(installation, clock) as opened:
        yield opened


@pytest.fixture
async def region(world: World) -> Region:
    """Fill a world with two schools, two providers and their staff."""
    return await make_region(world)
