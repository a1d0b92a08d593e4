"""How to reach staff: shown to fewer than their names (AC-SEE-7, 11, 22, AC-DO-13, 16)."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import httpx
import pytest

from services.authz import events as e
from services.authz.events import OrganisationKind, Role
from tests.authz.staffed import KOTARE, MATAI, MINISTRY, RIMU, Region

CONTACT = {"email", "phone"}


async def _seen(region: Region, who: str, of: str) -> httpx.Response:
    return await region.call(who, "GET", f"/v1/people/{region.people[of]}")


async def _shown(region: Region) -> Mapping[str, Any]:
    return (await region.log(e.READ))[-1].event.shown


@pytest.mark.parametrize(
    ("who", "of", "reached"),
    [
        ("leader", "contact", True),
        ("leader", "leader", True),
        ("lead", "manager", True),
        ("contact", "contact", True),
        ("manager", "manager", True),
        ("admin", "investigator", True),
        ("admin", "admin", True),
        ("office", "contact", False),
        ("office", "leader", False),
        ("manager", "lead", False),
        ("admin", "contact", False),
        ("admin", "leader", False),
        ("admin", "manager", False),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_who_may_correct_or_appoint_is_shown_how_to_reach_somebody_and_nobody_else(
    shared_region: Region, who: str, of: str, *, reached: bool
) -> None:
    """AC-SEE-7, 11: a staff list has names and roles; absent is absent, and the event says so."""
    answer = await _seen(shared_region, who, of)

    assert answer.status_code == 200
    body = answer.json()
    assert (body["given_name"], body["family_name"]) == (of, "Example")
    assert [a["id"] for a in body["assignments"]] == [str(shared_region.assignments[of])]
    assert CONTACT & set(body) == (CONTACT if reached else set())
    assert (f"{of}@school.example" in answer.text) == reached
    part, other = ("profile", "name") if reached else ("name", "profile")
    shown = await _shown(shared_region)
    assert shown[part] == [str(shared_region.people[of])]
    assert other not in shown


async def test_isp_lead_is_shown_how_to_reach_the_isps_staff(region: Region) -> None:
    """AC-DO-4, AC-DO-13."""
    await region.organisation("Weka In-school", OrganisationKind.ISP)
    await region.staff(
        {n: [(Role.ISP_WORKFLOW_LEAD, "Weka In-school")] for n in ("isp", "isp_other")}
    )

    assert set((await _seen(region, "isp", "isp_other")).json()) >= CONTACT


async def test_tag_changes_with_what_its_reader_sees_and_with_nothing_else(region: Region) -> None:
    """Contract: a version covers exactly what this caller may see."""
    before = {who: await _seen(region, who, "contact") for who in ("leader", "office", "admin")}
    tag = {"if-match": before["leader"].headers["etag"]}
    path = f"/v1/people/{region.people['contact']}"

    corrected = await region.call("leader", "PATCH", path, {"phone": "+64 3 9"}, headers=tag)

    assert corrected.status_code == 200
    assert corrected.json() == (await _seen(region, "leader", "contact")).json()
    assert corrected.headers["etag"] != before["leader"].headers["etag"]
    for who in ("office", "admin"):
        after = await _seen(region, who, "contact")
        assert after.headers["etag"] == before[who].headers["etag"], who
        assert after.content == before[who].content, who


async def test_administrator_reaches_a_first_leader_until_somebody_else_is_given_the_post(
    region: Region,
) -> None:
    """AC-DO-16: the first is theirs to bring in and to take back; later ones are the leader's."""
    kauri = await region.organisation("Kauri School", OrganisationKind.SCHOOL)
    body = {
        "username": "first",
        "given_name": "first",
        "family_name": "Example",
        "email": "first@school.example",
        "organisation_id": str(kauri),
    }
    made = await region.call("admin", "POST", "/v1/people", body)
    region.people["first"] = UUID(made.json()["id"])
    registered = (await _seen(region, "admin", "first")).json()
    await region.grant("admin", "first", Role.SCHOOL_LEADER, "Kauri School")
    appointed = (await _seen(region, "admin", "first")).json()

    await region.sign_in("first")
    await region.person("second", (Role.PRIMARY_CONTACT, "Kauri School"))
    granted = await region.grant("first", "second", Role.SCHOOL_LEADER, "Kauri School")
    later = [(await _seen(region, "admin", of)).json() for of in ("first", "second")]

    assert granted.status_code == 201
    assert [one["email"] for one in (registered, appointed)] == ["first@school.example"] * 2
    assert [CONTACT & set(one) for one in later] == [set(), set()]


async def test_who_works_nowhere_is_reached_by_who_may_bring_them_back(region: Region) -> None:
    """AC-DO-1, AC-DO-13: their home's leader, not its office, nor an administrator once it is led.

    Reading 45 shows them their name.
    """
    body = {
        "username": "new",
        "given_name": "new",
        "family_name": "Example",
        "email": "new@school.example",
        "organisation_id": str(region.organisations[MATAI]),
    }
    made = await region.call("office", "POST", "/v1/people", body)
    region.people["new"] = UUID(made.json()["id"])

    seen = {who: (await _seen(region, who, "new")).json() for who in ("leader", "office", "admin")}

    assert {who: CONTACT & set(one) for who, one in seen.items()} == {
        "leader": CONTACT,
        "office": set(),
        "admin": set(),
    }


async def test_each_organisation_is_told_what_its_own_post_shows_of_somebody(
    region: Region,
) -> None:
    """AC-SEE, reading 36: a leader here and office there sees one profile, by the post here."""
    await region.person("both", (Role.SCHOOL_LEADER, MATAI), (Role.SCHOOL_OFFICE, RIMU))
    await region.person("relief", (Role.PRIMARY_CONTACT, MATAI), (Role.PRIMARY_CONTACT, RIMU))

    answer = await _seen(region, "both", "relief")

    own, other = [r.event for r in (await region.log(e.READ))[-2:]]
    assert set(answer.json()) >= CONTACT
    assert own.organisation_id == region.organisations[MATAI]
    assert other.organisation_id == region.organisations[RIMU]
    assert {"profile", "assignment"} == set(own.shown)
    assert {"name", "assignment"} == set(other.shown)


async def test_leader_elsewhere_does_not_make_a_colleague_reachable(region: Region) -> None:
    """Reading 29: nobody is known in one post and corrected in another."""
    await region.person("both", (Role.SCHOOL_OFFICE, MATAI), (Role.ASP_WORKFLOW_LEAD, KOTARE))
    await region.person("local", (Role.SCHOOL_OFFICE, MATAI), (Role.ADMINISTRATOR, MINISTRY))

    for who in ("both", "local"):
        assert not CONTACT & set((await _seen(region, who, "contact")).json()), who
