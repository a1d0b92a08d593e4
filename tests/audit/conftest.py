"""The world that claims about audit begin with."""

from collections.abc import AsyncIterator

import pytest

from services.kernel.runtime import Installation
from tests.audit.given import World, world_of
from tests.conftest import Clock


@pytest.fixture
async def world(installation: Installation, clock: Clock) -> AsyncIterator[World]:
    """Serve audit over an installation of its own."""
    async with world_of(installation, clock) as world:
        yield world
