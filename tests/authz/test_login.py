"""Logging in (SG-2, SG-4, AC-USE-1)."""

import asyncio
import json
from datetime import timedelta

import msgspec
import pytest

from services.authz import events as e
from services.authz import passwords, totp
from services.authz.credentials import CredentialSealer
from services.authz.recording import data_of
from services.authz.session_events import LOGIN_FAILED, SESSION_STARTED, login_key
from services.kernel.events import Event, Outcome
from services.kernel.groups import Group
from services.kernel.runtime import Installation
from services.kernel.sealing import Compartment, KeyRef, period_subject
from tests.authz.door import ELSEWHERE, HOME, PASSWORD, Door, Somebody, opened, two_opened
from tests.conftest import Clock


async def test_password_and_code_begin_a_session_that_shows_the_own_profile(door: Door) -> None:
    """SG-2, AC-SEE-22."""
    leader = await door.somebody()

    tokens = await door.log_in(leader)
    seen = await door.get("/v1/me", tokens["access_token"])

    assert tokens["token_type"] == "Bearer"
    assert tokens["expires_in"] == 300
    assert seen.status_code == 200
    assert seen.json()["given_name"] == "Aroha"
    assert seen.json()["assignments"][0]["role"] == "school_leader"


async def test_first_factor_answers_a_token_and_the_methods(door: Door) -> None:
    """SG-2."""
    leader = await door.somebody()

    answer = await door.post("/v1/login", {"username": leader.username, "password": PASSWORD})

    assert answer.status_code == 200
    assert answer.json()["methods"] == ["totp", "recovery_code"]
    assert set(answer.json()) == {"login_token", "methods"}


async def test_login_token_is_no_access_token(door: Door) -> None:
    """SG-2: one factor opens nothing."""
    leader = await door.somebody()

    answer = await door.get("/v1/me", await door.first_factor(leader))

    assert answer.status_code == 401


async def test_access_token_is_no_login_token(door: Door) -> None:
    """SG-2."""
    leader = await door.somebody()
    tokens = await door.log_in(leader)
    door.next_step()

    answer = await door.verify(tokens["access_token"], door.code())

    assert answer.status_code == 401


async def test_unknown_name_suspended_person_and_wrong_password_answer_alike(door: Door) -> None:
    """SG-4: nobody learns from an answer whether an account exists."""
    leader = await door.somebody()
    suspended = await door.somebody("hemi.walker", "Hemi", "Walker")
    await door.suspend(suspended)
    tried = (
        {"username": leader.username, "password": "not-the-password-at-all"},
        {"username": "nobody.here", "password": "not-the-password-at-all"},
        {"username": suspended.username, "password": PASSWORD},
    )

    answers = [await door.post("/v1/login", body) for body in tried]

    bodies = [{k: v for k, v in a.json().items() if k != "request_id"} for a in answers]
    headers = [{k: v for k, v in a.headers.items() if k != "x-request-id"} for a in answers]
    assert [a.status_code for a in answers] == [401, 401, 401]
    assert bodies[0] == bodies[1] == bodies[2]
    for other in headers[1:]:
        assert set(other) == set(headers[0])


async def test_unknown_name_costs_the_same_work_and_at_least_the_same_time(
    installation: Installation, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SG-4: time says nothing either."""
    hashes: list[str] = []

    def matches(kept: str, password: str) -> bool:
        hashes.append(kept.rpartition("$")[0].rpartition("$")[0])
        return passwords_match(kept, password)

    passwords_match = passwords.matches
    monkeypatch.setattr(passwords, "matches", matches)
    loop = asyncio.get_running_loop()
    seconds = []
    async with opened(installation, clock, effort=passwords.FULL) as door:
        leader = await door.somebody()
        for username in (leader.username, "nobody.here"):
            started = loop.time()
            await door.post("/v1/login", {"username": username, "password": "x" * 20})
            seconds.append(loop.time() - started)

    assert hashes[0] == hashes[1]
    assert hashes[0].startswith("$argon2id$v=19$m=19456,t=2,p=1")
    assert min(seconds) >= 0.25


async def test_failed_login_names_the_person_where_the_account_is_known(door: Door) -> None:
    """SG-9: repeated failures can be seen per person."""
    leader = await door.somebody()

    await door.post("/v1/login", {"username": leader.username, "password": "wrong-wrong-wrong"})
    await door.post("/v1/login", {"username": "nobody.here", "password": "wrong-wrong-wrong"})

    known, unknown = await door.of_type(LOGIN_FAILED)
    assert known.outcome is Outcome.FAILED
    assert known.actor.person_id == leader.id
    assert known.data["stage"] == "password"
    assert unknown.actor.person_id is None
    assert known.origin.sealed is not None


async def test_used_code_is_refused_for_good(door: Door) -> None:
    """SG-2: a code serves once, even with a new login token, even a step later."""
    leader = await door.somebody()
    await door.log_in(leader)
    used = door.code()

    again = await door.verify(await door.first_factor(leader), used)
    door.next_step()
    later = await door.verify(await door.first_factor(leader), used)

    assert [again.status_code, later.status_code] == [401, 401]
    assert [f.data["stage"] for f in await door.of_type(LOGIN_FAILED)] == ["totp", "totp"]


async def test_code_older_than_a_used_one_is_refused(door: Door) -> None:
    """SG-2: codes only go forward."""
    leader = await door.somebody()
    older = door.code()
    await door.log_in(leader)

    answer = await door.verify(await door.first_factor(leader), older)

    assert answer.status_code == 401


async def test_one_code_in_two_processes_at_once_begins_one_session(
    installation: Installation, clock: Clock
) -> None:
    """SG-2: the log decides, not a process."""
    async with two_opened(installation, clock) as (here, there):
        leader = await here.somebody()
        await there.authz.runtime.projector.reached(await there.authz.runtime.projector.head())
        tokens = [await here.first_factor(leader) for _ in range(6)]
        code = here.code()

        answers = await asyncio.gather(
            *(
                door.verify(token, code)
                for door, token in zip([here, there] * 3, tokens, strict=True)
            )
        )

        assert sorted({a.status_code for a in answers} - {429}) == [200, 401]
        assert len(await here.of_type(SESSION_STARTED)) == 1


async def test_one_recovery_code_in_two_processes_at_once_begins_one_session(
    installation: Installation, clock: Clock
) -> None:
    """SG-2: like a code of the authenticator, and no other code of the set is used up with it."""
    async with two_opened(installation, clock) as (here, there):
        leader = await here.somebody()
        first, second = totp.new_recovery_codes(bytes(range(20)))
        await _with_recovery_codes(here, leader, first, second)
        await there.authz.runtime.projector.reached(await there.authz.runtime.projector.head())
        tokens = [await here.first_factor(leader) for _ in range(4)]

        answers = await asyncio.gather(
            *(
                door.verify(token, first, method="recovery_code")
                for door, token in zip([here, there] * 2, tokens, strict=True)
            )
        )
        token = await here.first_factor(leader)
        other = await here.verify(token, second, method="recovery_code")

        assert sorted(a.status_code for a in answers) == [200, 401, 401, 401]
        assert other.status_code == 200
        assert len(await here.of_type(SESSION_STARTED)) == 2


async def _with_recovery_codes(door: Door, somebody: Somebody, *codes: str) -> None:
    runtime = door.authz.runtime
    sealer = CredentialSealer(runtime.keys, runtime.effects, somebody.id)
    carried = sealer.recovery([totp.recovery_hash(code) for code in codes])
    issued = Event(
        id=carried.event_id,
        type=carried.type,
        stream=f"person:{somebody.id}",
        version=await door.person_version(somebody) + 1,
        recorded_at=door.clock.now(),
        touches=(e.person_key(somebody.id), login_key(somebody.id)),
        data=data_of(carried.payload),
    )
    await door.append(Group([issued]))


async def test_login_token_begins_one_session_only(door: Door) -> None:
    """SG-2: not even with another code."""
    leader = await door.somebody()
    token = await door.first_factor(leader)
    first = await door.verify(token, door.code())
    door.next_step()

    second = await door.verify(token, door.code())

    assert first.status_code == 200
    assert second.status_code == 401


async def test_login_token_ends_after_five_minutes(door: Door) -> None:
    """SG-2."""
    leader = await door.somebody()
    token = await door.first_factor(leader)
    door.clock.advance(timedelta(minutes=5))

    answer = await door.verify(token, door.code())

    assert answer.status_code == 401
    assert await door.of_type(SESSION_STARTED) == []


async def test_suspension_between_the_factors_keeps_out(door: Door) -> None:
    """SG-3."""
    leader = await door.somebody()
    token = await door.first_factor(leader)
    await door.suspend(leader)

    answer = await door.verify(token, door.code())

    assert answer.status_code == 401
    assert await door.of_type(SESSION_STARTED) == []


async def test_session_start_keeps_address_and_device_sealed(door: Door) -> None:
    """AC-USE-1, SG-18."""
    leader = await door.somebody()
    await door.log_in(leader)

    (started,) = await door.of_type(SESSION_STARTED)

    ref = KeyRef(period_subject("origin", started.recorded_at), Compartment.ORIGIN)
    keys = door.authz.runtime.keys
    await keys.load([ref])
    origin = msgspec.json.decode(keys.open(ref, started.id, "origin", started.origin.sealed or ""))
    assert origin["ip"] == HOME
    assert origin["device"] == "Firefox on Windows"
    assert all(HOME.encode() not in r.body for r in await door.log())


async def test_second_session_says_that_another_is_live(door: Door) -> None:
    """SG-4: two simultaneous sessions are an event worth an alert."""
    leader = await door.somebody()
    await door.log_in(leader)
    await door.log_in(leader, ELSEWHERE)

    first, second = await door.of_type(SESSION_STARTED)

    assert first.data["other_sessions"] == 0
    assert second.data["other_sessions"] == 1


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"username": "x"},
        {"username": "x", "password": ""},
        {"username": "x" * 255, "password": "y"},
        {"username": "x", "password": "y" * 1025},
        {"username": 1, "password": "y"},
        {"username": "\ud800", "password": "y"},
        {"username": "x", "password": "y", "extra": 1},
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_malformed_login_is_422_and_repeats_nothing(shared_door: Door, body: object) -> None:
    """SG-18."""
    content = json.dumps(body)
    answer = await shared_door.at(HOME).post(
        "/v1/login", content=content, headers={"content-type": "application/json"}
    )

    assert answer.status_code == 422
    assert "xxx" not in answer.text
    assert "yyy" not in answer.text


async def test_name_of_control_characters_is_just_a_wrong_name(door: Door) -> None:
    """SG-4: nothing typed reaches the database as text."""
    body = {"username": "a\x00b\x1b", "password": "c\x00d"}

    answer = await door.post("/v1/login", body)

    assert answer.status_code == 401


async def test_no_body_in_the_log_holds_what_was_typed_or_handed_out(door: Door) -> None:
    """SG-18: people type passwords into the field for the name."""
    leader = await door.somebody()
    tokens = await door.log_in(leader)
    typed = "hunter2-typed-in-the-wrong-field"
    await door.post("/v1/login", {"username": typed, "password": "another-secret-typed"})
    await door.post("/v1/login", {"username": leader.username, "password": "mistyped-secret"})
    refreshed = await door.post("/v1/token/refresh", {"refresh_token": tokens["refresh_token"]})
    await door.get("/v1/me", refreshed.json()["access_token"])
    await door.post("/v1/logout", {}, token=refreshed.json()["access_token"])

    bodies = [r.body for r in await door.log()]
    secrets = (
        typed,
        "another-secret-typed",
        "mistyped-secret",
        PASSWORD,
        leader.username,
        "Ngata",
        tokens["access_token"],
        tokens["refresh_token"],
        refreshed.json()["refresh_token"],
        "argon2",
        "JBSWY3DPEHPK3PXP",
    )
    assert len(bodies) > 8
    for secret in secrets:
        assert not [b for b in bodies if secret.encode() in b], secret
