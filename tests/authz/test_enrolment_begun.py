"""Invitations that somebody tries: seen each time, bounded, and never a login (AC-USE-1, SG-9)."""

import httpx
import pytest

from services.audit.detection import rules
from services.authz import events as e
from services.authz.credential_events import ENROLMENT_BEGUN
from services.authz.recording import person_object
from services.authz.session_events import LOGIN_FAILED, SESSION_STARTED
from services.kernel.events import Actor, Outcome
from services.kernel.origins import Places
from tests.authz.door import ELSEWHERE, PASSWORD, Door, log_away

NEW_PASSWORD = "seven-copper-kettles-sing-41"


async def _begin(door: Door, invitation: str, password: str = NEW_PASSWORD) -> httpx.Response:
    body = {"invitation": invitation, "password": password}
    return await door.post("/v1/enrolment", body, ELSEWHERE)


async def test_begun_enrolment_stands_in_the_log_with_whose_and_where_from(door: Door) -> None:
    """AC-USE-1: a stolen invitation that is tried is seen, each time, and is no login."""
    leader = await door.somebody()
    invitation = await door.invite(leader)

    answers = [await _begin(door, invitation) for _ in range(2)]

    begun, places = await door.of_type(ENROLMENT_BEGUN), Places(door.authz.runtime.keys)
    assert [answer.status_code for answer in answers] == [200, 200]
    await places.load(begun)
    assert [places.of(event).ip for event in begun] == [ELSEWHERE] * 2
    for event in begun:
        assert (event.action, event.outcome) == ("enrol", Outcome.ALLOWED)
        assert event.actor == Actor(person_id=leader.id, organisation_id=leader.organisation_id)
        assert event.object == person_object(leader.id)
        assert (event.data, event.origin.session_id) == ({}, None)
    assert await door.of_type(SESSION_STARTED) == await door.of_type(LOGIN_FAILED) == []
    secrets = [answer.json()["totp_secret"] for answer in answers]
    bodies = b"".join(r.body for r in await door.log())
    assert not [s for s in (*secrets, NEW_PASSWORD, invitation) if s.encode() in bodies]


async def test_one_sees_in_ones_own_activity_that_an_invitation_of_ones_was_tried(
    door: Door,
) -> None:
    """AC-SEE-22: whose invitation was stolen is the first who can tell."""
    leader = await door.somebody()
    await _begin(door, await door.invite(leader))

    token = (await door.log_in(leader))["access_token"]
    items = (await door.get("/v1/me/activity", token)).json()["items"]

    seen = [(i["origin"]["ip"], i["action"]) for i in items if i["type"] == ENROLMENT_BEGUN]
    assert seen == [(ELSEWHERE, "enrol")]


@pytest.mark.parametrize(
    ("password", "code"),
    [(PASSWORD, None), ("aroha-likes-copper-41", "password_holds_own_details")],
)
async def test_a_password_that_is_refused_is_recorded_before_its_reason_is_told(
    door: Door, password: str, code: str | None
) -> None:
    """SG-4: which passwords somebody had, and who they are, is what the reason rests on."""
    leader = await door.somebody()

    answer = await _begin(door, await door.invite(leader), password)

    (refused,) = await door.of_type(e.REFUSED)
    assert (answer.status_code, answer.json()["code"]) == (422, code or "password_reused")
    assert (refused.action, refused.outcome) == ("enrol", Outcome.FAILED)
    assert refused.actor == Actor(person_id=leader.id, organisation_id=leader.organisation_id)
    assert refused.data == {"code": answer.json()["code"]}
    assert await door.of_type(ENROLMENT_BEGUN) == []


@pytest.mark.parametrize("password", [NEW_PASSWORD, PASSWORD])
async def test_what_cannot_be_recorded_is_not_answered_and_begins_nothing(
    door: Door, password: str
) -> None:
    """Design: no disclosure without a record."""
    invitation = await door.invite(await door.somebody())

    with log_away():
        answer = await _begin(door, invitation, password)

    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert "totp" not in answer.text
    assert await door.authz.runtime.pool.fetchval("select count(*) from authz.enrolment") == 0


async def test_nothing_begins_with_an_invitation_that_is_wrong(door: Door) -> None:
    """SG-9: it is a failed login, as before."""
    await door.somebody()

    assert (await _begin(door, "A" * 43)).status_code == 401
    assert await door.of_type(ENROLMENT_BEGUN) == []
    assert len(await door.of_type(LOGIN_FAILED)) == 1


def test_no_detection_takes_it_for_a_login_or_for_a_failure() -> None:
    """SG-9: hours, places, first uses and failures are of logins."""
    assert ENROLMENT_BEGUN not in rules.TYPES
