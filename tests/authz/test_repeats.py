"""A POST sent again under its key: authorised anew, for what it does and not only to be read."""

from collections.abc import Mapping
from datetime import timedelta
from http import HTTPStatus
from typing import Any

import httpx
import pytest

from services.authz import events as e
from services.authz.credential_events import CREDENTIALS_RESET
from services.authz.events import OrganisationKind, Role
from services.authz.recording import person_object
from services.kernel.events import Outcome
from tests.authz.staffed import KOTARE, MATAI, RIMU, Region
from tests.conftest import Clock

KEY = {"idempotency-key": "again-1"}
WHY = {"reason": "Because"}
#: what a leader of Matai School may do, and a post there in which one sees it and may not
OF_A_LEADER = {
    "suspend": Role.SCHOOL_OFFICE,
    "reset": Role.SCHOOL_OFFICE,
    "reinstate": Role.SCHOOL_OFFICE,
    "grant": Role.SCHOOL_OFFICE,
    "decide": Role.SCHOOL_OFFICE,
    "register": Role.PRIMARY_CONTACT,
    "reset staff": Role.SCHOOL_OFFICE,
}


async def send(region: Region, name: str, who: str = "leader") -> httpx.Response:
    """Send one of the requests under the key."""
    contact, matai = region.people["contact"], str(region.organisations[MATAI])
    person, office = f"/v1/people/{contact}", {"role": "school_office", "organisation_id": matai}
    until = region.installation.effects.now().replace(microsecond=0, second=0, minute=0)
    sent: Mapping[str, tuple[str, Any]] = {
        "suspend": (f"{person}/suspend", WHY),
        "reset": (f"{person}/reset", WHY),
        "reinstate": (f"{person}/reinstate", None),
        "grant": (f"{person}/assignments", office),
        "decide": (
            "/v1/access-decisions",
            {
                **office,
                "person_id": str(contact),
                "expires_at": (until + timedelta(days=9)).isoformat(),
            },
        ),
        "register": (
            "/v1/people",
            {
                "username": "moana",
                "given_name": "Moana",
                "family_name": "Rua",
                "email": "moana@matai.example",
                "organisation_id": matai,
            },
        ),
        "reset staff": (f"/v1/organisations/{matai}/reset", {**WHY, "person_ids": [str(contact)]}),
        "organisation": (
            "/v1/organisations",
            {"kind": "school", "name": "Kauri School", "time_zone": "Pacific/Auckland"},
        ),
        "serve": (
            f"/v1/organisations/{region.organisations[KOTARE]}/catchment",
            {"school_id": matai},
        ),
    }
    path, body = sent[name]
    return await region.call(who, "POST", path, body, headers=KEY)


async def done(region: Region, name: str, who: str = "leader") -> None:
    """Do what a request asks, and again: the repeat answers like it."""
    if name == "reinstate":
        path = f"/v1/people/{region.people['contact']}/suspend"
        assert (await region.call(who, "POST", path, WHY)).status_code == HTTPStatus.OK
    first, again = await send(region, name, who), await send(region, name, who)
    assert first.is_success, first.text
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    newest = (await region.log(e.READ))[-1]
    assert newest.position == await region.authz.runtime.projector.head()
    assert newest.event.action == "read"


async def refused(region: Region, name: str, who: str = "leader") -> int:
    """Send it again; return how it was refused, which is recorded and changes nothing."""
    before = await region.authz.runtime.projector.head()
    again = await send(region, name, who)
    (event,) = [r.event for r in await region.log(e.REFUSED) if r.position > before]
    assert await region.authz.runtime.projector.head() == before + 1
    assert event.data["code"] == again.json()["code"]
    return again.status_code


@pytest.mark.parametrize("name", OF_A_LEADER)
async def test_who_may_no_longer_do_it_is_refused_and_who_sees_it_no_more_finds_nothing(
    region: Region, name: str
) -> None:
    """Contract: a repeat is authorised anew, 404 before 403; that one sees it is not enough."""
    await done(region, name)
    await region.lose("leader")
    await region.hold("leader", Role.SCHOOL_LEADER, RIMU)
    assert await refused(region, name) == HTTPStatus.NOT_FOUND
    await region.hold("leader", OF_A_LEADER[name], MATAI)
    assert await refused(region, name) == HTTPStatus.FORBIDDEN


async def test_another_body_under_a_key_is_recorded_as_failed_and_does_nothing(
    region: Region,
) -> None:
    """Contract: 422; AC-USE-1: it is known by what is stored, so that it was tried is an event."""
    await done(region, "suspend")
    path, before = f"/v1/people/{region.people['contact']}/suspend", await region.log(e.REFUSED)
    other = await region.call("leader", "POST", path, {"reason": "Another"}, headers=KEY)
    (event,) = [r.event for r in (await region.log(e.REFUSED))[len(before) :]]
    assert (other.status_code, other.json()["code"]) == (422, "malformed")
    assert (event.outcome, event.action) == (Outcome.FAILED, "suspend")
    assert event.object == person_object(region.people["contact"])
    assert (event.actor.person_id, event.actor.organisation_id, event.organisation_id) == (
        region.people["leader"],
        *[region.organisations[MATAI]] * 2,
    )
    assert (event.grounds, event.data["code"]) == ((), "malformed")
    assert len(await region.log(e.PERSON_SUSPENDED)) == 1


async def test_another_body_that_would_have_been_done_is_not(region: Region) -> None:
    """Contract: not of an organisation that nobody has registered either."""
    await done(region, "organisation", "admin")
    other = {"kind": "school", "name": "Puriri School", "time_zone": "Pacific/Auckland"}
    answer = await region.call("admin", "POST", "/v1/organisations", other, headers=KEY)
    newest = (await region.log(e.REFUSED))[-1].event
    assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert (newest.outcome, newest.action, newest.stream) == (Outcome.FAILED, "create", None)
    assert "Puriri" not in str(newest)
    assert len(await region.log(e.ORGANISATION_REGISTERED)) == len(region.organisations) + 1


async def test_who_administers_no_more_repeats_nothing(region: Region) -> None:
    """AC-DO-16: nor who sees both that a catchment joins."""
    await done(region, "organisation", "admin")
    await done(region, "serve", "admin")
    await region.lose("admin")
    await region.hold("admin", Role.SCHOOL_OFFICE, MATAI)
    assert await refused(region, "organisation", "admin") == HTTPStatus.FORBIDDEN
    assert await refused(region, "serve", "admin") == HTTPStatus.NOT_FOUND
    await region.hold("admin", Role.ASP_CASE_MANAGER, KOTARE)
    assert await refused(region, "serve", "admin") == HTTPStatus.FORBIDDEN


async def test_who_was_registered_and_has_gone_on_is_unknown_to_a_repeat(region: Region) -> None:
    """AC-DO-1: whoever has gone on to another organisation is that one's."""
    made = await send(region, "register")
    region.people["moana"] = made.json()["id"]
    await region.hold("moana", Role.PRIMARY_CONTACT, RIMU)
    assert await refused(region, "register") == HTTPStatus.NOT_FOUND


async def test_what_a_grant_used_up_does_not_stand_against_its_repeat(region: Region) -> None:
    """AC-DO-3, AC-DO-16: a decision serves once and a leader is the first once, for this grant."""
    expires = region.installation.effects.now() + timedelta(days=1)
    decided = await region.decision(
        "leader", "contact", Role.SCHOOL_LEADER, expires_at=expires.isoformat()
    )
    more = {"decision_id": decided.json()["id"], "headers": KEY}
    await region.organisation("Kauri School", OrganisationKind.SCHOOL)
    for who, place, extra in (
        ("office", MATAI, more),
        ("admin", "Kauri School", {"headers": KEY}),
    ):
        first, again = [
            await region.grant(who, "contact", Role.SCHOOL_LEADER, place, **extra) for _ in range(2)
        ]
        assert first.status_code == HTTPStatus.CREATED, first.text
        assert (again.status_code, again.json()) == (first.status_code, first.json())


async def test_a_grant_that_is_over_is_as_missing_to_its_repeat_as_to_who_asks(
    region: Region, clock: Clock
) -> None:
    """Contract: a repeat is rendered anew, and what one sees no more is not shown; SG-3, SG-14."""
    path = f"/v1/people/{region.people['contact']}"
    await done(region, "grant")
    (granted,) = [
        a
        for a in (await region.call("leader", "GET", path)).json()["assignments"]
        if a["role"] == "school_office"
    ]
    held = f"{path}/assignments/{granted['id']}"
    tag = {"if-match": f'"{granted["version"]}"'}
    assert (await region.call("leader", "DELETE", held, headers=tag)).status_code == 204
    assert await refused(region, "grant") == HTTPStatus.NOT_FOUND

    until = (region.installation.effects.now() + timedelta(hours=1)).isoformat()
    relief = (Role.SCHOOL_LEADER, MATAI)
    more: dict[str, Any] = {"until": until, "headers": {"idempotency-key": "relief-1"}}
    answers = [await region.grant("leader", "contact", *relief, **more) for _ in range(2)]
    clock.advance(timedelta(hours=1))
    await region.sign_in("leader")
    answers.append(await region.grant("leader", "contact", *relief, **more))
    assert [answer.status_code for answer in answers] == [201, 201, 404]


async def test_a_decision_that_served_for_another_change_serves_no_repeat(region: Region) -> None:
    """AC-DO-3: a leader who is the office now repeats nothing on a decision that was not used."""
    contact, office = "contact", Role.SCHOOL_OFFICE
    decided = await region.decision("leader", contact, Role.SCHOOL_LEADER)
    more = {"decision_id": decided.json()["id"], "headers": KEY}
    first = await region.grant("leader", contact, office, MATAI, **more)
    assert first.status_code == HTTPStatus.CREATED, first.text
    await region.lose("leader")
    await region.hold("leader", Role.SCHOOL_OFFICE, MATAI)
    again = await region.grant("leader", contact, office, MATAI, **more)
    assert again.status_code == HTTPStatus.FORBIDDEN


async def test_a_repeated_reset_of_all_reaches_nobody_who_came_after_it(
    region: Region, clock: Clock
) -> None:
    """SG-21: a key sent again weeks later takes nothing from whoever works there by then."""
    path = f"/v1/organisations/{region.organisations[MATAI]}/reset"
    first = await region.call("leader", "POST", path, WHY, headers=KEY)
    clock.advance(timedelta(minutes=1))
    registered = (await send(region, "register")).json()["id"]
    office = {"role": "school_office", "organisation_id": str(region.organisations[MATAI])}
    granted = await region.call("leader", "POST", f"/v1/people/{registered}/assignments", office)
    assert granted.is_success, granted.text
    again = await region.call("leader", "POST", path, WHY, headers=KEY)
    assert (again.status_code, again.json()) == (200, first.json())
    reset = [r.event.data["person_id"] for r in await region.log(CREDENTIALS_RESET)]
    assert reset
    assert registered not in reset


async def test_a_repeated_suspension_says_how_it_stands_now(region: Region) -> None:
    shut = f"/v1/people/{region.people['contact']}/suspend"
    let_in = f"/v1/people/{region.people['contact']}/reinstate"
    first = await region.call("leader", "POST", shut, WHY, headers=KEY)
    await region.call("leader", "POST", let_in, {})
    again = await region.call("leader", "POST", shut, WHY, headers=KEY)
    assert (first.json()["suspended"], again.json()["suspended"]) == (True, False)


async def test_a_key_is_of_the_same_path_however_its_id_is_written(region: Region) -> None:
    person = region.people["contact"]
    for written in (str(person), str(person).upper(), person.hex):
        done = await region.call(
            "leader", "POST", f"/v1/people/{written}/suspend", WHY, headers=KEY
        )
        assert done.status_code == HTTPStatus.OK
    assert len(await region.log(e.PERSON_SUSPENDED)) == 1


@pytest.mark.parametrize("name", ["register", "decide", "organisation"])
async def test_the_event_of_a_repeat_is_about_what_was_made(region: Region, name: str) -> None:
    who = "admin" if name == "organisation" else "leader"
    first, _ = await send(region, name, who), await send(region, name, who)
    event = (await region.log(e.READ))[-1].event
    assert event.object is not None
    assert event.object.id == first.json()["id"]
