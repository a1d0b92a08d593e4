"""Staff lists: who has access, and who may know (AC-SEE-7, AC-SEE-11)."""

from datetime import timedelta
from http import HTTPStatus
from uuid import uuid4

import httpx

from services.authz import events as e
from services.authz.events import Role
from tests.authz.staffed import KOTARE, MATAI, STAFF, Region
from tests.conftest import Clock

SEES = {
    "leader": (MATAI, "AC-SEE-7"),
    "office": (MATAI, "AC-SEE-7"),
    "lead": (KOTARE, "AC-SEE-11"),
    "manager": (KOTARE, "AC-SEE-11"),
    "admin": (MATAI, "AC-DO-16"),
}


async def listing(region: Region, who: str, place: str, query: str = "") -> httpx.Response:
    path = f"/v1/organisations/{region.organisations[place]}/staff{query}"
    return await region.call(who, "GET", path)


async def test_those_a_clause_names_see_who_has_access(region: Region) -> None:
    """AC-SEE-7, AC-SEE-11 and AC-DO-16; the event names everybody shown."""
    for who, (place, clause) in SEES.items():
        listed = await listing(region, who, place)
        assert listed.status_code == HTTPStatus.OK, who
        expected = {name for name, post in STAFF.items() if post[1] == place}
        named = {item["name"] for item in listed.json()["items"]}
        assert named == {f"{name} Example" for name in expected}
        event = (await region.log(e.READ))[-1].event
        assert set(event.shown["staff"]) == {str(region.people[n]) for n in expected}
        assert set(event.shown["assignment"]) == {str(region.assignments[n]) for n in expected}
        assert event.grounds[0].clause == clause


async def test_to_everybody_else_there_is_no_such_list(region: Region) -> None:
    """AC-SEE-7: its own leader and office only; missing and hidden answer alike."""
    region.organisations["nowhere"] = uuid4()
    for who in set(STAFF) - {"leader", "office", "admin"}:
        hidden = await listing(region, who, MATAI)
        missing = await listing(region, who, "nowhere")
        assert hidden.status_code == missing.status_code == HTTPStatus.NOT_FOUND, who
        assert hidden.content == missing.content


async def test_an_item_says_what_the_contract_says(region: Region) -> None:
    items = (await listing(region, "leader", MATAI)).json()["items"]
    one = next(i for i in items if i["person_id"] == str(region.people["contact"]))
    assert set(one) == {
        "person_id",
        "name",
        "role",
        "assignment_id",
        "from",
        "until",
        "suspended",
        "version",
    }
    assert (one["role"], one["until"], one["suspended"]) == (Role.PRIMARY_CONTACT, None, False)


async def test_who_has_left_is_no_longer_listed(region: Region, clock: Clock) -> None:
    """SG-3 and SG-14: by revocation, and by itself."""
    until = (clock.now() + timedelta(minutes=1)).isoformat()
    await region.grant("leader", "office", Role.PRIMARY_CONTACT, MATAI, until=until)
    await region.revoke("leader", "contact")
    people = [i["person_id"] for i in (await listing(region, "leader", MATAI)).json()["items"]]
    assert people.count(str(region.people["office"])) == 2
    assert str(region.people["contact"]) not in people
    clock.advance(timedelta(minutes=2))
    people = [i["person_id"] for i in (await listing(region, "leader", MATAI)).json()["items"]]
    assert people.count(str(region.people["office"])) == 1


async def test_a_list_is_paged_in_a_stable_order(region: Region) -> None:
    first = (await listing(region, "leader", MATAI, "?limit=2")).json()
    second = (
        await listing(region, "leader", MATAI, f"?limit=2&cursor={first['next_cursor']}")
    ).json()
    ids = [i["assignment_id"] for i in first["items"] + second["items"]]
    assert ids == sorted(str(region.assignments[n]) for n in ("leader", "office", "contact"))
    assert second["next_cursor"] is None


async def test_a_version_in_the_list_is_what_a_revocation_takes(region: Region) -> None:
    """Contract: If-Match."""
    items = (await listing(region, "leader", MATAI)).json()["items"]
    one = next(i for i in items if i["person_id"] == str(region.people["contact"]))
    done = await region.revoke("leader", "contact", version=f'"{one["version"]}"')
    assert done.status_code == HTTPStatus.NO_CONTENT


async def test_nothing_is_shown_that_was_not_recorded(region: Region) -> None:
    """Design: if the log cannot be written, nothing is shown."""
    await region.authz.runtime.log.stop()
    answer = await listing(region, "leader", MATAI)
    assert answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE
    assert b"Example" not in answer.content
