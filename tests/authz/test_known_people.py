"""Everybody one may see, as a list (AC-SEE-7, AC-SEE-11, AC-SEE-22, AC-USE-1)."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from services.authz import events as e
from services.authz.events import OrganisationKind, Role
from tests.authz.staffed import KOTARE, MATAI, MINISTRY, RIMU, STAFF, TUI, Region

KAURI = "Kauri School"
PATH = "/v1/people"


async def _list(region: Region, who: str, query: str = "") -> dict[str, Any]:
    answer = await region.call(who, "GET", f"{PATH}{query}")
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


async def _all(region: Region, who: str, query: str = "", limit: int = 4) -> list[dict[str, Any]]:
    """Return the whole list, page by page."""
    found, cursor = [], ""
    for _ in range(20):
        page = await _list(region, who, f"?limit={limit}{query}{cursor}")
        found += page["items"]
        if page["next_cursor"] is None:
            return found
        assert len(page["items"]) == limit  # nobody hidden takes a place
        cursor = f"&cursor={page['next_cursor']}"
    pytest.fail("the list does not end")


def _names(items: list[dict[str, Any]]) -> set[str]:
    return {item["given_name"] for item in items}


async def _registered(region: Region, by: str, name: str, place: str) -> None:
    body = {
        "username": name,
        "given_name": name,
        "family_name": "Example",
        "email": f"{name}@school.example",
        "organisation_id": str(region.organisations[place]),
    }
    made = await region.call(by, "POST", PATH, body)
    assert made.status_code == 201, made.text
    region.people[name] = UUID(made.json()["id"])


async def _populate(region: Region) -> None:
    """Add everybody there can be: at several places, to begin, gone, of none, shut out."""
    await region.organisation(KAURI, OrganisationKind.SCHOOL)
    await region.staff(
        {
            "relief": [(Role.PRIMARY_CONTACT, MATAI), (Role.PRIMARY_CONTACT, RIMU)],
            "both": [(Role.SCHOOL_OFFICE, MATAI), (Role.ASP_CASE_MANAGER, KOTARE)],
            "two_hats": [(Role.SCHOOL_LEADER, RIMU), (Role.ADMINISTRATOR, MINISTRY)],
            "isp": [(Role.ISP_WORKFLOW_LEAD, TUI)],
            "analyst": [(Role.SECURITY_ANALYST, MATAI)],
            "gone": [(Role.PRIMARY_CONTACT, MATAI)],
            "postless": [],
        }
    )
    await region.lose("gone")
    await _registered(region, "leader", "homeless", MATAI)
    await _registered(region, "leader", "later", MATAI)
    await _registered(region, "leader", "moved", MATAI)
    begins = (region.installation.effects.now() + timedelta(days=3)).isoformat()
    await region.grant("leader", "later", Role.PRIMARY_CONTACT, MATAI, **{"from": begins})
    await region.hold("moved", Role.PRIMARY_CONTACT, RIMU)
    await _registered(region, "admin", "founder", KAURI)
    suspended = f"{PATH}/{region.people['contact']}/suspend"
    assert (await region.call("leader", "POST", suspended, {"reason": "x"})).status_code == 200


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def populated(shared_region: Region) -> AsyncIterator[Region]:
    await _populate(shared_region)
    yield shared_region


CALLERS = sorted({*STAFF, "relief", "both", "two_hats", "isp", "analyst", "postless"} - {"contact"})


@pytest.mark.parametrize("who", CALLERS)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_list_is_everybody_whose_single_read_is_answered_just_as_it_is(
    populated: Region, who: str
) -> None:
    """Design: one relation serves both ways; AC-SEE: the hidden are neither listed nor counted."""
    single = {
        name: await populated.call(who, "GET", f"{PATH}/{person_id}")
        for name, person_id in populated.people.items()
    }

    listed = await _all(populated, who)

    seen = sorted((a.json() for a in single.values() if a.status_code == 200), key=_id)
    assert {a.status_code for a in single.values()} <= {200, 404}
    assert listed == seen


def _id(item: dict[str, Any]) -> str:
    return str(item["id"])


@pytest.mark.parametrize("place", [MATAI, RIMU, KOTARE, MINISTRY, KAURI, "nowhere"])
@pytest.mark.parametrize("who", ["leader", "both", "two_hats", "relief", "admin"])
@pytest.mark.asyncio(loop_scope="module")
async def test_filter_leaves_those_one_sees_there(populated: Region, who: str, place: str) -> None:
    """AC-SEE: an assignment that is not shown is not found by either."""
    places = {**populated.organisations, "nowhere": UUID(int=7)}
    of, homes = str(places[place]), {"homeless": MATAI, "founder": KAURI}
    everybody = await _all(populated, who)

    listed = await _all(populated, who, f"&organisation={of}")

    assert listed == [
        item
        for item in everybody
        if of in {a["organisation_id"] for a in item["assignments"]}
        or (not item["assignments"] and homes.get(item["given_name"]) == place)
    ]


@pytest.mark.asyncio(loop_scope="module")
async def test_who_sees_nobody_else_is_shown_themselves(populated: Region) -> None:
    """AC-SEE-22; who has no post sees not even themselves here, as in a single read."""
    assert _names(await _all(populated, "analyst")) == {"analyst"}
    assert _names(await _all(populated, "relief")) == {"relief"}
    assert await _all(populated, "postless") == []


@pytest.mark.asyncio(loop_scope="module")
async def test_a_page_names_in_its_event_whom_it_showed_and_what_of_them(
    populated: Region,
) -> None:
    """AC-USE-1."""
    page = await _list(populated, "leader", "?limit=3")
    event = (await populated.log(e.READ))[-1].event

    assert event.action == "list"
    assert event.object is not None
    assert (event.object.type, event.object.id) == ("person", "*")
    assert event.organisation_id == populated.organisations[MATAI]
    assert event.shown == {
        "profile": [item["id"] for item in page["items"]],
        "assignment": [a["id"] for item in page["items"] for a in item["assignments"]],
    }
    office = await _list(populated, "office", "?limit=100")
    event = (await populated.log(e.READ))[-1].event
    assert event.shown["profile"] == [str(populated.people["office"])]
    others = {item["id"] for item in office["items"]} - set(event.shown["profile"])
    assert set(event.shown["name"]) == others
    assert {ground.clause for ground in event.grounds} == {"AC-SEE-7", "AC-SEE-22"}


@pytest.mark.asyncio(loop_scope="module")
async def test_each_organisation_is_told_whom_its_own_post_showed(populated: Region) -> None:
    """Reading 36, AC-USE-1: neither is told of the other's people."""
    known = len(await populated.log(e.READ))
    await _list(populated, "both", "?limit=100")
    events = {r.event.organisation_id: r.event for r in (await populated.log(e.READ))[known:]}

    school, provider = populated.organisations[MATAI], populated.organisations[KOTARE]
    assert set(events) == {school, provider}
    people = populated.people
    assert str(people["lead"]) in events[provider].shown["name"]
    assert str(people["lead"]) not in str(events[school].shown)
    assert str(people["leader"]) not in str(events[provider].shown)


@pytest.mark.asyncio(loop_scope="module")
async def test_an_organisation_is_told_that_the_ministry_listed_its_people(
    populated: Region,
) -> None:
    """As of its staff list; of one that shows nobody there is nobody to tell."""
    school, nowhere = populated.organisations[MATAI], UUID(int=7)
    await _list(populated, "admin", f"?organisation={school}")
    looked = (await populated.log(e.READ))[-1].event
    await _list(populated, "admin", f"?organisation={nowhere}")
    empty = (await populated.log(e.READ))[-1].event
    await _list(populated, "rimu_leader", f"?organisation={school}")
    foreign = (await populated.log(e.READ))[-1].event

    assert looked.organisation_id == school
    assert empty.organisation_id == populated.organisations[MINISTRY]
    assert foreign.organisation_id == populated.organisations[RIMU]
    assert (empty.shown, foreign.shown) == ({}, {})


@pytest.mark.asyncio(loop_scope="module")
async def test_cursor_serves_its_caller_and_its_filter_only(populated: Region) -> None:
    """Contract."""
    cursor = (await _list(populated, "leader", "?limit=2"))["next_cursor"]
    school = populated.organisations[MATAI]

    for who, path in (
        ("office", f"{PATH}?cursor={cursor}"),
        ("leader", f"{PATH}?organisation={school}&cursor={cursor}"),
        ("leader", f"/v1/organisations/{school}/staff?cursor={cursor}"),
        ("leader", f"{PATH}?organisation=no"),
    ):
        assert (await populated.call(who, "GET", path)).status_code == 422, path


async def test_nobody_is_listed_that_was_not_recorded(region: Region) -> None:
    """Design: if the log cannot be written, nothing is shown."""
    await region.authz.runtime.log.stop()

    answer = await region.call("leader", "GET", PATH)

    assert answer.status_code == 503
    assert "Example" not in answer.text


async def test_who_has_left_is_listed_no_more_and_the_list_is_as_of_now(region: Region) -> None:
    """SG-3."""
    before = _names(await _all(region, "leader"))
    await region.revoke("leader", "contact")

    assert before - _names(await _all(region, "leader")) == {"contact"}
