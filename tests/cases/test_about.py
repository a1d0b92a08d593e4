"""Every event says what it is about: the record, or the one thing in it (AC-USE-1)."""

from typing import Any, Final
from uuid import UUID, uuid4

import pytest

from services.kernel.events import ObjectRef
from tests.cases.world import Region

pytestmark = pytest.mark.asyncio(loop_scope="module")
ANY: Final = {"if_match": "*"}
PLAN: Final = {"goals": "Every day.", "actions": "A lift on Mondays."}


async def about(place: Region) -> tuple[str, ObjectRef | None]:
    event = await place.world.newest()
    return event.type, event.object


async def test_what_is_done_to_an_item_names_the_item(place: Region) -> None:
    """AC-USE-1: each thing viewed, edited or deleted."""
    world, case = place.world, await place.case()
    items = f"/v1/cases/{case}/items"
    made = await world.must(place.manager, "POST", items, {"kind": "note", "text": "Seen."})
    item = ObjectRef("item", made["id"])
    assert await about(place) == ("cases.item_added", item)
    steps: tuple[tuple[str, dict[str, Any], str], ...] = (
        ("PATCH", {"text": "Seen twice."}, "cases.item_edited"),
        ("PATCH", {"labels": ["health"]}, "cases.item_edited"),
        ("DELETE", {"reason": "Of somebody else."}, "cases.item_deleted"),
    )
    for method, body, type_ in steps:
        await world.must(place.manager, method, f"{items}/{made['id']}", body, **ANY)
        assert await about(place) == (type_, item)


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
async def test_a_refusal_about_an_item_names_the_item(place: Region, method: str) -> None:
    world, item = place.world, str(uuid4())
    path = f"/v1/cases/{await place.case()}/items/{item}"
    body = {"PATCH": {"text": "Mine."}, "DELETE": {"reason": "Mine."}}.get(method)
    refused = await world.send(place.manager, method, path, body, **ANY)
    assert refused.status_code == 404
    assert await about(place) == ("cases.refused", ObjectRef("item", item))


@pytest.mark.parametrize("who", ["manager", "other_manager"])
async def test_a_look_at_an_item_says_of_which_case_it_is(place: Region, who: str) -> None:
    """What is only seen or refused has no stream that says so; refused or not, it says the same."""
    world, case = place.world, await place.case()
    items = f"/v1/cases/{case}/items"
    made = await world.must(place.manager, "POST", items, {"kind": "note", "text": "Seen."})
    await world.get(getattr(place, who), f"{items}/{made['id']}")
    event = await world.newest()
    assert event.object == ObjectRef("item", made["id"])
    assert event.data["record"] == {"type": "case", "id": str(case)}
    await world.get(getattr(place, who), f"/v1/cases/{case}")
    assert "record" not in (await world.newest()).data


async def test_what_is_done_to_the_plan_names_its_version(place: Region) -> None:
    world, case = place.world, await place.case()
    made = await world.must(place.manager, "PUT", f"/v1/cases/{case}/plan", PLAN, **ANY)
    version = ObjectRef("plan", made["id"])
    assert await about(place) == ("cases.plan_written", version)
    path = f"/v1/cases/{case}/plan/{made['id']}/labels"
    await world.must(place.manager, "PUT", path, {"labels": ["health"]}, **ANY)
    assert await about(place) == ("cases.plan_labelled", version)


async def test_the_case_that_a_request_becomes_is_named_by_its_own_event(place: Region) -> None:
    case = await place.case()
    last = [r.event for r in await place.world.events()][-2:]
    assert [event.type for event in last] == ["cases.request_assigned", "cases.case_opened"]
    assert last[1].object == ObjectRef("case", str(case))
    assert last[0].object == ObjectRef("request", last[0].stream.partition(":")[2])  # type: ignore[union-attr] # a fact


async def test_an_assigned_request_is_edited_by_its_case_manager_and_so_is_its_case(
    place: Region,
) -> None:
    """AC-DO-6: update requests assigned to them; the case shows the same referral."""
    world, case = place.world, await place.case()
    seen = (await world.get(place.manager, f"/v1/cases/{case}")).json()
    opened = next(
        r.event for r in reversed(await world.events()) if r.event.type == "cases.case_opened"
    )
    request = UUID(opened.data["request_id"])
    stale = await world.version(place.lead, f"/v1/cases/{case}")
    edit = {"absences": "Twelve days, not ten."}
    await world.must(place.manager, "PATCH", f"/v1/requests/{request}", edit, **ANY)
    for path in (f"/v1/cases/{case}", f"/v1/requests/{request}"):
        referral = (await world.get(place.manager, path)).json()["parts"]["referral"]
        assert referral == {**seen["parts"]["referral"], **edit}
    assert await world.version(place.lead, f"/v1/cases/{case}") != stale
    label = {"labels": ["health"]}
    await world.must(place.manager, "PUT", f"/v1/cases/{case}/referral/labels", label, **ANY)
    await world.must(place.lead, "PATCH", f"/v1/requests/{request}", {"absences": "Nine."}, **ANY)
    leader = (await world.get(place.leader, f"/v1/cases/{case}")).json()["parts"]
    assert "referral" not in leader
    await world.must(place.manager, "POST", f"/v1/cases/{case}/close", {"outcome": "Back."})
    late = await world.send(place.lead, "PATCH", f"/v1/requests/{request}", edit, **ANY)
    assert late.status_code == 409


async def test_a_case_has_the_dates_of_the_request_it_was(place: Region) -> None:
    """The overview holds when it was submitted, accepted and allocated, in both."""
    world, case = place.world, await place.case()
    opened = (await place.world.events())[-1].event
    kept = {}
    for path in (f"/v1/cases/{case}", f"/v1/requests/{opened.data['request_id']}"):
        overview = (await world.get(place.lead, path)).json()["parts"]["overview"]
        kept[path] = [overview[f"{done}_at"] for done in ("submitted", "reviewed", "allocated")]
    of_case, of_request = kept.values()
    assert of_case == of_request
    assert all(of_case)
