"""Oneself: profile, activity, password, enrolment (AC-SEE-22, AC-DO-13, SG-2, SG-21)."""

import asyncio
from datetime import timedelta
from time import perf_counter
from unittest.mock import AsyncMock

import httpx
import pyotp
import pytest

from services.authz import events as e
from services.authz import seeding
from services.authz.credential_events import CREDENTIALS_RESET, CredentialsReset
from services.authz.passwords import Passwords
from services.authz.recording import data_of
from services.authz.session_events import LOGIN_FAILED, SESSION_ENDED, login_key
from services.kernel.events import Event, Outcome
from services.kernel.groups import Group
from tests.authz.door import (
    ELSEWHERE,
    HOME,
    PASSWORD,
    TOTP_SECRET,
    Door,
    Somebody,
    kept_password,
)

NEW_PASSWORD = "seven-copper-kettles-sing-41"


async def _patch(
    door: Door, token: str, body: object, if_match: str | None = None
) -> httpx.Response:
    headers = {"authorization": f"Bearer {token}"}
    if if_match is not None:
        headers["if-match"] = if_match
    return await door.at(HOME).patch("/v1/me", json=body, headers=headers)


async def _token(door: Door, somebody: Somebody, ip: str = HOME) -> str:
    return str((await door.log_in(somebody, ip))["access_token"])


async def test_reading_oneself_is_an_event_that_names_its_clause(door: Door) -> None:
    """AC-SEE-22, AC-USE-1."""
    leader = await door.somebody()
    token = await _token(door, leader)

    await door.get("/v1/me", token)

    (read,) = await door.of_type(e.READ)
    assert read.actor.person_id == leader.id
    assert read.actor.organisation_id == leader.organisation_id
    assert read.shown == {"profile": [str(leader.id)]}
    assert [(g.clause, g.assignment_id) for g in read.grounds] == [
        ("AC-SEE-22", leader.assignment_id)
    ]
    assert read.policy_version == door.authz.policy.version


async def test_a_304_about_oneself_is_recorded_like_a_disclosure(door: Door) -> None:
    """Contract: If-None-Match; once something has changed, it is shown."""
    token = await _token(door, await door.somebody())
    seen = await door.get("/v1/me", token)
    asked = {
        "authorization": f"Bearer {token}",
        "if-none-match": seen.headers["etag"],
    }

    unchanged = await door.at(HOME).get("/v1/me", headers=asked)
    first, again = await door.of_type(e.READ)
    await _patch(door, token, {"phone": "1"}, "*")
    changed = await door.at(HOME).get("/v1/me", headers=asked)

    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert unchanged.headers.get_list("etag") == [seen.headers["etag"]]
    assert (again.shown, again.grounds) == (first.shown, first.grounds)
    assert (changed.status_code, changed.json()["phone"]) == (200, "1")


async def test_profile_names_role_organisation_and_version(door: Door) -> None:
    """AC-SEE-22."""
    leader = await door.somebody()

    answer = await door.get("/v1/me", await _token(door, leader))

    assert answer.json() == {
        "person_id": str(leader.id),
        "given_name": "Aroha",
        "family_name": "Ngata",
        "email": "aroha.ngata@kowhai.example",
        "phone": "",
        "assignments": [
            {
                "id": str(leader.assignment_id),
                "role": "school_leader",
                "organisation_id": str(leader.organisation_id),
                "organisation": "Kowhai Street School",
                "from": answer.json()["assignments"][0]["from"],
                "until": None,
            }
        ],
        "version": answer.headers["etag"].strip('"'),
    }


async def test_everybody_corrects_their_own_profile(door: Door) -> None:
    """AC-DO-13."""
    leader = await door.somebody()
    token = await _token(door, leader)
    tag = (await door.get("/v1/me", token)).headers["etag"]

    corrected = await _patch(door, token, {"family_name": "Ngata-Reid", "phone": "+64 3 1"}, tag)
    seen = await door.get("/v1/me", token)

    assert corrected.status_code == 200
    assert seen.json()["family_name"] == "Ngata-Reid"
    assert seen.json()["given_name"] == "Aroha"
    assert seen.json()["phone"] == "+64 3 1"
    assert corrected.headers["etag"] == seen.headers["etag"] != tag
    (event,) = await door.of_type(e.PROFILE_CORRECTED)
    assert event.grounds[0].clause == "AC-DO-13"
    assert all(b"Ngata-Reid" not in r.body for r in await door.log())


async def test_correction_without_or_with_an_old_if_match_changes_nothing(door: Door) -> None:
    """Contract: 428 without, 412 when stale; both are recorded."""
    leader = await door.somebody()
    token = await _token(door, leader)
    tag = (await door.get("/v1/me", token)).headers["etag"]
    await _patch(door, token, {"phone": "1"}, tag)

    without = await _patch(door, token, {"phone": "2"})
    stale = await _patch(door, token, {"phone": "3"}, tag)

    assert (without.status_code, stale.status_code) == (428, 412)
    refused = await door.of_type(e.REFUSED)
    assert [r.data["code"] for r in refused] == ["if_match_required", "stale_version"]
    assert {r.outcome for r in refused} == {Outcome.FAILED}
    assert (await door.get("/v1/me", token)).json()["phone"] == "1"


@pytest.mark.parametrize(
    "body",
    [
        {"email": "no-address"},
        {"given_name": ""},
        {"given_name": "a\x00b"},
        {"given_name": "\u202eevil"},
        {"phone": "call me"},
        {"role": "administrator"},
        {"person_id": "x"},
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_malformed_correction_is_422(shared_door: Door, body: object) -> None:
    """AC-DO-13: names and contact details, nothing else."""
    door = shared_door
    leader = await door.somebody(f"aroha.{door.code()}")

    answer = await _patch(door, await _token(door, leader), body, "*")

    assert answer.status_code == 422
    assert await door.of_type(e.PROFILE_CORRECTED) == []


async def test_without_a_session_a_malformed_request_is_401(door: Door) -> None:
    """Contract: 401 comes before 422."""
    answer = await door.at(HOME).patch("/v1/me", content=b"{", headers={"purpose": "nosiness"})

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_password_change_lets_in_with_the_new_one_and_ends_other_sessions(
    door: Door,
) -> None:
    """SG-4, SG-21."""
    leader = await door.somebody()
    other, token = await _token(door, leader, ELSEWHERE), await _token(door, leader)

    changed = await door.post(
        "/v1/me/password",
        {"current_password": PASSWORD, "new_password": NEW_PASSWORD},
        token=token,
    )
    old = await door.post("/v1/login", {"username": leader.username, "password": PASSWORD})
    new = await door.post("/v1/login", {"username": leader.username, "password": NEW_PASSWORD})

    assert changed.status_code == 204
    assert (old.status_code, new.status_code) == (401, 200)
    assert (await door.get("/v1/me", token)).status_code == 200
    assert (await door.get("/v1/me", other)).status_code == 401
    assert all(NEW_PASSWORD.encode() not in r.body for r in await door.log())


async def test_password_change_ends_logins_that_are_half_way(door: Door) -> None:
    """SG-21: a first factor of the old password is worth nothing."""
    leader = await door.somebody()
    token = await _token(door, leader)
    half_way = await door.first_factor(leader)
    await door.post(
        "/v1/me/password",
        {"current_password": PASSWORD, "new_password": NEW_PASSWORD},
        token=token,
    )
    door.next_step()

    answer = await door.verify(half_way, door.code())

    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("current", "new", "status", "code"),
    [
        ("wrong-wrong-wrong", NEW_PASSWORD, 401, "bad_credentials"),
        (PASSWORD, "tiny-wren", 422, "password_too_short"),
        (PASSWORD, PASSWORD, 422, "password_reused"),
        (PASSWORD, "aroha-likes-copper-kettles-41", 422, "password_holds_own_details"),
        (PASSWORD, "password12345", 422, "password_guessable"),
        (PASSWORD, "seven-copper\x00kettles-sing", 422, "password_malformed"),
    ],
)
async def test_password_change_is_refused_with_its_reason(
    door: Door, current: str, new: str, status: int, code: str
) -> None:
    """SG-4, SG-21; AC-USE-1: the reason rests on what is kept of the person, so it is recorded."""
    leader = await door.somebody()
    token = await _token(door, leader)

    answer = await door.post(
        "/v1/me/password", {"current_password": current, "new_password": new}, token=token
    )

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    failed = [r.event for r in await door.log() if r.event.outcome is Outcome.FAILED]
    assert [(f.type, f.actor.person_id) for f in failed] == [
        (LOGIN_FAILED if status == 401 else e.REFUSED, leader.id)
    ]
    assert {f.data["code"] for f in failed if f.type == e.REFUSED} <= {code}
    assert all(new.encode() not in r.body for r in await door.log())


async def test_a_password_is_changed_or_tried_ten_times_an_hour(door: Door) -> None:
    """SG-4: what is refused says which ones were used before, to whoever holds the session."""
    leader = await door.somebody()
    token = await _token(door, leader)
    body = {"current_password": PASSWORD, "new_password": "password12345"}
    answers = [await door.post("/v1/me/password", body, token=token) for _ in range(11)]
    assert [answer.status_code for answer in answers] == [422] * 10 + [429]
    assert answers[-1].headers["retry-after"] == "3600"
    door.clock.advance(timedelta(hours=1))
    door.next_step()
    again = await _token(door, leader)
    assert (await door.post("/v1/me/password", body, token=again)).status_code == 422


async def _enrol(door: Door, invitation: str) -> tuple[str, list[str]]:
    """Enrol; return the new secret and the recovery codes."""
    begun = await door.post("/v1/enrolment", {"invitation": invitation, "password": NEW_PASSWORD})
    assert begun.status_code == 200, begun.text
    secret = str(begun.json()["totp_secret"])
    code = pyotp.TOTP(secret).at(door.clock.now())
    done = await door.post("/v1/enrolment/confirm", {"invitation": invitation, "code": code})
    assert done.status_code == 200, done.text
    return secret, done.json()["recovery_codes"]


async def test_enrolment_lets_in_with_the_new_password_and_secret(door: Door) -> None:
    """SG-2."""
    leader = await door.somebody()
    secret, codes = await _enrol(door, await door.invite(leader))
    door.next_step()

    begun = await door.post("/v1/login", {"username": leader.username, "password": NEW_PASSWORD})
    token = begun.json()["login_token"]
    answer = await door.verify(token, pyotp.TOTP(secret).at(door.clock.now()))

    assert answer.status_code == 200
    assert len(set(codes)) == 10
    bodies = b"".join(r.body for r in await door.log())
    assert not [c for c in (*codes, secret, NEW_PASSWORD) if c.encode() in bodies]


async def test_an_invitation_begins_ten_enrolments_an_hour_and_the_next_costs_no_hash(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SG-4: it says which passwords were used before, to whoever else holds it; nobody is shut out.

    At once as in turn, whatever each of them came to; another invitation has ten of its own.
    """
    leader = await door.somebody()
    body = {"invitation": await door.invite(leader), "password": NEW_PASSWORD}

    async def begin(**more: str) -> int:
        return (await door.post("/v1/enrolment", {**body, **more})).status_code

    answers = [await begin(password=PASSWORD) for _ in range(3)]
    answers += [await begin() for _ in range(5)]
    answers += await asyncio.gather(*(begin() for _ in range(4)))
    run = AsyncMock()
    with monkeypatch.context() as counted:
        counted.setattr(Passwords, "_run", run)
        late = await door.post("/v1/enrolment", body, ELSEWHERE)
    door.clock.advance(timedelta(hours=1))

    assert sorted(answers) == [*[200] * 7, *[422] * 3, *[429] * 2]
    assert (late.status_code, late.headers["retry-after"]) == (429, "3600")
    assert run.await_count == 0
    assert await begin() == 200
    assert await begin(invitation=await door.invite(leader)) == 200


async def test_nothing_changes_before_the_second_factor_is_confirmed(door: Door) -> None:
    """SG-2: an invitation alone opens nothing."""
    leader = await door.somebody()
    invitation = await door.invite(leader)
    await door.post("/v1/enrolment", {"invitation": invitation, "password": NEW_PASSWORD})

    new = await door.post("/v1/login", {"username": leader.username, "password": NEW_PASSWORD})
    wrong = await door.post("/v1/enrolment/confirm", {"invitation": invitation, "code": "000000"})

    assert new.status_code == 401
    assert (wrong.status_code, wrong.json()["code"]) == (422, "bad_code")
    assert (await door.log_in(leader))["token_type"] == "Bearer"


async def test_invitation_serves_once_and_ends_the_sessions_there_were(door: Door) -> None:
    """SG-21: the same path is a forced reset."""
    leader = await door.somebody()
    token = await _token(door, leader)
    invitation = await door.invite(leader)
    await _enrol(door, invitation)

    again = await door.post("/v1/enrolment", {"invitation": invitation, "password": NEW_PASSWORD})

    assert (await door.get("/v1/me", token)).status_code == 401
    assert (again.status_code, again.json()["code"]) == (401, "bad_invitation")
    assert [s.data["reason"] for s in await door.of_type(SESSION_ENDED)] == ["reset"]


async def test_code_that_confirmed_the_enrolment_logs_nobody_in(door: Door) -> None:
    """SG-2: it was used."""
    leader = await door.somebody()
    secret, _ = await _enrol(door, await door.invite(leader))

    begun = await door.post("/v1/login", {"username": leader.username, "password": NEW_PASSWORD})
    token = begun.json()["login_token"]
    answer = await door.verify(token, pyotp.TOTP(secret).at(door.clock.now()))

    assert answer.status_code == 401


async def test_old_or_unknown_invitations_are_refused_alike(door: Door) -> None:
    """SG-4."""
    leader = await door.somebody()
    invitation = await door.invite(leader)
    door.clock.advance(timedelta(days=7))

    answers = [
        await door.post("/v1/enrolment", {"invitation": i, "password": NEW_PASSWORD})
        for i in (invitation, "A" * 43)
    ]

    assert [(a.status_code, a.json()["code"]) for a in answers] == [(401, "bad_invitation")] * 2


async def test_recovery_code_begins_one_session(door: Door) -> None:
    """SG-2: one-time, like every code."""
    leader = await door.somebody()
    _, codes = await _enrol(door, await door.invite(leader))
    statuses = []
    for code in (codes[0], codes[0], codes[1].upper(), "aaaa-aaaa-aaaa-aaaa"):
        begun = await door.post(
            "/v1/login", {"username": leader.username, "password": NEW_PASSWORD}
        )
        token = begun.json()["login_token"]
        answer = await door.verify(token, code, method="recovery_code")
        statuses.append(answer.status_code)

    assert statuses == [200, 401, 200, 401]


async def test_reset_credentials_let_nobody_in(door: Door) -> None:
    """SG-21: a forced reset is a containment act."""
    leader = await door.somebody()
    half_way = await door.first_factor(leader)
    event = Event(
        id=door.authz.runtime.effects.new_id(),
        type=CREDENTIALS_RESET,
        stream=f"person:{leader.id}",
        version=await door.person_version(leader) + 1,
        recorded_at=door.clock.now(),
        action="update",
        touches=(e.person_key(leader.id), login_key(leader.id)),
        data=data_of(CredentialsReset(person_id=leader.id)),
    )
    await door.append(Group([event]))

    first = await door.post("/v1/login", {"username": leader.username, "password": PASSWORD})
    second = await door.verify(half_way, door.code())

    assert (first.status_code, second.status_code) == (401, 401)


async def test_five_hundred_people_are_built_within_a_second(door: Door) -> None:
    """A demonstration begins quickly."""
    runtime = door.authz.runtime
    ids = [runtime.effects.new_id() for _ in range(500)]
    await runtime.keys.load((r for i in ids for r in seeding.needed_keys(i)), create=True)
    kept, now = kept_password(), door.clock.now()
    profile = e.Profile(given_name="Aroha", family_name="Ngata", email="a@kowhai.example")

    started = perf_counter()
    built = [
        seeding.person_events(
            runtime.keys,
            runtime.effects,
            door.authz.usernames,
            person_id=person_id,
            username=f"staff.{number}",
            profile=profile,
            password_hash=kept,
            totp_secret=TOTP_SECRET,
            assignments=[],
            recorded_at=now,
        )
        for number, person_id in enumerate(ids)
    ]
    seconds = perf_counter() - started

    assert seconds < 1
    assert [event.version for event in built[0]] == [1, 2, 3]
    await door.append(Group([event for events in built for event in events]))
    assert await runtime.pool.fetchval("select count(*) from authz.account") == 500
