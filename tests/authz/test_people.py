"""People: registered by whom, invited once, shut out at once."""

import asyncio
import hashlib
from http import HTTPStatus
from uuid import UUID, uuid4

import pytest

from services.authz import events as e
from services.authz.credential_events import INVITATION_ISSUED
from services.authz.events import OrganisationKind, Role
from services.authz.session_events import SESSION_ENDED
from services.authz.usernames import username_once
from services.kernel.sealing import Compartment, KeyRef
from tests.authz.spooled import by_hand, delivered, reference_of, token_of
from tests.authz.staffed import KOTARE, MATAI, MINISTRY, RIMU, TUI, Region
from tests.conftest import Clock

__all__ = ["by_hand"]


def body(region: Region, place: str, username: str = "aroha") -> dict[str, str]:
    return {
        "username": username,
        "given_name": "Aroha",
        "family_name": "Ngata",
        "email": "aroha@school.example",
        "phone": "+64 4 000 0000",
        "organisation_id": str(region.organisations[place]),
    }


@pytest.mark.parametrize(
    ("who", "place", "clause"),
    [
        ("leader", MATAI, "AC-DO-1"),
        ("office", MATAI, "AC-DO-3"),
        ("lead", KOTARE, "AC-DO-5"),
        ("isp", TUI, "AC-DO-4"),
        ("admin", MINISTRY, "AC-DO-16"),
    ],
)
async def test_who_gives_access_registers_people(
    region: Region, who: str, place: str, clause: str
) -> None:
    """AC-DO-1, 3, 4, 5 and 16."""
    await region.person("isp", (Role.ISP_WORKFLOW_LEAD, TUI))
    made = await region.call(who, "POST", "/v1/people", body(region, place))
    assert made.status_code == HTTPStatus.CREATED, made.text
    event = (await region.log(e.PERSON_REGISTERED))[-1].event
    assert event.grounds[0].clause == clause
    assert event.organisation_id == region.organisations[place]


@pytest.mark.parametrize(("who", "place"), [("contact", MATAI), ("manager", KOTARE)])
async def test_nobody_else_registers_people(region: Region, who: str, place: str) -> None:
    made = await region.call(who, "POST", "/v1/people", body(region, place))
    assert made.status_code == HTTPStatus.FORBIDDEN
    assert (await region.log(e.REFUSED))[-1].event.actor.person_id == region.people[who]


async def test_administrator_registers_for_an_organisation_without_a_leader_only(
    region: Region,
) -> None:
    """AC-DO-16: the first leader; later ones are the leader's to bring in."""
    await region.organisation("Kauri School", OrganisationKind.SCHOOL)
    led = await region.call("admin", "POST", "/v1/people", body(region, MATAI))
    leaderless = await region.call("admin", "POST", "/v1/people", body(region, "Kauri School"))
    assert (led.status_code, leaderless.status_code) == (403, 201)


async def test_registering_for_an_organisation_one_does_not_see_finds_none(
    region: Region,
) -> None:
    """Contract: a referenced organisation the caller may not see counts as unknown."""
    elsewhere = await region.call("leader", "POST", "/v1/people", body(region, RIMU))
    region.organisations["nowhere"] = uuid4()
    nowhere = await region.call("leader", "POST", "/v1/people", body(region, "nowhere"))
    assert elsewhere.status_code == nowhere.status_code == HTTPStatus.NOT_FOUND
    assert elsewhere.content == nowhere.content


async def test_profile_and_user_name_are_sealed_in_the_log(region: Region) -> None:
    """SG-6 and SG-18."""
    made = await region.call("leader", "POST", "/v1/people", body(region, MATAI))
    recorded = (await region.log(e.PERSON_REGISTERED))[-1]
    for text in (b"Aroha", b"Ngata", b"aroha", b"+64"):
        assert text not in recorded.body
    keys, person_id = region.authz.runtime.keys, UUID(made.json()["id"])
    opened = keys.open(
        KeyRef(person_id, Compartment.CREDENTIAL),
        recorded.event.id,
        "username",
        recorded.event.data["username"],
    )
    assert opened == "aroha"


async def test_an_invitation_goes_to_the_person_and_only_its_digest_is_kept(
    region: Region, clock: Clock
) -> None:
    """SG-4: who registers learns how it is delivered, and never what it is."""
    made = await region.call("leader", "POST", "/v1/people", body(region, MATAI))
    (letter,) = await delivered(region)
    token, shown = token_of(letter), made.json()["invitation"]
    issued = (await region.log(INVITATION_ISSUED))[-1]
    assert issued.event.data["token_digest"] == hashlib.sha256(token.encode()).hexdigest()
    assert token.encode() not in issued.body
    assert token not in made.text
    assert letter["to"] == "aroha@school.example"
    assert (shown["channel"], shown["id"]) == ("spool", str(reference_of(letter)))
    assert shown["expires_at"] > clock.now().isoformat()


async def test_a_once_key_held_by_what_no_decision_sees_is_a_conflict(region: Region) -> None:
    """Contract: not possible in this state, and never an error of ours."""
    held = username_once(region.authz.usernames.digest("aroha"))
    await region.append(region._session("office"), once=(held,))
    refused = await region.call("leader", "POST", "/v1/people", body(region, MATAI))
    assert refused.status_code == HTTPStatus.CONFLICT
    assert refused.json()["code"] == "conflict"
    assert await region.authz.runtime.pool.fetchval(
        "select not exists (select from authz.account where username_digest = $1)",
        region.authz.usernames.digest("aroha"),
    )


async def test_a_user_name_is_taken_once(region: Region) -> None:
    """SG-4: no shared accounts; two at once, one of them lands."""
    answers = await asyncio.gather(
        *(region.call("leader", "POST", "/v1/people", body(region, MATAI)) for _ in range(2))
    )
    assert sorted(a.status_code for a in answers) == [HTTPStatus.CREATED, HTTPStatus.CONFLICT]
    other = await region.call("lead", "POST", "/v1/people", body(region, KOTARE, " AROHA"))
    assert other.status_code == HTTPStatus.CONFLICT


async def test_a_repeated_registration_gives_the_same_person_and_invitation(
    region: Region,
) -> None:
    """Contract: Idempotency-Key."""
    key, wanted = {"idempotency-key": "p-1"}, body(region, MATAI)
    first = await region.call("leader", "POST", "/v1/people", wanted, headers=key)
    again = await region.call("leader", "POST", "/v1/people", wanted, headers=key)
    assert first.status_code == again.status_code == HTTPStatus.CREATED
    assert first.json() == again.json()
    for person in await region.log(e.PERSON_REGISTERED):
        assert b"Aroha" not in person.body
    assert (await region.log(e.READ))[-1].event.shown == {"person": [first.json()["id"]]}


WRONG: tuple[dict[str, str], ...] = (
    {"username": "a\x00b"},
    {"given_name": "two\nlines"},
    {"family_name": "   "},
    {"email": "nobody"},
    {"nickname": "Ari"},
    {"organisation_id": "1"},
    {"given_name": "x" * 201},
    {"family_name": "\u202eNgata"},
)


async def test_what_cannot_be_stored_or_is_not_known_is_malformed(region: Region) -> None:
    for wrong in WRONG:
        sent = {**body(region, MATAI), **wrong}
        made = await region.call("leader", "POST", "/v1/people", sent)
        assert made.status_code == HTTPStatus.UNPROCESSABLE_ENTITY, wrong
        assert made.headers["content-type"] == "application/problem+json"
    assert len(await region.log(e.PERSON_REGISTERED)) == len(region.people)


async def test_who_is_not_authenticated_learns_nothing_of_the_body(region: Region) -> None:
    """Contract: 401 before 422."""
    region.tokens["nobody"] = "x.y.z"
    assert (await region.call("nobody", "POST", "/v1/people", {"x": 1})).status_code == 401


async def test_one_is_shown_who_is_on_a_list_one_sees(region: Region) -> None:
    """AC-SEE-7."""
    seen = await region.call("leader", "GET", f"/v1/people/{region.people['office']}")
    assert seen.status_code == HTTPStatus.OK
    assert (seen.json()["given_name"], seen.json()["email"]) == ("office", "office@school.example")
    event = (await region.log(e.READ))[-1].event
    assert event.shown["profile"] == [str(region.people["office"])]
    assert event.grounds[0].clause == "AC-SEE-7"


async def test_people_elsewhere_and_nobody_answer_alike(region: Region) -> None:
    """AC-SEE: what one may not see answers as if it did not exist."""
    elsewhere = await region.call("leader", "GET", f"/v1/people/{region.people['manager']}")
    nobody = await region.call("leader", "GET", f"/v1/people/{uuid4()}")
    assert elsewhere.status_code == nobody.status_code == HTTPStatus.NOT_FOUND
    assert elsewhere.content == nobody.content
    assert elsewhere.headers == nobody.headers


async def test_assignments_elsewhere_are_absent_and_change_no_tag(region: Region) -> None:
    """AC-SEE: not inferable from a version."""
    path = f"/v1/people/{region.people['office']}"
    before = await region.call("leader", "GET", path)
    await region.person("both", (Role.PRIMARY_CONTACT, MATAI))
    both = f"/v1/people/{region.people['both']}"
    alone = await region.call("leader", "GET", both)
    assert len(alone.json()["assignments"]) == 1
    await region.organisation("Kauri School", OrganisationKind.SCHOOL)
    granted = await region.grant("admin", "both", Role.SCHOOL_LEADER, "Kauri School")
    assert granted.status_code == HTTPStatus.CREATED
    after = await region.call("leader", "GET", both)
    assert after.headers["etag"] == alone.headers["etag"]
    assert after.json() == alone.json()
    assert before.headers["etag"] != (await region.call("admin", "GET", path)).headers["etag"]


async def test_each_post_that_shows_something_is_among_the_grounds(region: Region) -> None:
    """AC-SEE: the event names which assignment each part rests on, of several also the others."""
    await region.person("both", (Role.SCHOOL_LEADER, MATAI), (Role.SCHOOL_OFFICE, MATAI))
    seen = f"/v1/people/{region.people['contact']}"
    answers = [
        await region.call("both", "GET", seen),
        await region.call("both", "GET", "/v1/organisations"),
        await region.call("both", "PATCH", seen, {"phone": "1"}, headers={"if-match": "*"}),
    ]
    assert [answer.status_code for answer in answers] == [HTTPStatus.OK] * 3
    events = [
        r.event for r in (*(await region.log(e.READ)), *(await region.log(e.PROFILE_CORRECTED)))
    ]
    roles = [[ground.role for ground in event.grounds] for event in events]
    assert roles == [[Role.SCHOOL_LEADER, Role.SCHOOL_OFFICE]] * 3


@pytest.mark.parametrize("kind", ["people", "organisations"])
async def test_a_304_is_recorded_like_a_disclosure(region: Region, kind: str) -> None:
    """Contract: If-None-Match."""
    one = region.people["office"] if kind == "people" else region.organisations[MATAI]
    path = f"/v1/{kind}/{one}"
    seen = await region.call("leader", "GET", path)
    reads = len(await region.log(e.READ))
    tag = {"if-none-match": seen.headers["etag"]}
    unchanged = await region.call("leader", "GET", path, headers=tag)
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert len(await region.log(e.READ)) == reads + 1


async def test_a_suspension_is_effective_in_every_process_at_once(region: Region) -> None:
    """SG-3: acknowledged, it refuses the next request of an old token, sessions included."""
    other = await region.another()
    path = "/v1/organisations"
    assert (await region.call("office", "GET", path, at=other)).status_code == HTTPStatus.OK
    shut = f"/v1/people/{region.people['office']}/suspend"
    done = await region.call("leader", "POST", shut, {"reason": "Left in a hurry"})
    assert (done.status_code, done.json()["suspended"]) == (HTTPStatus.OK, True)
    assert (await region.call("office", "GET", path, at=other)).status_code == 401
    ended = (await region.log(SESSION_ENDED))[-1].event
    assert ended.data["reason"] == "suspended"
    recorded = (await region.log(e.PERSON_SUSPENDED))[-1]
    assert b"hurry" not in recorded.body


async def test_reinstated_one_must_log_in_again(region: Region) -> None:
    """SG-3: a session from before stays ended."""
    path = f"/v1/people/{region.people['office']}"
    await region.call("leader", "POST", f"{path}/suspend", {"reason": "Mistaken"})
    back = await region.call("leader", "POST", f"{path}/reinstate")
    assert (back.status_code, back.json()["suspended"]) == (HTTPStatus.OK, False)
    assert (await region.call("office", "GET", "/v1/organisations")).status_code == 401
    await region.sign_in("office")
    assert (await region.call("office", "GET", "/v1/organisations")).status_code == 200


SHUTTING_OUT = (
    ("leader", "leader", 403),
    ("office", "contact", 403),
    ("contact", "office", 404),
    ("leader", "rimu_leader", 404),
    ("admin", "office", 403),
    ("admin", "admin", 403),
    ("manager", "lead", 403),
    ("admin", "investigator", 200),
    ("lead", "manager", 200),
    ("isp", "isp_other", 403),
    ("leader", "deputy", 403),
    ("deputy", "leader", 403),
    ("admin", "isp_other", 200),
    ("admin", "deputy", 200),
    ("leader", "office", 200),
    ("admin", "leader", 200),
)


async def test_leaders_leads_and_administrators_shut_out_their_own(region: Region) -> None:
    """AC-DO-1, 4, 5 and 16; nobody themselves, and who leads from the Ministry only."""
    await region.person("deputy", (Role.SCHOOL_LEADER, MATAI))
    for name in ("isp", "isp_other"):
        await region.person(name, (Role.ISP_WORKFLOW_LEAD, TUI))
    for who, of, expected in SHUTTING_OUT:
        path = f"/v1/people/{region.people[of]}/suspend"
        answer = await region.call(who, "POST", path, {"reason": "Because"})
        assert answer.status_code == expected, (who, of)


async def test_who_also_works_elsewhere_is_the_ministrys_to_shut_out(region: Region) -> None:
    """SG-1: a leader takes away what is theirs to give, and no more; AC-DO-16."""
    await region.person("both", (Role.PRIMARY_CONTACT, MATAI), (Role.PRIMARY_CONTACT, RIMU))
    path = f"/v1/people/{region.people['both']}/suspend"
    answer = await region.call("leader", "POST", path, {"reason": "Because"})
    assert answer.status_code == HTTPStatus.FORBIDDEN
    answer = await region.call("admin", "POST", path, {"reason": "Because"})
    assert answer.status_code == HTTPStatus.OK
    assert (await region.revoke("leader", "both")).status_code == HTTPStatus.NO_CONTENT


async def test_suspending_twice_is_a_conflict(region: Region) -> None:
    path = f"/v1/people/{region.people['office']}"
    why = {"reason": "Because"}
    assert (await region.call("leader", "POST", f"{path}/suspend", why)).status_code == 200
    assert (await region.call("leader", "POST", f"{path}/suspend", why)).status_code == 409
    await region.call("leader", "POST", f"{path}/reinstate")
    assert (await region.call("leader", "POST", f"{path}/reinstate")).status_code == 409
