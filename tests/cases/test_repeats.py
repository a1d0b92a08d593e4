"""A repeat under an Idempotency-Key is authorised, recorded and rendered anew (contract)."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from services.audit.events import tells_learner
from services.authz.events import Role
from tests.cases.world import REASON, Region, Staff

pytestmark = pytest.mark.asyncio(loop_scope="module")
NOTE = {"kind": "note", "text": "Rang at nine."}


async def note(region: Region, who: Staff, case: UUID, key: str) -> tuple[int, dict[str, Any]]:
    """Add a note under ``key``; return the status and the answer."""
    answer = await region.world.send(
        who, "POST", f"/v1/cases/{case}/items", NOTE, idempotency_key=key
    )
    return answer.status_code, answer.json()


async def test_a_repeat_by_who_sees_the_case_but_may_not_add_to_it_is_refused(
    place: Region,
) -> None:
    """AC-SEE-14: a former case manager on the team reads on, and adds nothing."""
    case, key = await place.case(), str(uuid4())
    assert (await note(place, place.manager, case, key))[0] == 201
    to = f"/v1/cases/{case}/assign"
    await place.world.must(place.lead, "POST", to, {"person_id": str(place.colleague.id)})
    team = f"/v1/cases/{case}/team"
    await place.world.must(place.lead, "POST", team, {"person_id": str(place.manager.id)})
    status, answer = await note(place, place.manager, case, key)
    assert (status, answer["code"]) == (403, "forbidden")
    assert (await place.world.newest()).type == "cases.refused"


async def test_another_body_under_a_key_is_recorded_as_failed_where_it_was_tried(
    place: Region,
) -> None:
    """Contract: 422; AC-USE-1: it is known by what is stored, so that it was tried is an event."""
    case, key, world = await place.case(), str(uuid4()), place.world
    assert (await note(place, place.manager, case, key))[0] == 201
    path, other = f"/v1/cases/{case}/items", {**NOTE, "text": "Rang at ten."}
    before = await world.newest()
    answer = await world.send(place.manager, "POST", path, other, idempotency_key=key)
    event = await world.newest()
    assert (answer.status_code, answer.json()["code"]) == (422, "malformed")
    assert (event.type, event.action, event.outcome) == ("cases.refused", "create", "failed")
    assert (event.actor, event.student_id) == (before.actor, before.student_id)
    assert event.object is not None
    assert (event.object.type, event.stream, event.grounds) == ("item", None, ())
    assert event.data == {"code": "malformed", "record": {"type": "case", "id": str(case)}}
    kept = await world.must(place.manager, "GET", f"/v1/cases/{case}")
    assert [item["text"] for item in kept["parts"]["items"]] == [NOTE["text"]]


async def test_another_body_about_a_learner_one_does_not_see_names_none(place: Region) -> None:
    """SG-8: nor does the record of it tell those who audit the school that there is one."""
    world, key = place.world, str(uuid4())
    body = {"student_id": str(place.student), "reason": REASON}
    await world.must(place.leader, "POST", "/v1/requests", body, idempotency_key=key)
    for student, about in ((place.other_student, place.other_student), (uuid4(), None)):
        other = {**body, "student_id": str(student)}
        answer = await world.send(place.leader, "POST", "/v1/requests", other, idempotency_key=key)
        event = await world.newest()
        assert (answer.status_code, event.outcome, event.student_id) == (422, "failed", about)
        assert not tells_learner(event)


async def test_a_repeat_does_not_name_an_item_that_a_label_shut(place: Region) -> None:
    """SE: the author of a comment does not see it any more, and its id is no answer either."""
    case, key = await place.case(), str(uuid4())
    path, comment = f"/v1/cases/{case}/items", {"kind": "comment", "text": "Saw her on Friday."}
    made = await place.world.must(place.leader, "POST", path, comment, idempotency_key=key)
    label = {"labels": ["health"]}
    await place.world.must(place.manager, "PATCH", f"{path}/{made['id']}", label, if_match="*")
    again = await place.world.send(place.leader, "POST", path, comment, idempotency_key=key)
    absent = await place.world.get(place.leader, f"{path}/{uuid4()}")
    assert again.status_code == 404
    assert again.json()["code"] == absent.json()["code"]
    assert made["id"] not in again.text


async def test_a_repeat_names_the_item_in_its_event(place: Region) -> None:
    """AC-USE-1: the answer names it, so the event does; it was made once, and is read now."""
    case, key = await place.case(), str(uuid4())
    _, first = await note(place, place.manager, case, key)
    status, second = await note(place, place.manager, case, key)
    assert (status, second["id"]) == (201, first["id"])
    event = await place.world.newest()
    assert (event.type, event.action) == ("cases.read", "read")
    assert event.shown == {"overview": [str(case)], "items": [first["id"]]}
    assert {part for ground in event.grounds for part in ground.parts} == {"overview", "items"}


@pytest.mark.parametrize("action", ["accept", "allocate", "assign", "close", "withdraw"])
async def test_what_was_done_can_be_repeated_although_its_state_is_past(
    place: Region, action: str
) -> None:
    """A repeat is no second attempt: that it was done is why the state no longer allows it."""
    world, key = place.world, {"idempotency_key": str(uuid4())}
    request = await world.request(place.leader, place.student)
    steps: list[tuple[Staff, str, dict[str, Any] | None]] = [
        (place.team, f"/v1/requests/{request}/accept", None),
        (place.team, f"/v1/requests/{request}/allocate", {"organisation_id": str(place.asp)}),
        (place.lead, f"/v1/requests/{request}/assign", {"person_id": str(place.manager.id)}),
    ]
    if action == "withdraw":
        steps = [(place.leader, f"/v1/requests/{request}/withdraw", None)]
    if action == "close":
        case = await place.case()
        steps = [(place.manager, f"/v1/cases/{case}/close", {"outcome": "Back at school."})]
    last = next(n for n, (_, path, _) in enumerate(steps) if path.endswith(action))
    for who, path, body in steps[:last]:
        await world.must(who, "POST", path, body)
    who, path, body = steps[last]
    first = await world.send(who, "POST", path, body, **key)
    facts = len([r for r in await world.events() if r.event.stream])
    again = await world.send(who, "POST", path, body, **key)
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json()["id"] == first.json()["id"]
    assert again.json().get("case_id") == first.json().get("case_id")
    named = {first.json()["id"], first.json().get("case_id", first.json()["id"])}
    assert set((await world.newest()).shown["overview"]) == named
    assert len([r for r in await world.events() if r.event.stream]) == facts


async def test_who_may_no_longer_make_requests_repeats_none(place: Region) -> None:
    world, key = place.world, {"idempotency_key": str(uuid4())}
    student = await world.student(place.school, "Aroha", "Heke")
    body = {"student_id": str(student), "reason": REASON}
    await world.must(place.office, "POST", "/v1/requests", body, **key)
    await world.enrol(student, place.other_school)
    again = await world.send(place.office, "POST", "/v1/requests", body, **key)
    assert again.status_code == 404


async def test_who_changed_role_repeats_nothing_of_the_former_one(place: Region) -> None:
    """SG-3: a key is a person's, and what it opens is decided by what they may do now."""
    case, key = await place.case(), str(uuid4())
    leaver = await place.world.staff("leaver", Role.ASP_WORKFLOW_LEAD, place.asp)
    assert (await note(place, leaver, case, key))[0] == 201
    await place.world.also(leaver, Role.ASP_WORKFLOW_LEAD, place.other_asp)
    await place.world.revoke(leaver)
    assert (await note(place, leaver, case, key))[0] == 404
