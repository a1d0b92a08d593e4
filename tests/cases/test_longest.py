"""As much text as a body may hold can be recorded by every route, and more is malformed at once."""

from typing import Final

import pytest

from services.kernel.texts import MAX_TEXTS
from tests.cases.world import Json, Region, Staff

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: 40,000 bytes in JSON, in one text and in two
FULL: Final = '"' * 20_000
HALF: Final = "é" * 10_000
#: one byte more, where the texts before are there too
ONE_MORE: Final = "é" * 19_999 + "語"


async def _takes(
    place: Region, who: Staff, method: str, path: str, body: Json, **headers: str
) -> Json:
    """Do what is as long as may be, once one byte more was refused."""
    name = next(name for name, text in body.items() if text in (FULL, HALF))
    more = {**body, name: ONE_MORE if body[name] == FULL else HALF + "a"}
    refused = await place.world.send(who, method, path, more)  # without If-Match
    assert (refused.status_code, refused.json()["code"]) == (422, "malformed"), refused.text
    assert refused.json()["detail"] == f"body: texts_over_{MAX_TEXTS}_bytes"
    return await place.world.must(who, method, path, body, **headers)


async def test_the_longest_texts_of_a_request_are_recorded(place: Region) -> None:
    """AC-DO-1; a referral is sealed as JSON, where signs grow."""
    student = str(place.student)
    for fields in (
        {"reason": FULL},
        {"reason": HALF, "absences": HALF[:5_000], "steps_taken": HALF[:5_000]},
    ):
        body = {"student_id": student, **fields}
        made = await _takes(place, place.leader, "POST", "/v1/requests", body)
        path = f"/v1/requests/{made['id']}"
        await _takes(place, place.leader, "PATCH", path, fields, If_Match="*")
        await _takes(place, place.leader, "POST", f"{path}/withdraw", {"reason": FULL})
    declined = await place.world.request(place.leader, place.student)
    path = f"/v1/requests/{declined}/decline"
    await _takes(place, place.team, "POST", path, {"reason": FULL})


async def test_the_longest_texts_of_a_case_are_recorded(place: Region) -> None:
    """AC-DO-6, AC-DO-14, SG-13."""
    who, path = place.manager, f"/v1/cases/{await place.case()}"
    note = {"kind": "note", "text": HALF, "summary": HALF, "labels": ["health"]}
    made = await _takes(place, who, "POST", f"{path}/items", note)
    await _takes(place, who, "POST", f"{path}/items", {"kind": "document", "text": FULL})
    item = f"{path}/items/{made['id']}"
    await _takes(place, who, "PATCH", item, {"text": HALF, "summary": HALF}, If_Match="*")
    await place.world.must(who, "PATCH", item, {"labels": []}, If_Match="*")
    await _takes(place, who, "DELETE", item, {"reason": FULL}, If_Match="*")
    plan = {"goals": HALF, "actions": HALF, "labels": ["health"]}
    await _takes(place, who, "PUT", f"{path}/plan", plan, If_Match="*")
    await _takes(place, who, "POST", f"{path}/close", {"outcome": FULL})
    reason = {"reason": FULL}
    await _takes(place, place.lead, "DELETE", path, reason, If_Match="*")
    assert (await place.world.get(who, path)).status_code == 404


async def test_what_is_too_long_is_malformed_wherever_it_is_sent(place: Region) -> None:
    """Before it is told whether the thing is there: 422 comes before 404, 403 and 428."""
    path = f"/v1/cases/{place.world.id()}/items/{place.world.id()}"
    for body, status in (({"text": "語" * 13_333}, 404), ({"text": "語" * 13_334}, 422)):
        refused = await place.world.send(place.office, "PATCH", path, body)
        assert refused.status_code == status
