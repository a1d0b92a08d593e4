"""Organisations: an administrator's to make, their members' to see."""

from http import HTTPStatus
from uuid import uuid4

from services.authz import events as e
from services.kernel.events import Outcome
from tests.authz.staffed import MATAI, RIMU, STAFF, Region

NEW = {"kind": "school", "name": "Kauri School", "time_zone": "Pacific/Auckland"}
NOTHING: dict[str, object] = {"items": [], "next_cursor": None}


async def test_one_lists_the_organisations_one_belongs_to(region: Region) -> None:
    """AC-SEE-22; what else exists is absent."""
    for who in ("leader", "contact", "manager"):
        listed = await region.call(who, "GET", "/v1/organisations")
        own = str(region.organisations[STAFF[who][1]])
        assert [o["id"] for o in listed.json()["items"]] == [own]
        assert listed.json()["next_cursor"] is None
        assert (await region.log(e.READ))[-1].event.shown == {"organisation": [own]}


async def test_whose_posts_are_over_is_shown_nothing_and_refused_nothing(region: Region) -> None:
    """AC-USE-1, SG-14: what was answered 200 is not recorded as denied; nothing grounds it."""
    await region.lose("leader")
    await region.sign_in("leader")
    elsewhere = f"/v1/people?organisation={region.organisations[MATAI]}"
    for path in ("/v1/organisations", "/v1/people", elsewhere):
        listed = await region.call("leader", "GET", path)
        assert (listed.status_code, listed.json()) == (HTTPStatus.OK, NOTHING), path
        event = (await region.log(e.READ))[-1].event
        assert (event.outcome, event.grounds) == (Outcome.ALLOWED, ()), path
        assert not any(event.shown.values()), path
        assert (event.actor.person_id, event.organisation_id) == (region.people["leader"], None)
    for name in ("staff", "catchment"):
        path = f"/v1/organisations/{region.organisations[MATAI]}/{name}"
        assert (await region.call("leader", "GET", path)).status_code == HTTPStatus.NOT_FOUND
        assert (await region.log(e.REFUSED))[-1].event.outcome is Outcome.DENIED


async def test_administrators_list_them_all_page_by_page(region: Region) -> None:
    """AC-DO-16."""
    seen: list[str] = []
    cursor = ""
    while True:
        query = f"?limit=2{cursor and f'&cursor={cursor}'}"
        page = (await region.call("admin", "GET", f"/v1/organisations{query}")).json()
        seen += [o["id"] for o in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert sorted(seen) == sorted(str(o) for o in region.organisations.values())


async def test_somebody_elses_cursor_is_malformed(region: Region) -> None:
    """Contract: cursors are bound to caller and filter."""
    path = "/v1/organisations?limit=2"
    cursor = (await region.call("admin", "GET", path)).json()["next_cursor"]
    for who, where in (
        ("leader", "/v1/organisations"),
        ("admin", f"/v1/organisations/{region.organisations[MATAI]}/staff"),
    ):
        answer = await region.call(who, "GET", f"{where}?cursor={cursor}")
        assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY


async def test_other_organisations_and_none_answer_alike(region: Region) -> None:
    """AC-SEE: what one may not see answers as if it did not exist."""
    other = await region.call("leader", "GET", f"/v1/organisations/{region.organisations[RIMU]}")
    none = await region.call("leader", "GET", f"/v1/organisations/{uuid4()}")
    assert other.status_code == none.status_code == HTTPStatus.NOT_FOUND
    assert other.content == none.content
    assert len(await region.log(e.REFUSED)) == 2


async def test_an_administrator_registers_organisations(region: Region) -> None:
    """AC-DO-16."""
    made = await region.call("admin", "POST", "/v1/organisations", NEW)
    assert made.status_code == HTTPStatus.CREATED, made.text
    found = await region.call("admin", "GET", f"/v1/organisations/{made.json()['id']}")
    assert found.json() == made.json()
    assert (await region.log(e.ORGANISATION_REGISTERED))[-1].event.grounds[0].clause == "AC-DO-16"


async def test_nobody_else_registers_organisations(region: Region) -> None:
    """AC-DO-16."""
    for who in set(STAFF) - {"admin"}:
        made = await region.call(who, "POST", "/v1/organisations", NEW)
        assert made.status_code == HTTPStatus.FORBIDDEN, who


WRONG = ({"kind": "club"}, {"time_zone": "Pacific/Nowhere"}, {"name": ""}, {"id": "1"})


async def test_an_organisation_must_make_sense(region: Region) -> None:
    for wrong in WRONG:
        made = await region.call("admin", "POST", "/v1/organisations", {**NEW, **wrong})
        assert made.status_code == HTTPStatus.UNPROCESSABLE_ENTITY, wrong


async def test_a_repeated_registration_makes_one_organisation(region: Region) -> None:
    """Contract: Idempotency-Key."""
    key, before = {"idempotency-key": "o-1"}, len(await region.log(e.ORGANISATION_REGISTERED))
    first = await region.call("admin", "POST", "/v1/organisations", NEW, headers=key)
    again = await region.call("admin", "POST", "/v1/organisations", NEW, headers=key)
    assert first.json() == again.json()
    assert len(await region.log(e.ORGANISATION_REGISTERED)) == before + 1


async def test_a_key_is_scoped_to_its_person(region: Region) -> None:
    """Contract: Idempotency-Key is scoped to person, route and key."""
    key = {"idempotency-key": "o-1"}
    await region.call("admin", "POST", "/v1/organisations", NEW, headers=key)
    other = await region.call("leader", "POST", "/v1/organisations", NEW, headers=key)
    assert other.status_code == HTTPStatus.FORBIDDEN
