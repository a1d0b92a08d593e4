"""The memory of detection when several processes fold in turn (SG-9)."""

from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest

from services.audit import memory
from services.audit.detecting import Detection
from services.audit.detection import rules, states
from services.kernel.projection import Connection
from services.kernel.projector import Projector
from services.kernel.runtime import Installation
from tests.audit.given import AT_NIGHT, World, served
from tests.audit.test_alerts import alerts_of

NIGHTS = 12


class Reads:
    """Counts the rows of the memory that are read: whole, and those written since."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.whole, self.since = 0, 0
        whole, take = memory._whole, states.take

        async def read(connection: Connection, head: states.Head, at: int) -> memory.Memory:
            self.whole += 1
            return await whole(connection, head, at)

        def taken(held: rules.States, stored: dict[str, bytes]) -> None:
            self.since += len(stored)
            take(held, stored)

        monkeypatch.setattr(memory, "_whole", read)
        monkeypatch.setattr(states, "take", taken)


@pytest.fixture
async def folding(world: World, installation: Installation) -> AsyncIterator[list[Projector]]:
    """Return the detections of two processes, neither of which folds by itself."""
    async with served(installation) as (second, _):
        both = [world.audit.detection, second.detection]
        for each in both:
            await each.stop()
        yield both


def cached(projector: Projector) -> memory.Memory:
    """Return what a process remembers."""
    (detection,) = projector._projections
    assert isinstance(detection, Detection)
    assert detection._memory is not None
    return detection._memory


async def stored(world: World) -> tuple[list[asyncpg.Record], list[asyncpg.Record]]:
    """Return the memory as it is stored, and what was found, told or not."""
    pool = world.audit.runtime.pool
    return (
        await pool.fetch("select name, position, state from audit.detection_state order by 1"),
        await pool.fetch("select key, ordinal, position, finding from audit.finding order by 1, 2"),
    )


async def test_who_folds_in_turn_takes_in_what_came_since_and_no_more(
    world: World, folding: list[Projector], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process reads the memory whole once; what the other wrote, and forgot, it follows.

    Every night is a day remembered; days further off are forgotten, by whoever folds that night.
    """
    analyst = await world.analyst()
    person = await world.staff("school_office", await world.organisation("school"))
    for each in folding:
        await each.fold_once()
    reads = Reads(monkeypatch)
    for number in range(NIGHTS):
        night = AT_NIGHT + timedelta(days=number)
        await world.begin(person, at=night)
        await world.failed_login(person, night)
        await folding[number % 2].fold_once()
    assert reads.whole <= 1
    # Four parts a night: the day, the account, the address, the person's sessions.
    assert reads.since <= 4 * NIGHTS
    live = await stored(world)
    last = cached(folding[(NIGHTS - 1) % 2])._states
    names = {states.HEAD, *map(states.name_of, states.parts(last))}
    assert names == {row["name"] for row in live[0]}
    await folding[0].rebuild()
    assert await stored(world) == live
    days = {alert["details"]["local_date"] for alert in await alerts_of(world, analyst)}
    assert len(days) == NIGHTS


async def test_memory_of_a_log_that_was_forgotten_is_not_gone_on_with(
    world: World, folding: list[Projector], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that crashed may lose what was not durable; its positions are given out again."""
    person = await world.staff("school_office", await world.organisation("school"))
    await world.failed_login(person, AT_NIGHT)
    await folding[0].fold_once()
    remembered = cached(folding[0])
    remembered.last = world.id()
    await world.failed_login(person, AT_NIGHT)
    await folding[1].fold_once()
    reads = Reads(monkeypatch)
    await world.failed_login(person, AT_NIGHT)
    await folding[0].fold_once()
    assert reads.whole == 1
    assert cached(folding[0]) is not remembered
