"""Searches are answered a page at a time, and a page tells of nobody but whom it shows."""

from collections.abc import AsyncIterator
from typing import Any, Final
from uuid import UUID

import asyncpg
import pytest

from services.authz.access import Claims
from services.authz.events import Role
from services.cases import finding
from services.cases.desk import Asked
from services.cases.models import StudentQuery
from services.cases.name_index import NameIndex
from services.kernel.http import Call
from tests.cases.world import Json, Region, Staff

pytestmark = pytest.mark.asyncio(loop_scope="module")
PATH: Final = "/v1/students/search"


async def pages(place: Region, who: Staff, query: str, limit: int) -> AsyncIterator[list[UUID]]:
    """Return page after page; each was recorded as what it shows and nothing else (AC-USE-1)."""
    body: Json = {"query": query, "limit": limit}
    while True:
        page = await place.world.must(who, "POST", PATH, body)
        shown = [UUID(item["student_id"]) for item in page["items"]]
        told = await place.world.told()
        assert sorted(told.shown["student_basic"]) == sorted(map(str, shown))
        yield shown
        if page["next_cursor"] is None:
            return
        body["cursor"] = page["next_cursor"]


async def called(place: Region, name: str, school: UUID, number: int) -> list[UUID]:
    return [await place.world.student(school, name, f"Apanui-{n}") for n in range(number)]


async def test_pages_hold_everybody_once_in_one_order(place: Region) -> None:
    """AC-SEE-23: a full last page says that it is the last; learners elsewhere fill none."""
    own: list[UUID] = []
    for _ in range(3):
        own += await called(place, "Hohepa", place.school, 2)
        await called(place, "Hohepa", place.other_school, 3)
    found = [page async for page in pages(place, place.leader, "hohepa", 4)]
    assert found == [own[:4], own[4:]]
    assert [page async for page in pages(place, place.office, "hohepa", 3)] == [own[:3], own[3:]]
    assert [page async for page in pages(place, place.office, "hohepa", 6)] == [own]


@pytest.mark.parametrize("tokens", [True, False])
async def test_a_page_is_filled_by_whom_it_shows(
    place: Region, monkeypatch: pytest.MonkeyPatch, *, tokens: bool
) -> None:
    """Neither its length nor its cursor says who else was looked at, and how often."""
    name = "Tamahae" if tokens else "Tamahau"
    own: list[UUID] = []
    for _ in range(3):
        # alike in what is digested of a name, and called otherwise
        await called(place, f"{name[:-1]}i", place.school, 3)
        own += await called(place, name, place.school, 2)
    if tokens:
        await place.world.cases.names.catch_up()
    else:
        connection = await asyncpg.connect(place.world.installation.server.url)
        await connection.execute(
            "update cases.student set name_epoch = 1000000, name_tokens = '{}'"
            " where school_id = $1 and id >= $2",
            place.school,
            own[0],
        )
        await connection.close()
    monkeypatch.setattr(finding, "_AT_ONCE", 2)
    found = [page async for page in pages(place, place.leader, name, 2)]
    assert found == [own[:2], own[2:4], own[4:]]


async def test_who_leaves_or_comes_shifts_nobody_from_a_later_page(place: Region) -> None:
    """A page begins behind the last one, whoever of that has left the school meanwhile."""
    own = await called(place, "Wiremu", place.school, 4)
    found = pages(place, place.leader, "wiremu", 2)
    assert await anext(found) == own[:2]
    for gone in own[:2]:
        await place.world.enrol(gone, place.other_school)
    own += await called(place, "Wiremu", place.school, 1)
    assert [page async for page in found] == [own[2:4], own[4:]]


async def test_a_page_over_two_schools_is_told_to_each_of_its_own(place: Region) -> None:
    """Whoever works at two schools pages through both; ``told`` holds the events apart."""
    both = await place.world.also(place.leader, Role.SCHOOL_LEADER, place.other_school)
    own = await called(place, "Ngaio", place.school, 2)
    own += await called(place, "Ngaio", place.other_school, 2)
    assert [page async for page in pages(place, both, "ngaio", 3)] == [own[:3], own[3:]]
    await place.world.revoke(both)


async def test_a_cursor_serves_its_caller_and_its_query(place: Region) -> None:
    """Another's, of other words, of a list, or a made-up one: malformed, and nothing is shown."""
    world = place.world
    await called(place, "Manaaki", place.office.organisation_id, 3)
    asked: Json = {"query": "Manaaki", "limit": 1}
    cursor = (await world.must(place.office, "POST", PATH, asked))["next_cursor"]
    assert (await world.must(place.office, "POST", PATH, {**asked, "limit": 2, "cursor": cursor}))[
        "items"
    ]
    for _ in range(2):
        await world.request(place.office, place.student, submit=False)
    listed = (await world.get(place.office, "/v1/requests?limit=1")).json()["next_cursor"]
    for who, body in (
        (place.contact, {**asked, "cursor": cursor}),
        (place.office, {**asked, "cursor": cursor, "query": "manaaki"}),
        (place.office, {**asked, "cursor": listed}),
        (place.office, {**asked, "cursor": "bm90aGluZw=="}),
        (place.manager, {**asked, "cursor": cursor}),
        (place.office, {**asked, "limit": 0}),
        (place.office, {**asked, "limit": 101}),
        (place.office, {**asked, "limit": "1"}),
    ):
        answer = await world.send(who, "POST", PATH, body)
        assert answer.status_code == 422, body
    answer = await world.get(place.office, f"/v1/requests?limit=1&cursor={cursor}")
    assert answer.status_code == 422


async def test_a_hidden_name_takes_the_work_of_one_that_nobody_has(
    place: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many statements, candidates, events and guards, and one answer."""
    await called(place, "Rangimarie", place.school, 3)
    await place.world.cases.names.catch_up()
    looked: list[int] = []
    candidates = NameIndex.candidates

    async def counted(self: NameIndex, *arguments: Any) -> Any:  # noqa: ANN401 - as it is
        found = await candidates(self, *arguments)
        looked.append(len(found))
        return found

    monkeypatch.setattr(NameIndex, "candidates", counted)
    who, students = place.other_leader, place.world.cases.front.students
    until = place.world.now().replace(year=place.world.now().year + 1)
    asked = Asked(Call("x", "", ""), Claims(until, who.id, who.session_id), "search")
    drafts = [
        await students.search(asked, StudentQuery(query=query, limit=1))
        for query in ("Rangimarie", "Nobodywhosoever")
    ]
    assert looked == [0, 0]
    assert drafts[0].reply == drafts[1].reply == b'{"items":[],"next_cursor":null}'
    assert drafts[0].group.guards == drafts[1].group.guards
    assert [len(draft.group.events) for draft in drafts] == [1, 1]
