"""What happened to the parts of a record is found under the record (contract, ``object=``)."""

from typing import Any
from uuid import UUID

import pytest

from services.kernel.events import Event, Outcome
from services.kernel.groups import Group
from tests.audit.given import Caller, Staff, World
from tests.audit.test_existence import alike

ITEM = "item"


async def worked_on(world: World, person: Staff, case: UUID, item: UUID) -> list[UUID]:
    """Let a person work on a case and an item of it; return the events, newest first."""
    student = world.id()
    return [
        await world.saw(person, student, case_id=case),
        await world.wrote(person, case, item),
        await world.saw(person, student, case_id=item, kind=ITEM, part_of=case),
        await refused(world, person, case, item, student),
    ][::-1]


async def refused(
    world: World, person: Staff, case: UUID, item: UUID, student: UUID | None
) -> UUID:
    """Let a person be refused an item that they asked for by the path of a case."""
    denied = Outcome.DENIED
    return await world.saw(person, student, case_id=item, kind=ITEM, part_of=case, outcome=denied)


async def under(caller: Caller, object_: object, **filters: object) -> list[UUID]:
    """Return the events of cases that are found under an object."""
    items = await caller.items("/v1/events", object_=object_, **filters)
    return [UUID(item["id"]) for item in items if item["type"].startswith("cases.")]


async def test_a_case_has_all_that_happened_to_its_items_and_an_item_its_own(world: World) -> None:
    """Additions, looks and refusals; the object is shown as it was."""
    analyst, case, item = await world.analyst(), world.id(), world.id()
    manager = await world.staff("asp_case_manager", await world.organisation("asp"))
    trail = await worked_on(world, manager, case, item)
    await worked_on(world, manager, world.id(), world.id())

    for of_case in (case, f"case:{case}", str(case).upper()):
        assert await under(analyst, of_case) == trail
    for of_item in (item, f"item:{item}"):
        assert await under(analyst, of_item) == trail[:3]
    for other in (f"request:{case}", f"item:{case}", f"case:{item}"):
        assert await under(analyst, other) == []
    assert await under(analyst, case, outcome="denied") == trail[:1]
    assert await under(analyst, case, type_="cases.item_added", actor=manager.id) == trail[2:3]
    found = await analyst.items("/v1/events", object_=case, actor=manager.id)
    assert [event["object"]["type"] for event in found] == [ITEM, ITEM, ITEM, "case"]


@pytest.mark.parametrize("kind", ["ministry", "asp"])
async def test_a_walk_of_a_record_meets_each_event_once_in_order(world: World, kind: str) -> None:
    """Its own events and those of its parts are found apart, and are one list."""
    analyst, case, item = await world.analyst(kind), world.id(), world.id()
    manager = await world.staff("asp_case_manager", analyst.person.organisation_id)
    trail = await worked_on(world, manager, case, item)
    asked: dict[str, object] = {"object_": case, "actor": manager.id, "limit": 1}
    met = []
    for _ in trail:
        page = (await analyst.ask("/v1/events", **asked)).json()
        met += [UUID(event["id"]) for event in page["items"]]
        asked["cursor"] = page["next_cursor"]
    assert met == trail
    assert asked["cursor"] is None


async def test_own_auditors_find_under_a_record_what_own_staff_did_alone(world: World) -> None:
    """Domain: elsewhere than at the Ministry one sees one's own organisation."""
    here, there = await world.analyst("asp"), await world.analyst("asp")
    case, own_item, item = world.id(), world.id(), world.id()
    own = await world.staff("asp_case_manager", here.person.organisation_id)
    other = await world.staff("asp_case_manager", there.person.organisation_id)
    theirs = await worked_on(world, other, case, item)
    ours = await world.saw(own, world.id(), case_id=own_item, kind=ITEM, part_of=case)
    assert await under(here, case) == [ours]
    assert await under(here, item) == []
    assert await under(there, case) == theirs


async def test_a_refusal_does_not_say_whether_the_item_stands_in_the_case(world: World) -> None:
    """SG-8, 0003 (25): it is found under the case that was typed, hidden or missing alike."""
    auditor, other = await world.analyst("asp"), await world.analyst("asp")
    own = await world.staff("asp_case_manager", auditor.person.organisation_id)
    stranger = await world.staff("asp_case_manager", other.person.organisation_id)
    (case, item), (no_case, no_item) = [(world.id(), world.id()) for _ in range(2)]
    await worked_on(world, stranger, case, item)
    hidden = await refused(world, own, case, item, world.id())
    missing = await refused(world, own, no_case, no_item, None)
    answers: list[list[Any]] = []
    for event, typed in ((hidden, (case, item)), (missing, (no_case, no_item))):
        answers.append([])
        for id_ in typed:
            answer = await auditor.ask("/v1/events", object_=id_, outcome="denied")
            assert [each["id"] for each in answer.json()["items"]] == [str(event)]
            answers[-1].append(alike(answer.json(), event, *typed))
    assert answers[0] == answers[1]


async def test_a_record_that_is_none_stops_the_fold(world: World) -> None:
    """Design: a fold that meets what it cannot understand stops; it never skips."""
    analyst = await world.analyst()
    data = {"record": "case"}
    event = Event(id=world.id(), type="cases.read", recorded_at=world.clock.now(), data=data)
    await world.cases.log.append(Group([event]))
    assert (await analyst.ask("/v1/events")).status_code == 503
    assert world.audit.runtime.projector.stopped is not None
