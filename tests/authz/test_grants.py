"""Who may give and take access: each rule of AC-DO-1, 3, 5 and 16 as a claim."""

import asyncio
from datetime import timedelta
from http import HTTPStatus
from uuid import UUID, uuid4

import pytest

from services.authz import events as e
from services.authz import grants
from services.authz.events import OrganisationKind, Role
from services.authz.session_events import SESSION_ENDED
from services.kernel.events import Event, Outcome
from tests.authz.staffed import KOTARE, MATAI, MINISTRY, RIMU, STAFF, TUI, Region
from tests.conftest import Clock

SCHOOL_ROLES = (Role.SCHOOL_LEADER, Role.PRIMARY_CONTACT, Role.SCHOOL_OFFICE)
PROVIDER_ROLES = (Role.ASP_WORKFLOW_LEAD, Role.ASP_CASE_MANAGER)
MINISTRY_ROLES = (
    Role.CENTRAL_INVESTIGATION,
    Role.NATIONAL_CONTRACTS,
    Role.REGIONAL_CONTRACT_MANAGER,
    Role.REGIONAL_OFFICE,
    Role.PROSECUTIONS,
    Role.TECHNICAL_SUPPORT,
    Role.SECURITY_ANALYST,
    Role.PRIVACY_OFFICER,
    Role.ADMINISTRATOR,
)


async def new_person(region: Region, who: str, place: str, username: str) -> None:
    body = {
        "username": username,
        "given_name": "New",
        "family_name": "Person",
        "email": "new@school.example",
        "organisation_id": str(region.organisations[place]),
    }
    made = await region.call(who, "POST", "/v1/people", body)
    assert made.status_code == HTTPStatus.CREATED, made.text
    region.people[username] = made.json()["id"]


async def test_leader_grants_every_school_role_at_their_school(region: Region) -> None:
    """AC-DO-1."""
    await new_person(region, "leader", MATAI, "relief")
    for role in SCHOOL_ROLES:
        granted = await region.grant("leader", "relief", role, MATAI)
        assert granted.status_code == HTTPStatus.CREATED, granted.text
        assert granted.json()["role"] == role
    grounds = [r.event.grounds[0] for r in (await region.log(e.ASSIGNMENT_GRANTED))[-3:]]
    assert {g.clause for g in grounds} == {"AC-DO-1"}
    assert {g.assignment_id for g in grounds} == {region.assignments["leader"]}


@pytest.mark.parametrize("role", [Role.ASP_CASE_MANAGER, Role.CENTRAL_INVESTIGATION])
async def test_a_role_must_fit_the_kind_of_organisation(region: Region, role: Role) -> None:
    """Contract: malformed before permission."""
    granted = await region.grant("leader", "contact", role, MATAI)
    assert granted.status_code == HTTPStatus.UNPROCESSABLE_ENTITY


@pytest.mark.parametrize("role", [Role.SECURITY_ANALYST, Role.ADMINISTRATOR])
async def test_leader_grants_no_back_office_role(region: Region, role: Role) -> None:
    """AC-DO-1: school roles only."""
    granted = await region.grant("leader", "contact", role, MATAI)
    assert granted.status_code == HTTPStatus.FORBIDDEN


async def test_nobody_names_themselves(region: Region) -> None:
    """AC-DO-1, 3, 5 and 16: never themselves."""
    for who, (held, place) in STAFF.items():
        fitting = {MINISTRY: MINISTRY_ROLES, KOTARE: PROVIDER_ROLES}.get(place, SCHOOL_ROLES)
        for role in set(fitting) - {held}:
            granted = await region.grant(who, who, role, place)
            assert granted.status_code == HTTPStatus.FORBIDDEN, (who, role)
        refused = (await region.log(e.REFUSED))[-1].event
        assert refused.actor.person_id == region.people[who]
        assert refused.data["code"] == "forbidden"


async def test_leader_has_no_say_at_another_school(region: Region) -> None:
    """AC-DO-1: whose school it is not, does not exist."""
    granted = await region.grant("leader", "contact", Role.PRIMARY_CONTACT, RIMU)
    assert granted.status_code == HTTPStatus.NOT_FOUND


@pytest.mark.parametrize("who", ["contact", "manager"])
async def test_who_decides_nothing_grants_nothing(region: Region, who: str) -> None:
    """AC-DO-2 and AC-DO-6 say nothing of access."""
    place = STAFF[who][1]
    role = Role.ASP_CASE_MANAGER if place == KOTARE else Role.PRIMARY_CONTACT
    other = "lead" if place == KOTARE else "office"
    granted = await region.grant(who, other, role, place)
    expected = HTTPStatus.FORBIDDEN if place == KOTARE else HTTPStatus.NOT_FOUND
    assert granted.status_code == expected


async def test_lead_grants_the_roles_of_their_provider(region: Region) -> None:
    """AC-DO-5."""
    await new_person(region, "lead", KOTARE, "newcomer")
    for role in (Role.ASP_CASE_MANAGER, Role.ASP_WORKFLOW_LEAD):
        granted = await region.grant("lead", "newcomer", role, KOTARE)
        assert granted.status_code == HTTPStatus.CREATED, granted.text
    grounds = (await region.log(e.ASSIGNMENT_GRANTED))[-1].event.grounds
    assert grounds[0].clause == "AC-DO-5"


async def test_administrator_grants_ministry_roles(region: Region) -> None:
    """AC-DO-16."""
    await new_person(region, "admin", MINISTRY, "recruit")
    for role in MINISTRY_ROLES:
        granted = await region.grant("admin", "recruit", role, MINISTRY)
        assert granted.status_code == HTTPStatus.CREATED, role
        event = (await region.log(e.ASSIGNMENT_GRANTED))[-1].event
        assert event.grounds[0].clause == "AC-DO-16"


async def test_administrator_grants_only_the_first_leader(region: Region) -> None:
    """AC-DO-16: an organisation's first leader, while it has none in force."""
    school = await region.organisation("Kauri School", OrganisationKind.SCHOOL)
    await new_person(region, "admin", "Kauri School", "first")
    first = await region.grant("admin", "first", Role.SCHOOL_LEADER, "Kauri School")
    assert first.status_code == HTTPStatus.CREATED, first.text
    second = await region.grant("admin", "contact", Role.SCHOOL_LEADER, "Kauri School")
    assert second.status_code == HTTPStatus.FORBIDDEN
    office = await region.grant("admin", "contact", Role.SCHOOL_OFFICE, "Kauri School")
    assert office.status_code == HTTPStatus.FORBIDDEN
    assert first.json()["organisation_id"] == str(school)


@pytest.mark.parametrize(
    ("place", "role"), [(TUI, Role.ISP_WORKFLOW_LEAD), (KOTARE, Role.ASP_WORKFLOW_LEAD)]
)
async def test_a_providers_first_lead_comes_from_an_administrator(
    region: Region, place: str, role: Role
) -> None:
    """AC-DO-16: only while there is none."""
    granted = await region.grant("admin", "contact", role, place)
    expected = HTTPStatus.CREATED if place == TUI else HTTPStatus.FORBIDDEN
    assert granted.status_code == expected, granted.text


async def test_of_two_first_leaders_at_once_one_lands(region: Region) -> None:
    """AC-DO-16: the first leader is one."""
    await region.organisation("Kauri School", OrganisationKind.SCHOOL)
    answers = await asyncio.gather(
        region.grant("admin", "contact", Role.SCHOOL_LEADER, "Kauri School"),
        region.grant("admin", "office", Role.SCHOOL_LEADER, "Kauri School"),
    )
    assert sorted(a.status_code for a in answers) == [HTTPStatus.CREATED, HTTPStatus.FORBIDDEN]


async def test_a_first_leader_from_a_later_day_is_the_first_already(
    region: Region, clock: Clock
) -> None:
    """AC-DO-16: dated ahead there is one too, until that post is over."""
    await region.organisation("Kauri School", OrganisationKind.SCHOOL)
    begins, ends = (clock.now() + timedelta(days=days) for days in (7, 14))
    dated = {"from": begins.isoformat(), "until": ends.isoformat()}
    role, place = Role.SCHOOL_LEADER, "Kauri School"
    first = await region.grant("admin", "contact", role, place, **dated)
    assert first.status_code == HTTPStatus.CREATED, first.text
    for when in (dated, {}, {"until": begins.isoformat()}):
        second = await region.grant("admin", "office", role, place, **when)
        assert second.status_code == HTTPStatus.FORBIDDEN, when
    newcomer = {
        "username": "late",
        "given_name": "Late",
        "family_name": "Comer",
        "email": "late@school.example",
        "organisation_id": str(region.organisations[place]),
    }
    registered = await region.call("admin", "POST", "/v1/people", newcomer)
    assert registered.status_code == HTTPStatus.FORBIDDEN
    clock.advance(timedelta(days=15))
    await region.sign_in("admin")
    later = await region.grant("admin", "office", role, place)
    assert later.status_code == HTTPStatus.CREATED, later.text


async def _first_leader(region: Region, name: str) -> None:
    granted = await region.grant("admin", name, Role.SCHOOL_LEADER, "Kauri School")
    assert granted.status_code == HTTPStatus.CREATED, granted.text
    region.assignments[name] = UUID(granted.json()["id"])


async def test_a_first_leader_given_by_mistake_is_taken_back_and_another_given(
    region: Region,
) -> None:
    """AC-DO-16, SG-3: by an administrator, as long as that is the last grant of the post."""
    await region.organisation("Kauri School", OrganisationKind.SCHOOL)
    for name in ("contact", "office"):
        await _first_leader(region, name)
        assert (await region.revoke("admin", name)).status_code == HTTPStatus.NO_CONTENT
    taken = (await region.log(e.ASSIGNMENT_REVOKED))[-1].event
    assert taken.grounds[0].clause == "AC-DO-16"
    assert taken.grounds[0].assignment_id == region.assignments["admin"]
    await _first_leader(region, "contact")


async def test_a_first_leader_is_the_schools_own_once_it_has_had_another(region: Region) -> None:
    """AC-DO-16: nor is one who was not of an administrator's giving ever theirs to take."""
    await region.organisation("Kauri School", OrganisationKind.SCHOOL)
    await _first_leader(region, "contact")
    await region.sign_in("contact")
    await new_person(region, "contact", "Kauri School", "second")
    second = await region.grant("contact", "second", Role.SCHOOL_LEADER, "Kauri School")
    region.assignments["second"] = UUID(second.json()["id"])
    for name in ("contact", "second", "leader"):
        refused = await region.revoke("admin", name)
        assert refused.status_code == HTTPStatus.FORBIDDEN, name
    assert (await region.revoke("contact", "second")).status_code == HTTPStatus.NO_CONTENT
    assert (await region.revoke("admin", "contact")).status_code == HTTPStatus.FORBIDDEN


async def test_no_administrator_takes_their_own_first_leadership_back(region: Region) -> None:
    """AC-DO-16: never their own assignments; of an administrator who leads, another's to take."""
    await region.organisation("Kauri School", OrganisationKind.SCHOOL)
    await region.person("other_admin", (Role.ADMINISTRATOR, MINISTRY))
    await _first_leader(region, "other_admin")
    assert (await region.revoke("other_admin", "other_admin")).status_code == HTTPStatus.FORBIDDEN
    assert (await region.revoke("admin", "other_admin")).status_code == HTTPStatus.NO_CONTENT


async def test_an_administrator_of_a_school_has_no_say_elsewhere(region: Region) -> None:
    """Back-office roles outside the Ministry see their own organisation only."""
    await region.person("local_admin", (Role.ADMINISTRATOR, MATAI))
    kauri = await region.organisation("Kauri School", OrganisationKind.SCHOOL)
    assert (
        await region.call("local_admin", "GET", f"/v1/organisations/{kauri}")
    ).status_code == 404
    granted = await region.grant("local_admin", "contact", Role.SCHOOL_LEADER, "Kauri School")
    assert granted.status_code == HTTPStatus.NOT_FOUND


@pytest.mark.parametrize("other", [(Role.SCHOOL_LEADER, RIMU), (Role.ADMINISTRATOR, MINISTRY)])
async def test_who_is_known_in_one_post_is_given_and_decided_nothing_in_another(
    region: Region, other: tuple[Role, str]
) -> None:
    """AC-DO-1: never the role of one assignment with the relation of another; each by itself."""
    await region.person("both", (Role.SCHOOL_LEADER, MATAI), other)
    path = f"/v1/people/{region.people['rimu_contact']}"
    assert (await region.call("both", "GET", path)).status_code == HTTPStatus.OK
    role = Role.SCHOOL_OFFICE

    granted = await region.grant("both", "rimu_contact", role, MATAI)
    decided = await region.decision("both", "rimu_contact", role)
    by_the_other = Role.REGIONAL_OFFICE if other[1] == MINISTRY else role
    own = await region.grant("both", "rimu_contact", by_the_other, other[1])
    of_matai = await region.grant("both", "office", Role.PRIMARY_CONTACT, MATAI)

    assert (granted.status_code, decided.status_code) == (HTTPStatus.FORBIDDEN,) * 2
    assert (own.status_code, of_matai.status_code) == (HTTPStatus.CREATED,) * 2
    rested = [r.event.grounds for r in (await region.log(e.ASSIGNMENT_GRANTED))[-2:]]
    at_matai = [
        [ground.assignment_id == region.assignments["both"] for ground in g] for g in rested
    ]
    assert at_matai == [[False], [True]]


async def test_the_office_knowing_somebody_makes_no_leader_by_its_other_post(
    region: Region,
) -> None:
    """AC-DO-16: an administrator of one school knows nobody there, whatever else they are."""
    await region.organisation("Kauri School", OrganisationKind.SCHOOL)
    posts = (Role.SCHOOL_OFFICE, "Kauri School"), (Role.ADMINISTRATOR, "Kauri School")
    await region.person("both", *posts)
    await region.person("colleague", (Role.PRIMARY_CONTACT, "Kauri School"))
    granted = await region.grant("both", "colleague", Role.SCHOOL_LEADER, "Kauri School")
    assert granted.status_code == HTTPStatus.FORBIDDEN


async def test_a_grant_ends_by_itself(region: Region, clock: Clock) -> None:
    """SG-14: time-limited access for relief staff; the session goes on, to oneself alone."""
    await new_person(region, "leader", MATAI, "relief")
    until = clock.now() + timedelta(minutes=2)
    granted = await region.grant(
        "leader", "relief", Role.SCHOOL_OFFICE, MATAI, until=until.isoformat()
    )
    assert granted.status_code == HTTPStatus.CREATED, granted.text
    await region.sign_in("relief")
    listing = f"/v1/organisations/{region.organisations[MATAI]}/staff"
    assert (await region.call("relief", "GET", listing)).status_code == HTTPStatus.OK
    clock.advance(timedelta(minutes=3))
    assert (await region.call("relief", "GET", listing)).status_code == HTTPStatus.NOT_FOUND
    oneself = await region.call("relief", "GET", "/v1/me")
    assert (oneself.status_code, oneself.json()["assignments"]) == (HTTPStatus.OK, [])
    assert await region.log(SESSION_ENDED) == []


async def test_a_grant_that_ends_before_it_begins_is_malformed(
    region: Region, clock: Clock
) -> None:
    past = (clock.now() - timedelta(days=1)).isoformat()
    granted = await region.grant("leader", "office", Role.PRIMARY_CONTACT, MATAI, until=past)
    assert granted.status_code == HTTPStatus.UNPROCESSABLE_ENTITY


async def test_no_assignment_begins_before_it_is_granted(region: Region, clock: Clock) -> None:
    past = (clock.now() - timedelta(days=400)).isoformat()
    granted = await region.grant("leader", "office", Role.PRIMARY_CONTACT, MATAI, **{"from": past})
    assert granted.status_code == HTTPStatus.CREATED
    event = (await region.log(e.ASSIGNMENT_GRANTED))[-1].event
    assert event.effective_at == clock.now()


async def test_a_role_already_held_is_a_conflict(region: Region) -> None:
    granted = await region.grant("leader", "contact", Role.PRIMARY_CONTACT, MATAI)
    assert granted.status_code == HTTPStatus.CONFLICT


async def test_unknown_people_and_people_elsewhere_answer_alike(region: Region) -> None:
    """Contract: a referenced person the caller may not see counts as unknown."""
    elsewhere = await region.grant("leader", "rimu_contact", Role.PRIMARY_CONTACT, MATAI)
    region.people["nobody"] = uuid4()
    nobody = await region.grant("leader", "nobody", Role.PRIMARY_CONTACT, MATAI)
    assert elsewhere.status_code == nobody.status_code == HTTPStatus.NOT_FOUND
    assert elsewhere.content == nobody.content
    refused = [r.event for r in await region.log(e.REFUSED)][-2:]
    assert [r.data["code"] for r in refused] == ["not_found", "not_found"]


async def test_a_former_member_of_staff_can_be_granted_again(region: Region) -> None:
    """AC-DO-1: who was registered there and works nowhere is known there."""
    await _left(region, "relief")
    again = await region.grant("leader", "relief", Role.PRIMARY_CONTACT, MATAI)
    assert again.status_code == HTTPStatus.CREATED


async def test_who_may_be_shut_out_is_seen_by_whoever_may(region: Region) -> None:
    """Contract: 404 before 403; AC-DO-5, AC-DO-16: who works nowhere any longer included."""
    await _left(region, "relief")
    path = f"/v1/people/{region.people['relief']}"
    answers = {}
    for who in ("contact", "rimu_leader", "lead", "office", "admin", "leader"):
        seen = await region.call(who, "GET", path)
        shut_out = await region.call(who, "POST", f"{path}/suspend", {"reason": "Because"})
        answers[who] = (seen.status_code, shut_out.status_code)
        assert seen.status_code != 200 or seen.json()["assignments"] == []
    nobody, may_see, may_do = (404, 404), (200, 403), (200, 200)
    assert list(answers.values()) == [nobody, nobody, nobody, may_see, may_see, may_do]
    mended = {"phone": "+64 4 111 1111"}
    tag = {"if-match": (await region.call("leader", "GET", path)).headers["etag"]}
    assert (await region.call("leader", "PATCH", path, mended, headers=tag)).status_code == 200


async def test_nobody_is_given_assignments_without_end(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SG-1: 409 with a code of its own; what is over counts no longer, what is elsewhere never."""
    monkeypatch.setattr(grants, "MOST_HELD", 2)
    await region.person("both", (Role.PRIMARY_CONTACT, MATAI), (Role.PRIMARY_CONTACT, RIMU))
    await region.organisation("Kauri School", OrganisationKind.SCHOOL)
    first_lead = (Role.SCHOOL_LEADER, "Kauri School")

    of_all = await region.grant("admin", "both", *first_lead)
    second = await region.grant("leader", "both", Role.SCHOOL_OFFICE, MATAI)
    third = await region.grant("leader", "both", Role.SCHOOL_LEADER, MATAI)
    revoked = await region.revoke("leader", "both")
    again = await region.grant("leader", "both", Role.SCHOOL_LEADER, MATAI)

    assert (of_all.status_code, of_all.json()["code"]) == (409, "too_many_assignments")
    assert (third.status_code, third.json()["code"]) == (409, "too_many_assignments")
    done = [answer.status_code for answer in (second, revoked, again)]
    assert done == [HTTPStatus.CREATED, HTTPStatus.NO_CONTENT, HTTPStatus.CREATED]
    refused = (await region.log(e.REFUSED))[-1].event
    assert (refused.outcome, refused.data["code"]) == (Outcome.FAILED, "too_many_assignments")


async def _left(region: Region, name: str) -> None:
    """Have somebody registered for Matai School, given a role there, and revoked."""
    await new_person(region, "leader", MATAI, name)
    held = await region.grant("leader", name, Role.PRIMARY_CONTACT, MATAI)
    region.assignments[name] = UUID(held.json()["id"])
    assert (await region.revoke("leader", name)).status_code == HTTPStatus.NO_CONTENT


@pytest.mark.parametrize(
    ("role", "place"),
    [(Role.SCHOOL_LEADER, "Kauri School"), (Role.REGIONAL_OFFICE, MINISTRY)],
)
async def test_who_has_gone_on_elsewhere_is_unknown_where_they_were(
    region: Region, role: Role, place: str
) -> None:
    """AC-DO-1, SG-1: a former leader neither attaches, shows, corrects nor shuts them out."""
    await region.organisation("Kauri School", OrganisationKind.SCHOOL)
    await _left(region, "relief")
    assert (await region.grant("admin", "relief", role, place)).status_code == HTTPStatus.CREATED
    path, why = f"/v1/people/{region.people['relief']}", {"reason": "Because"}
    match = {"if-match": "*"}

    answers = [
        await region.grant("leader", "relief", Role.PRIMARY_CONTACT, MATAI),
        await region.decision("leader", "relief", Role.PRIMARY_CONTACT),
        await region.call("leader", "GET", path),
        await region.call("leader", "PATCH", path, {"email": "x@evil.example"}, headers=match),
        await region.call("leader", "POST", f"{path}/suspend", why),
        await region.call("leader", "POST", f"{path}/reset", why),
    ]

    assert [answer.status_code for answer in answers] == [HTTPStatus.NOT_FOUND] * 6


async def test_a_revocation_ends_access_at_once_in_every_process(region: Region) -> None:
    """SG-3: also in another process, from the moment it is acknowledged."""
    other = await region.another()
    listing = f"/v1/organisations/{region.organisations[MATAI]}/staff"
    assert (await region.call("office", "GET", listing, at=other)).status_code == HTTPStatus.OK
    assert (await region.revoke("leader", "office")).status_code == HTTPStatus.NO_CONTENT
    after = await region.call("office", "GET", listing, at=other)
    assert after.status_code == HTTPStatus.UNAUTHORIZED
    ended = (await region.log(SESSION_ENDED))[-1].event
    assert ended.data["session_id"] == str(region.sessions["office"])
    assert ended.data["reason"] == "revoked"


async def test_who_keeps_another_assignment_stays_logged_in(region: Region) -> None:
    """SG-3: a change of role changes what one may, not who one is."""
    await region.grant("leader", "office", Role.PRIMARY_CONTACT, MATAI)
    assert (await region.revoke("leader", "office")).status_code == HTTPStatus.NO_CONTENT
    listing = f"/v1/organisations/{region.organisations[MATAI]}/staff"
    assert (await region.call("office", "GET", listing)).status_code == HTTPStatus.NOT_FOUND
    assert (await region.call("office", "GET", "/v1/organisations")).status_code == HTTPStatus.OK


async def test_a_revocation_needs_the_version_that_was_seen(region: Region) -> None:
    """Contract: 428 without If-Match, 412 when it is stale."""
    place = f"/v1/people/{region.people['office']}/assignments/{region.assignments['office']}"
    without = await region.call("leader", "DELETE", place)
    assert without.status_code == HTTPStatus.PRECONDITION_REQUIRED
    stale = await region.revoke("leader", "office", version='"stale"')
    assert stale.status_code == HTTPStatus.PRECONDITION_FAILED
    foreign = await region.version("admin", "office")
    theirs = await region.revoke("leader", "office", version=foreign)
    assert theirs.status_code == HTTPStatus.PRECONDITION_FAILED
    assert not await region.log(e.ASSIGNMENT_REVOKED)


async def test_nobody_revokes_their_own(region: Region) -> None:
    """AC-DO-1: never themselves."""
    assert (await region.revoke("leader", "leader")).status_code == HTTPStatus.FORBIDDEN


async def test_revoking_twice_finds_nothing_the_second_time(region: Region) -> None:
    tag = await region.version("leader", "contact")
    assert (await region.revoke("leader", "contact", version=tag)).status_code == 204
    assert (await region.revoke("leader", "contact", version=tag)).status_code == 404


async def test_an_assignment_of_somebody_else_is_not_found(region: Region) -> None:
    path = f"/v1/people/{region.people['contact']}/assignments/{region.assignments['office']}"
    answer = await region.call("leader", "DELETE", path, headers={"if-match": "*"})
    assert answer.status_code == HTTPStatus.NOT_FOUND


async def test_a_grant_is_repeated_by_its_key_and_granted_once(region: Region) -> None:
    """Contract: Idempotency-Key."""
    key = {"idempotency-key": "grant-1"}
    first = await region.grant("leader", "office", Role.PRIMARY_CONTACT, MATAI, headers=key)
    again = await region.grant("leader", "office", Role.PRIMARY_CONTACT, MATAI, headers=key)
    assert first.status_code == again.status_code == HTTPStatus.CREATED
    assert first.json() == again.json()
    of_office = [
        r
        for r in await region.log(e.ASSIGNMENT_GRANTED)
        if r.event.data["person_id"] == str(region.people["office"])
    ]
    assert len(of_office) == 2
    read = (await region.log(e.READ))[-1].event
    assert read.shown["assignment"] == [first.json()["id"]]


async def test_a_key_with_another_body_is_malformed(region: Region) -> None:
    """Contract: Idempotency-Key."""
    key = {"idempotency-key": "grant-1"}
    await region.grant("leader", "office", Role.PRIMARY_CONTACT, MATAI, headers=key)
    other = await region.grant("leader", "office", Role.SCHOOL_LEADER, MATAI, headers=key)
    assert other.status_code == HTTPStatus.UNPROCESSABLE_ENTITY


async def test_a_repeat_is_authorised_anew(region: Region) -> None:
    """Contract: a repeat shows nothing to whom may no longer see it."""
    await region.grant("leader", "office", Role.SCHOOL_LEADER, MATAI)
    await region.sign_in("office")
    await region.grant("leader", "contact", Role.SCHOOL_OFFICE, MATAI)
    key = {"idempotency-key": "grant-1"}
    body = (Role.SCHOOL_LEADER, MATAI)
    assert (await region.grant("office", "contact", *body, headers=key)).status_code == 201
    shut = f"/v1/people/{region.people['office']}/suspend"
    assert (await region.call("admin", "POST", shut, {"reason": "left"})).status_code == 200
    again = await region.grant("office", "contact", *body, headers=key)
    assert again.status_code == HTTPStatus.UNAUTHORIZED


async def test_the_same_key_twice_at_once_grants_once(region: Region) -> None:
    """Contract: of two at the same moment one is first, the other repeats it."""
    key = {"idempotency-key": "grant-1"}
    answers = await asyncio.gather(
        *(
            region.grant("leader", "office", Role.PRIMARY_CONTACT, MATAI, headers=key)
            for _ in range(3)
        )
    )
    assert [a.status_code for a in answers] == [HTTPStatus.CREATED] * 3
    assert len({a.json()["id"] for a in answers}) == 1


async def test_a_revoked_leader_leads_nowhere_whatever_the_clocks_say(region: Region) -> None:
    """SG-3: revoked by a process whose clock is ahead, over at once for one that is behind."""
    effects, person_id = region.installation.effects, region.people["leader"]
    revoked = Event(
        id=effects.new_id(),
        type=e.ASSIGNMENT_REVOKED,
        stream=f"person:{person_id}",
        version=int(
            await region.authz.runtime.pool.fetchval(
                "select max(version) from log.fact where stream = $1", f"person:{person_id}"
            )
        )
        + 1,
        recorded_at=effects.now() + timedelta(hours=1),
        touches=(e.person_key(person_id), e.organisation_key(region.organisations[MATAI])),
        data={"person_id": person_id, "assignment_id": region.assignments["leader"]},
    )
    await region.append(revoked)

    staff = await region.call(
        "admin", "GET", f"/v1/organisations/{region.organisations[MATAI]}/staff"
    )
    first = await region.grant("admin", "office", Role.SCHOOL_LEADER, MATAI)

    assert str(person_id) not in {one["person_id"] for one in staff.json()["items"]}
    assert first.status_code == HTTPStatus.CREATED, first.text
