"""Rows folded anew equal the live ones, and no fact moves a decision it does not touch."""

from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec
import pytest

from services.authz.access import Claims
from services.cases import drafting
from services.cases.desk import Asked
from services.cases.events import READ
from services.cases.terms import RecordKind
from services.cases.views import decode_record, encode_record
from services.kernel.background import ended
from services.kernel.events import guard_key
from services.kernel.http import Call
from services.kernel.migrations.versions import v0027_reviewers
from tests.cases.atlas import Atlas
from tests.cases.world import Region, Staff

pytestmark = pytest.mark.asyncio(loop_scope="module")
TABLES: Final = ("cases.student", "cases.record")
ANY: Final = {"if_match": "*"}


async def rows(atlas: Atlas) -> dict[str, list[Any]]:
    """Return every row, once all learners can be found by their names."""
    while await atlas.world.cases.names.catch_up():
        pass
    connection = await asyncpg.connect(atlas.world.installation.server.url)
    try:
        return {
            table: await connection.fetch(f"select * from {table} order by 1, 2")
            for table in TABLES
        }
    finally:
        await connection.close()


async def test_a_rebuilt_projection_equals_the_live_one(atlas: Atlas) -> None:
    """Moved and withdrawn cases, and the requests that went with them, included."""
    await ended(*atlas.world.cases._tasks)  # one of them makes learners findable as well
    live = await rows(atlas)
    assert all(live.values())
    await atlas.world.cases.runtime.projector.rebuild()
    assert await rows(atlas) == live


async def looks(region: Region, who: Staff, kind: RecordKind, record_id: UUID) -> Any:  # noqa: ANN401 - guards and content
    """Return what a decision rests on, and what it shows, without recording it."""
    desk = region.world.cases.front.desk
    claims = Claims(desk.now().replace(year=desk.now().year + 1), who.id, who.session_id)
    asked = Asked(Call("x", "", ""), claims, "read")
    loaded = await desk.load(asked, kind, record_id)
    sight = desk.see(loaded)
    shown = (await desk.view(loaded, sight)).content if sight else None
    return {guard_key(guard) for guard in loaded.guards}, shown


async def test_a_fact_that_touches_no_guard_of_a_decision_leaves_it_alone(place: Region) -> None:
    """The frame: whatever changes an answer touches a key that the answer was guarded by."""
    world = place.world
    drafted = await world.request(place.leader, place.student, submit=False)
    cases = [await place.case() for _ in range(2)]
    opened = await world.get(place.leader, "/v1/requests?limit=3")
    requests = [UUID(row["id"]) for row in opened.json()["items"]]
    records = [(RecordKind.REQUEST, one) for one in {drafted, *requests}]
    records += [(RecordKind.CASE, one) for one in cases]
    people = [place.leader, place.office, place.contact, place.lead, place.manager]
    people += [place.colleague, place.team, place.other_lead]

    async def everything() -> dict[Any, Any]:
        return {
            (who.name, one): await looks(place, who, kind, one)
            for who in people
            for kind, one in records
        }

    path = f"/v1/cases/{cases[0]}"
    note = {"kind": "note", "text": "A note.", "shared_with_school": True}
    steps: list[tuple[Staff, str, str, Any]] = [
        (place.manager, "POST", f"{path}/items", note),
        (place.office, "PUT", f"{path}/primary-contact", {"person_id": str(place.contact.id)}),
        (place.lead, "POST", f"{path}/team", {"person_id": str(place.colleague.id)}),
        (place.lead, "POST", f"{path}/assign", {"person_id": str(place.colleague.id)}),
        (place.leader, "POST", f"/v1/requests/{drafted}/submit", None),
        (place.team, "POST", f"{path}/move", {"organisation_id": str(place.other_asp)}),
        (place.other_lead, "POST", f"{path}/close", {"outcome": "Attends."}),
        (place.lead, "DELETE", f"/v1/cases/{cases[1]}", {"reason": "In error."}),
    ]
    before, changed = await everything(), 0
    for who, method, where, body in steps:
        await world.must(who, method, where, body, **ANY)
        touched = {guard_key(key) for key in (await world.newest()).touches}
        after = await everything()
        for place_, (guards, shown) in before.items():
            if shown != after[place_][1]:
                changed += 1
                assert guards & touched, (place_, where)
        before = after
    assert changed > len(steps)
    assert await world.revoke(place.manager)
    touched = {guard_key(key) for key in (await world.newest()).touches}
    assert all(touched & guards for (name, _), (guards, _) in before.items() if name == "manager")


async def test_a_request_goes_where_its_case_goes(atlas: Atlas) -> None:
    """AC-SHARE-3: whoever loses a case has lost the request it came from, live details and all."""
    for key, lost, kept in (
        ("moved_on.request", ("lead", "manager"), ("other_lead",)),
        ("reassigned.request", ("manager",), ("lead", "colleague")),
        ("in_error.request", ("lead", "manager"), ("leader", "team")),
    ):
        for who in lost:
            answer = await atlas.world.get(atlas.callers[who], atlas.path(key))
            assert answer.status_code == 404, (key, who)
        for who in kept:
            answer = await atlas.world.get(atlas.callers[who], atlas.path(key))
            assert answer.status_code == 200, (key, who)


async def test_chance_that_gives_two_records_one_number_stops_no_fold(
    place: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drafting, "request_number", lambda _: "R-22222-22222")
    for _ in range(2):
        drafted = await place.world.request(place.leader, place.student, submit=False)
        read = await place.world.get(place.leader, f"/v1/requests/{drafted}")
        assert read.json()["number"] == "R-22222-22222"


async def _reviewers(place: Region, who: Staff, path: str) -> list[Any]:
    """Return those of the Central Investigation Team among the contacts, as ``who`` sees them."""
    contacts = (await place.world.get(who, path)).json()["parts"]["contacts"]
    return [one for one in contacts if one["role"] == place.team.role]


async def test_rows_in_which_a_case_lacks_its_reviewer_are_folded_again_by_the_migration(
    place: Region,
) -> None:
    """AC-SEE-21: what the log of an earlier installation says is shown once it is migrated."""
    world, manager = place.world, place.colleague
    case = await world.case(place.leader, place.student, place.team, place.lead, manager)
    path = f"/v1/cases/{case}"
    readers = (place.leader, place.office, place.lead, manager, place.team)
    owner = await asyncpg.connect(world.installation.server.url)
    try:
        await _forget_reviewer(owner, case)
        assert [await _reviewers(place, who, path) for who in readers] == [[]] * len(readers)
        async with owner.transaction():
            await owner.execute(v0027_reviewers.FOLDED_AGAIN)
        await world.cases.runtime.projector.caught_up()
    finally:
        await owner.close()
    for who in readers:
        (named,) = await _reviewers(place, who, path)
        assert (named["person_id"], named["name"]) == (str(place.team.id), "team Ngata")
        assert named["organisation"]["id"] == str(place.team.organisation_id)
        assert str(place.team.id) in (await world.last(READ)).shown["contacts"]


async def _forget_reviewer(owner: asyncpg.Connection, case: UUID) -> None:
    """Leave a case's row as it was folded before cases knew their reviewer."""
    row = await owner.fetchrow("select state, things from cases.record where id = $1", case)
    assert row is not None
    record = decode_record(row["state"], row["things"])
    assert record.reviewed_by is not None
    state, _ = encode_record(msgspec.structs.replace(record, reviewed_by=None))
    await owner.execute(
        "update cases.record set state = $2, people = array_remove(people, $3),"
        " organisations = array_remove(organisations, $4) where id = $1",
        case,
        state,
        record.reviewed_by.person_id,
        record.reviewed_by.organisation_id,
    )
