"""Learners are found by their names, and nothing made from a name is in the log."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg
import pytest

from services.cases.acquaintance import JUDGED
from services.cases.name_index import _CANDIDATES
from services.kernel.background import ended
from services.kernel.epochs import EpochKeys
from services.kernel.keystore import KeyStore
from services.kernel.sealing import Compartment, SealBroken
from tests.cases.world import Region, Staff, World

#: an epoch, and longer than a slow clock may lag behind its end
_EPOCH: Final = timedelta(days=30, hours=2)
#: as if a process whose clock is ahead had made the tokens: nobody makes them again meanwhile
_AHEAD: Final = 1_000_000


async def owner(world: World, statement: str, *arguments: object, keys: bool = False) -> Any:  # noqa: ANN401 - rows
    """Do as the owner of the log's database, or of the key store, may."""
    server = world.installation.server
    connection = await asyncpg.connect(server.keys_url if keys else server.url)
    try:
        return await connection.fetch(statement, *arguments)
    finally:
        await connection.close()


async def made(world: World) -> dict[UUID, tuple[int, list[int]]]:
    """Return the tokens of everybody, once everybody has some of this epoch."""
    epoch = world.cases.runtime.keys.current_epoch()
    while True:
        # The task beside the requests may be at it too.
        await world.cases.names.catch_up()
        rows = await owner(world, "select id, name_epoch, name_tokens from cases.student")
        if all(row["name_epoch"] >= epoch for row in rows):
            return {row["id"]: (row["name_epoch"], row["name_tokens"]) for row in rows}


async def found(world: World, who: Staff, query: str) -> set[UUID]:
    answer = await world.must(who, "POST", "/v1/students/search", {"query": query})
    return {UUID(row["student_id"]) for row in answer["items"]}


def leaves(value: object) -> Iterator[object]:
    """Return every value inside JSON."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from leaves(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from leaves(inner)
    else:
        yield value


async def test_learners_of_one_name_have_nothing_in_common_in_the_log(world: World) -> None:
    """SG-18: no value made from a name, a number or a birthday, under whichever key."""
    names = ("Mārama", "Te Whare")
    facts = []
    for _ in range(2):
        await world.student(None, *names)
        facts.append((await world.newest()).data)
    common = set(leaves(facts[0])) & set(leaves(facts[1]))
    assert common == {None, "student", "basic", "demographics", "family"}


QUERIES: Final = (
    "marama",
    "MĀRAMA",
    "ma",
    "marama te whare",
    "whare mā",
    "te",
    "Whare-Mārama",
    "m te",
)


@pytest.mark.parametrize("epoch", [0, _AHEAD])
async def test_a_search_needs_no_tokens_to_be_right(region: Region, epoch: int) -> None:
    """AC-SEE-23: macrons, case, beginnings and several words, found by tokens or without."""
    world, leader = region.world, region.leader
    other = await world.student(region.school, "Marangi", "O'Brien")
    await made(world)
    for query in QUERIES:
        assert region.student in await found(world, leader, query), query
    by_tokens = [await found(world, leader, q) for q in (*QUERIES, "obrien mara", "x", "ram", "li")]
    assert by_tokens[-4:] == [{other}, set(), set(), set()]
    number = str(region.student.int)[-10:]
    assert await found(world, leader, number[:7]) == {region.student}
    await owner(world, "update cases.student set name_epoch = $1, name_tokens = '{}'", epoch)
    again = [await found(world, leader, q) for q in (*QUERIES, "obrien mara", "x", "ram", "li")]
    assert again == by_tokens
    assert await found(world, leader, number[:7]) == {region.student}


async def test_a_new_name_is_found_and_the_former_is_not(region: Region) -> None:
    """Tokens never outlive the name they were made from."""
    world = region.world
    await made(world)
    student = await world.student(region.school, "Hēmi", "Parata", student_id=region.student)
    assert await found(world, region.leader, "hemi parata") == {student}
    assert await found(world, region.leader, "whare") == set()
    await made(world)
    assert await found(world, region.leader, "hemi parata") == {student}
    assert await found(world, region.leader, "whare") == set()


async def test_when_the_epoch_turns_every_token_is_another(region: Region) -> None:
    """Tokens of a former epoch are gone, and so, with its key, is what they could be made with."""
    world, keys = region.world, region.world.cases.runtime.keys
    former = await made(world)
    epoch, _ = keys.epoch_secret(Compartment.SEARCH, "a purpose")
    world.clock.advance(_EPOCH)
    leader = await world.sign_in(region.leader)
    assert await found(world, leader, "marama whare") == {region.student}
    renewed = await made(world)
    assert renewed.keys() == former.keys()
    for student_id, (number, tokens) in renewed.items():
        assert number == epoch + 1
        assert tokens
        assert not set(tokens) & set(former[student_id][1])
    assert await found(world, leader, "marama whare") == {region.student}
    epochs = EpochKeys(world.installation.data / "keys", world.installation.effects)
    async with asyncpg.create_pool(
        world.installation.server.keys_url, min_size=1, max_size=1
    ) as pool:
        assert await KeyStore(pool, epochs, world.installation.effects).rewrap()
    with pytest.raises(SealBroken):
        epochs.secret(Compartment.SEARCH, epoch, "a purpose")
    assert await found(world, leader, "marama whare") == {region.student}


async def test_a_learner_whose_key_is_destroyed_has_no_tokens(region: Region) -> None:
    """SG-16: neither the live ones nor those made when the projection is folded anew."""
    world = region.world
    before = await made(world)
    await owner(world, "delete from keys.data_key where subject = $1", region.student, keys=True)
    assert await world.cases.names.forget_destroyed() == 1
    live = await made(world)
    assert live == {**before, region.student: (before[region.student][0], [])}
    assert await found(world, region.leader, "marama") == set()
    await world.cases.runtime.projector.rebuild()
    assert await made(world) == live


async def test_processes_share_the_making_of_tokens(region: Region) -> None:
    """Several at once: everybody is made, and nobody is waited for."""
    world = region.world
    learners = len(await made(world))
    await ended(*world.cases._tasks)
    await owner(world, "update cases.student set name_epoch = 0, name_tokens = '{}'")
    held = await asyncpg.connect(world.installation.server.url)
    try:
        async with held.transaction():
            await held.execute("select from cases.student where id = $1 for update", region.student)
            await world.cases.names.catch_up()
            rows = await owner(world, "select id from cases.student where name_epoch = 0")
            assert [row["id"] for row in rows] == [region.student]
    finally:
        await held.close()
    assert len(await made(world)) == learners


async def test_a_search_reads_the_roll_of_ones_school_and_no_other(region: Region) -> None:
    """What it costs to search cannot tell of a learner elsewhere: no index of names is asked."""
    pool = region.world.cases.runtime.pool
    arguments = ([region.school], 1, [1], UUID(int=0), 10)
    plan = "\n".join(row[0] for row in await pool.fetch(f"explain {_CANDIDATES}", *arguments))
    assert plan.count("Index Cond") == 1
    assert "Index Cond: (school_id = ANY" in plan


async def test_one_record_among_many_is_enough(region: Region) -> None:
    """AC-SEE-15: the oldest of more records than are judged of anybody else."""
    world = region.world
    student = await world.student(region.school, "Aroha", "Kingi")
    await world.request(region.leader, student)
    for _ in range(JUDGED + 1):
        await world.request(region.leader, student, submit=False)
    answer = await world.get(region.team, f"/v1/students/{student}")
    assert answer.status_code == 200
    assert set(answer.json()["parts"]) == {"student_basic", "demographics"}
