"""Profiles of one's staff, corrected at their request (AC-DO-13)."""

import httpx
import pytest

from services.authz import events as e
from services.authz.events import Role
from services.kernel.budgets import BURST
from services.kernel.events import Outcome
from tests.authz.staffed import KOTARE, MATAI, RIMU, Region


async def _correct(
    region: Region, who: str, of: str, body: object, tag: str | None = None
) -> httpx.Response:
    """Correct, as ``who``, with the tag they see now unless another one is given."""
    path = f"/v1/people/{region.people[of]}"
    if tag is None:
        tag = (await region.call(who, "GET", path)).headers.get("etag", '"none"')
    return await region.call(who, "PATCH", path, body, headers={"if-match": tag} if tag else {})


@pytest.mark.parametrize(
    ("who", "of", "place"), [("leader", "contact", MATAI), ("lead", "manager", KOTARE)]
)
async def test_leader_or_lead_corrects_their_own_staff_and_the_event_says_so(
    region: Region, who: str, of: str, place: str
) -> None:
    """AC-DO-13."""
    answer = await _correct(region, who, of, {"family_name": "Ngata-Reid", "phone": "+64 3 1"})

    assert answer.status_code == 200
    seen = await region.call(who, "GET", f"/v1/people/{region.people[of]}")
    assert answer.json() == seen.json()
    assert answer.headers["etag"] == seen.headers["etag"]
    assert (seen.json()["given_name"], seen.json()["family_name"]) == (of, "Ngata-Reid")
    (event,) = [r.event for r in await region.log(e.PROFILE_CORRECTED)]
    assert event.actor.person_id == region.people[who]
    assert event.actor.organisation_id == region.organisations[place]
    assert [(g.clause, g.assignment_id) for g in event.grounds] == [
        ("AC-DO-13", region.assignments[who])
    ]
    assert event.object is not None
    assert (event.action, event.object.id) == ("update", str(region.people[of]))
    assert event.shown["profile"] == [str(region.people[of])]


async def test_corrected_person_meets_the_correction_and_it_is_sealed(region: Region) -> None:
    """AC-DO-13, SG-18."""
    await _correct(region, "leader", "contact", {"family_name": "Ngata-Reid"})

    own = (await region.call("contact", "GET", "/v1/me")).json()

    assert own["family_name"] == "Ngata-Reid"
    assert all(b"Ngata-Reid" not in r.body for r in await region.log(e.PROFILE_CORRECTED))


@pytest.mark.parametrize(
    ("who", "of", "status"),
    [
        ("office", "contact", 403),
        ("manager", "lead", 403),
        ("admin", "contact", 403),
        ("contact", "leader", 404),
        ("leader", "rimu_contact", 404),
        ("leader", "manager", 404),
        ("lead", "contact", 404),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_nobody_else_corrects_anybody(
    shared_region: Region, who: str, of: str, status: int
) -> None:
    """AC-DO-13: who may see them is refused, to others they do not exist; both are recorded."""
    region, known = shared_region, len(await shared_region.log(e.REFUSED))

    answer = await _correct(region, who, of, {"phone": "1"}, tag="*")

    assert answer.status_code == status
    assert await region.log(e.PROFILE_CORRECTED) == []
    (refused,) = [r.event for r in (await region.log(e.REFUSED))[known:]]
    assert (refused.actor.person_id, refused.outcome) == (region.people[who], Outcome.DENIED)
    assert refused.object is not None
    assert refused.object.id == str(region.people[of])


async def test_who_is_unknown_is_not_found_as_who_is_elsewhere(region: Region) -> None:
    """Contract: hidden and missing are one answer."""
    region.people["nobody"] = region.installation.effects.new_id()

    nobody = await _correct(region, "leader", "nobody", {"phone": "1"}, tag="*")
    elsewhere = await _correct(region, "leader", "rimu_contact", {"phone": "1"}, tag="*")

    assert nobody.status_code == elsewhere.status_code == 404
    assert nobody.json() == elsewhere.json()


async def test_who_has_left_is_no_longer_ones_to_correct(region: Region) -> None:
    """AC-DO-13: their leader or lead is who leads where they work now."""
    tag = (await region.call("leader", "GET", f"/v1/people/{region.people['contact']}")).headers
    await region.revoke("leader", "contact")

    answer = await _correct(region, "leader", "contact", {"phone": "1"}, tag=tag["etag"])

    assert answer.status_code == 404


async def test_everybody_corrects_themselves_here_too(region: Region) -> None:
    """AC-DO-13."""
    answer = await _correct(region, "manager", "manager", {"phone": "+64 3 2"})

    assert (answer.status_code, answer.json()["phone"]) == (200, "+64 3 2")


async def test_correction_without_or_with_an_old_if_match_changes_nothing(region: Region) -> None:
    """Contract: 428 without, 412 when stale; both are recorded."""
    seen = await region.call("leader", "GET", f"/v1/people/{region.people['contact']}")
    await _correct(region, "leader", "contact", {"phone": "1"})

    without = await _correct(region, "leader", "contact", {"phone": "2"}, tag="")
    stale = await _correct(region, "leader", "contact", {"phone": "3"}, tag=seen.headers["etag"])

    assert (without.status_code, stale.status_code) == (428, 412)
    codes = [r.event.data["code"] for r in await region.log(e.REFUSED)]
    assert codes == ["if_match_required", "stale_version"]
    assert len(await region.log(e.PROFILE_CORRECTED)) == 1


async def test_leader_of_one_of_two_schools_corrects_too_and_sees_their_own_part(
    region: Region,
) -> None:
    """AC-DO-13, AC-SEE-7: a profile is one wherever they work; assignments elsewhere are absent."""
    await region.person("relief", (Role.PRIMARY_CONTACT, MATAI), (Role.PRIMARY_CONTACT, RIMU))

    answer = await _correct(region, "rimu_leader", "relief", {"phone": "+64 3 3"})

    assert answer.status_code == 200
    places = {a["organisation_id"] for a in answer.json()["assignments"]}
    assert places == {str(region.organisations[RIMU])}


async def test_address_is_corrected_of_who_is_theirs_alone_and_does_not_lead(
    region: Region,
) -> None:
    """AC-DO-13, SG-4: who holds the mailbox can become the person; other details are corrected."""
    await region.person("deputy", (Role.SCHOOL_LEADER, MATAI))
    await region.person("relief", (Role.PRIMARY_CONTACT, MATAI), (Role.PRIMARY_CONTACT, RIMU))
    await region.person("lead_other", (Role.ASP_WORKFLOW_LEAD, KOTARE))
    address, phone = {"email": "new@school.example"}, {"phone": "+64 3 4"}

    for who, of in (("leader", "deputy"), ("leader", "relief"), ("lead", "lead_other")):
        assert (await _correct(region, who, of, address)).status_code == 403, of
        assert (await _correct(region, who, of, phone)).status_code == 200, of
    assert (await _correct(region, "leader", "contact", address)).status_code == 200
    assert (await _correct(region, "deputy", "deputy", address)).status_code == 200


@pytest.mark.parametrize("body", [{"email": "no"}, {"given_name": ""}, {"role": "administrator"}])
@pytest.mark.asyncio(loop_scope="module")
async def test_malformed_correction_is_422(shared_region: Region, body: object) -> None:
    """AC-DO-13: names and contact details, nothing else."""
    answer = await _correct(shared_region, "leader", "contact", body, tag="*")

    assert answer.status_code == 422


async def test_who_is_refused_all_day_is_told_to_slow_down_and_appends_no_more(
    region: Region,
) -> None:
    """Design: authenticated refusals have a budget per person; others are not touched by it."""
    gate, now = region.authz.gate, region.installation.effects.now()
    await _correct(region, "office", "contact", {"phone": "1"}, tag="*")
    for _ in range(BURST - 1):
        gate._budget.spend(region.people["office"], now)
    before = await region.authz.runtime.projector.head()

    slowed = await _correct(region, "office", "contact", {"phone": "1"}, tag="*")

    assert (slowed.status_code, slowed.json()["code"]) == (429, "too_many_requests")
    assert int(slowed.headers["retry-after"]) >= 1
    assert await region.authz.runtime.projector.head() == before
    assert (await region.call("leader", "GET", "/v1/me")).status_code == 200
