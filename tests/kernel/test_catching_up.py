"""A start waits for folds that have far to go, says how far they are, and gives up a still one."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise

import asyncpg
import pytest
import structlog

from services.kernel import background, batches, catching_up
from services.kernel.catching_up import caught_up
from services.kernel.errors import Unavailable
from services.kernel.event_types import Registry
from services.kernel.events import Recorded, Service
from services.kernel.groups import Group
from services.kernel.log import Log
from services.kernel.projection import Connection
from services.kernel.projector import Projector
from tests.conftest import Pools
from tests.kernel.given import fact

EVENTS = 8


class Faltering:
    """Folds nothing into nothing, and each time after so many batches breaks off."""

    name = "authz.directory"
    tables: Sequence[str] = ()

    def __init__(self) -> None:
        self.folded: list[int] = []
        self.breaks_after = EVENTS + 1
        self.pause_s = 0.0
        self._turn = 0

    def wants(self, _type: str, _kind: str) -> bool:
        return True

    async def fold(self, _connection: Connection, batch: Sequence[Recorded]) -> None:
        await asyncio.sleep(self.pause_s)
        self._turn += 1
        if self._turn > self.breaks_after:
            self._turn = 0
            raise asyncpg.QueryCanceledError
        self.folded += [recorded.position for recorded in batch]


@pytest.fixture
def faltering() -> Faltering:
    return Faltering()


@pytest.fixture
async def projector(
    pools: Pools, registry: Registry, faltering: Faltering, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Projector]:
    """Return one that is behind by some events, and folds one at a time."""
    monkeypatch.setattr(batches, "_BATCH", 1)
    monkeypatch.setattr(batches, "_CATCHING_UP", 1)
    pool = await pools(Service.AUTHZ)
    log = Log(pool, Service.AUTHZ)
    log.start()
    await log.append(Group([fact() for _ in range(EVENTS)]))
    await log.stop()
    projector = Projector(pool, "authz", registry, [faltering])
    yield projector
    await projector.stop()


async def test_a_fold_that_breaks_off_again_and_again_is_waited_for_while_it_comes_further(
    projector: Projector, faltering: Faltering, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it takes in all: the minute begins anew with each step."""
    monkeypatch.setattr(background, "_START_S", 0.01)
    faltering.breaks_after = 2
    await caught_up(projector)
    assert faltering.folded == list(range(EVENTS))


async def test_a_fold_that_comes_no_further_is_given_up(
    projector: Projector, faltering: Faltering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "_START_S", 0.2)
    faltering.breaks_after = 0
    async with asyncio.timeout(10):
        with pytest.raises(Unavailable):
            await caught_up(projector)


async def test_a_fold_that_stopped_is_not_waited_for(
    projector: Projector, faltering: Faltering, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not pass by itself is for an operator to see at once."""

    async def fold(_connection: Connection, _batch: Sequence[Recorded]) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(faltering, "fold", fold)
    async with asyncio.timeout(10):
        with pytest.raises(Unavailable):
            await caught_up(projector)
    assert projector.stopped


async def test_it_says_now_and_then_how_many_positions_are_folded_and_to_fold(
    projector: Projector, faltering: Faltering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catching_up, "_TELL_S", 0.05)
    faltering.pause_s = 0.04
    with structlog.testing.capture_logs() as logs:
        await caught_up(projector)
    told = [(log["folded"], log["to_fold"]) for log in logs if log["event"] == "catching_up"]
    assert len(told) > 1
    assert {log["projections"] for log in logs} == {"authz.directory"}
    assert all(folded + to_fold == EVENTS for folded, to_fold in told if folded)
    assert all(earlier[0] <= later[0] for earlier, later in pairwise(told))
    assert told[0][0] < told[-1][0]
