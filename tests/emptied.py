"""Rows that are emptied at a chosen moment of a request, as ``casewarden rebuild`` elsewhere does.

What empties them is what a rebuild begins with. The service under test no longer follows the log
from then on, so that rows are folded again only where a request has them folded.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import asyncpg
import pytest

from services.kernel import boundary
from services.kernel.projector import Projector
from services.kernel.runtime import Installation

#: how long a request waits for rows that nobody may fold
_DEADLINE_S: Final = 0.3
Called = Callable[..., Any]


async def empty(projector: Projector, *names: str) -> None:
    """Empty the projections called ``names``, or all of the projector's."""
    await projector._batches.empty(names or projector.names)


@asynccontextmanager
async def unfolded(installation: Installation, projector: Projector) -> AsyncIterator[None]:
    """Let nobody fold any of the projector's rows meanwhile: whoever would waits, and is 503."""
    await projector.stop()
    owner = await asyncpg.connect(installation.server.url)
    schema = projector.names[0].partition(".")[0]
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(boundary, "DEADLINE_S", _DEADLINE_S)
            async with owner.transaction():
                await owner.execute(
                    f"select from {schema}.projection where name = any($1) for update",
                    projector.names,
                )
                yield
    finally:
        await owner.close()


@asynccontextmanager
async def emptied(
    installation: Installation, projector: Projector, *names: str
) -> AsyncIterator[None]:
    """Empty rows before whatever is asked meanwhile, and let nobody fold them until it is over."""
    await projector.stop()
    await empty(projector, *names)
    async with unfolded(installation, projector):
        yield


@asynccontextmanager
async def emptied_before(
    place: object, name: str, projector: Projector, *names: str
) -> AsyncIterator[None]:
    """Empty rows at the moment when ``place.name``, which is awaited, is called: each time."""

    async def emptying(called: Called) -> Any:  # noqa: ANN401 - as it is
        await empty(projector, *names)
        return await called()

    async with _around(place, name, projector, emptying):
        yield


@asynccontextmanager
async def emptied_after(
    place: object, name: str, projector: Projector, *names: str
) -> AsyncIterator[None]:
    """Empty rows at the moment when ``place.name``, which is awaited, has answered: each time."""

    async def emptying(called: Called) -> Any:  # noqa: ANN401 - as it is
        answer = await called()
        await empty(projector, *names)
        return answer

    async with _around(place, name, projector, emptying):
        yield


@asynccontextmanager
async def _around(
    place: object, name: str, projector: Projector, emptying: Called
) -> AsyncIterator[None]:
    """Have ``emptying`` do what ``place.name`` does, which it is handed with its arguments."""
    called = getattr(place, name)

    async def instead(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - as it is
        return await emptying(partial(called, *arguments, **named))

    await projector.stop()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place, name, instead)
        yield
