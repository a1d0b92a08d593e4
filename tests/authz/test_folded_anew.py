"""While read models are folded anew, nobody who is right is told that they are wrong (SG-9)."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Final
from uuid import UUID

import httpx
import msgspec
import pyotp
import pytest

from services.authz import attempts as admitted
from services.authz import desk, enrolment, own_password, seeding, self_desk, sessions, visits
from services.authz import events as e
from services.authz.access import AccessTokens
from services.authz.credential_events import CREDENTIAL_SET, INVITATION_ISSUED
from services.authz.credentials import CredentialSealer
from services.authz.desk import Desk
from services.authz.invitations import Invitations
from services.authz.me import Me
from services.authz.recording import data_of
from services.authz.session_events import LOGIN_FAILED, SESSION_ENDED, login_key
from services.authz.sessions import Sessions
from services.kernel import batches, boundary, handling
from services.kernel.batches import Folded
from services.kernel.events import Actor, Event, Outcome
from services.kernel.groups import Group
from services.kernel.runtime import Installation
from tests.authz.door import (
    ELSEWHERE,
    HOME,
    PASSWORD,
    Door,
    Somebody,
    kept_password,
    two_opened,
)
from tests.conftest import Clock
from tests.emptied import emptied, emptied_after, emptied_before, empty, unfolded

NEW_PASSWORD = "basalt-heron-candle-58-wharf"
CLIENT_SECRET = "c2VydmljZSBjbGllbnQgc2VjcmV0IG9mIHRoZSB0ZXN0"

#: sends right credentials, and answers what came of it
Attempt = Callable[[], Awaitable[httpx.Response]]
Way = Callable[[Door, Somebody], Awaitable[Attempt]]


async def _fact(
    door: Door, somebody: Somebody, type_: str, event_id: UUID, data: msgspec.Struct
) -> None:
    event = Event(
        id=event_id,
        type=type_,
        stream=f"person:{somebody.id}",
        version=await door.person_version(somebody) + 1,
        recorded_at=door.clock.now(),
        action="update",
        touches=(e.person_key(somebody.id), login_key(somebody.id)),
        data=data_of(data),
    )
    await door.append(Group([event]))


async def _invitation(door: Door, somebody: Somebody) -> str:
    event_id = door.authz.runtime.effects.new_id()
    invitation = Invitations(door.authz.runtime.installation.secret("invitation")).of(event_id)
    await _fact(door, somebody, INVITATION_ISSUED, event_id, invitation.issued_to(somebody.id))
    return invitation.token


async def _password(door: Door, leader: Somebody) -> Attempt:
    body = {"username": leader.username, "password": PASSWORD}
    return lambda: door.post("/v1/login", body)


async def _second_factor(door: Door, leader: Somebody) -> Attempt:
    token = await door.first_factor(leader)
    return lambda: door.verify(token, door.code())


async def _enrolment(door: Door, leader: Somebody) -> Attempt:
    body = {"invitation": await _invitation(door, leader), "password": NEW_PASSWORD}
    return lambda: door.post("/v1/enrolment", body)


async def _confirmation(door: Door, leader: Somebody) -> Attempt:
    invitation = {"invitation": await _invitation(door, leader)}
    begun = await door.post("/v1/enrolment", {**invitation, "password": NEW_PASSWORD})
    shown = pyotp.TOTP(begun.json()["totp_secret"])

    async def attempt() -> httpx.Response:
        body = {**invitation, "code": shown.at(door.clock.now())}
        return await door.post("/v1/enrolment/confirm", body)

    return attempt


async def _own_password(door: Door, leader: Somebody) -> Attempt:
    token = (await door.log_in(leader))["access_token"]
    assert (await door.get("/v1/me", token)).is_success
    body = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
    return lambda: door.post("/v1/me/password", body, token=token)


def _refreshing(tokens: Mapping[str, str]) -> dict[str, str]:
    return {"refresh_token": tokens["refresh_token"]}


async def _refreshed(door: Door, leader: Somebody) -> Attempt:
    body = _refreshing(await door.log_in(leader))
    return lambda: door.post("/v1/token/refresh", body)


async def _logout(door: Door, leader: Somebody) -> Attempt:
    token = (await door.log_in(leader))["access_token"]
    assert (await door.get("/v1/me", token)).is_success
    return lambda: door.post("/v1/logout", {}, token=token)


async def _own_profile(door: Door, leader: Somebody) -> Attempt:
    token = (await door.log_in(leader))["access_token"]
    return lambda: door.get("/v1/me", token)


async def _own_school(door: Door, leader: Somebody) -> Attempt:
    token = (await door.log_in(leader))["access_token"]
    return lambda: door.get(f"/v1/organisations/{leader.organisation_id}", token)


async def _everybody_reset(door: Door, leader: Somebody) -> Attempt:
    token = (await door.log_in(leader))["access_token"]
    path, body = f"/v1/organisations/{leader.organisation_id}/reset", {"reason": "A stolen list."}
    return lambda: door.post(path, body, token=token)


async def _client(door: Door, _: Somebody) -> Attempt:
    runtime = door.authz.runtime
    await runtime.keys.load(seeding.client_keys("feeds-1"), create=True)
    events = seeding.client_events(
        runtime.keys,
        runtime.effects,
        client_id="feeds-1",
        name="Enrolment feed",
        scopes=("feeds",),
        secret=CLIENT_SECRET,
        recorded_at=door.clock.now(),
    )
    await door.append(Group(events))
    form, auth = {"grant_type": "client_credentials"}, ("feeds-1", CLIENT_SECRET)
    return lambda: door.at(HOME).post("/v1/token", data=form, auth=auth)


WAYS: Final = (
    _confirmation,
    _own_password,
    _logout,
    _refreshed,
    _client,
    _enrolment,
    _password,
    _second_factor,
)


async def _counted(door: Door) -> int:
    failures: int = await door.authz.runtime.pool.fetchval(
        "select coalesce(sum(failures), 0) from authz.throttle"
    )
    return failures


@pytest.mark.parametrize("name", ["authz.login", "authz.directory"])
async def test_who_is_right_is_503_and_neither_counted_nor_recorded_while_it_is_folded_anew(
    door: Door, name: str
) -> None:
    """SG-9: rows that a rebuild elsewhere emptied say nothing about credentials."""
    attempts = [await way(door, await door.somebody(f"leader-{n}")) for n, way in enumerate(WAYS)]
    counted, runtime = await _counted(door), door.authz.runtime

    async with emptied(runtime.installation, runtime.projector, name):
        unfolded = await asyncio.gather(*(attempt() for attempt in attempts))
    counted_then = await _counted(door)
    folded = [await attempt() for attempt in attempts]

    told = {(answer.status_code, answer.json()["code"]) for answer in unfolded}
    assert told == {(503, "unavailable")}
    assert counted_then == counted
    assert [r.event for r in await door.log() if r.event.outcome is not Outcome.ALLOWED] == []
    assert [answer.text for answer in folded if not answer.is_success] == []


@pytest.mark.parametrize("way", [_refreshed, _second_factor, _own_password])
async def test_what_is_durable_is_answered_also_where_it_cannot_be_folded_yet(
    door: Door, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SG-19: told 503, whoever holds the new tokens would use the old ones again, and lose both."""
    monkeypatch.setattr(handling, "_FOLDED_S", 0.05)
    attempt, runtime = await way(door, await door.somebody("leader")), door.authz.runtime
    deadline_s = boundary.DEADLINE_S
    # what waits no longer is rolled back, which takes its time on a busy machine
    async with unfolded(runtime.installation, runtime.projector):
        with monkeypatch.context() as patched:
            patched.setattr(boundary, "DEADLINE_S", deadline_s)
            answer = await attempt()
    assert answer.is_success, answer.text
    if access := (answer.json() if answer.content else {}).get("access_token"):
        assert (await door.get("/v1/me", access)).status_code == 200
    assert [r.event.type for r in await door.log() if r.event.type == SESSION_ENDED] == []


@pytest.mark.parametrize("way", [_refreshed, _second_factor])
async def test_tokens_that_are_durable_are_handed_out_though_the_keys_are_folded_anew(
    door: Door, way: Way
) -> None:
    """SG-19: after the append nothing rests on rows that somebody may have emptied."""
    attempt, runtime = await way(door, await door.somebody("leader")), door.authz.runtime
    async with emptied_after(runtime.log, "append", runtime.projector):
        answer = await attempt()
    assert answer.is_success, answer.text
    assert answer.json()["access_token"]


#: who reads later, as what, in which request, the rows it is in, and how many sessions end by it
LATER: Final = (
    (own_password, "live_sessions", _own_password, "authz.login", 1),
    (enrolment, "live_sessions", _confirmation, "authz.login", 1),
    (Me, "_organisations", _own_profile, "authz.directory", 0),
)


@pytest.mark.parametrize(("place", "name", "way", "rows", "ends"), LATER)
async def test_nothing_rests_on_rows_that_were_emptied_since_they_were_read_first(
    door: Door, place: object, name: str, way: Way, rows: str, ends: int
) -> None:
    """SG-4, SG-9: no session outlives a password because a rebuild elsewhere hid it."""
    leader = await door.somebody()
    await door.log_in(leader)
    attempt = await way(door, leader)
    before = len(await door.log())
    async with emptied_before(place, name, door.authz.runtime.projector, rows):
        unfolded = await attempt()
    landed = (await door.log())[before:]
    folded = await attempt()

    assert (unfolded.status_code, landed) == (503, [])
    assert folded.is_success, folded.text
    assert len(await door.of_type(SESSION_ENDED)) == ends


#: who reads whether a session lives, as what, in which request
LIVE: Final = (
    (visits, "live_caller", _own_profile),
    (self_desk, "called", _own_profile),
    (sessions, "called", _logout),
    (Sessions, "_live", _refreshed),
    (Desk, "_once", _own_school),
    (desk, "whole", _everybody_reset),
)


async def test_who_is_signed_in_is_never_401_however_often_rows_are_emptied_meanwhile(
    door: Door,
) -> None:
    """SG-9: 401 has whoever asks throw their tokens away, so it rests on whole rows alone."""
    for place, name, way in LIVE:
        attempt = await way(door, await door.somebody(f"leader-{name}{way.__name__}"))
        async with emptied_before(place, name, door.authz.runtime.projector):
            unfolded = await attempt()
        folded = await attempt()

        assert unfolded.status_code == 503, (place, name)
        assert folded.is_success, (place, name, folded.text)


async def test_a_signature_is_not_401_however_often_the_keys_are_emptied_meanwhile(
    door: Door,
) -> None:
    """SG-9: a key is unknown only where the rows are whole that do not have it."""
    attempt = await _own_profile(door, await door.somebody())
    door.authz.access.forget_keys()
    async with emptied_before(AccessTokens, "_load", door.authz.runtime.projector):
        unfolded = [(await attempt()).status_code for _ in range(2)]
    door.clock.advance(timedelta(seconds=1))
    folded = await attempt()

    assert unfolded == [503, 503]
    assert folded.is_success, folded.text


async def test_who_is_not_signed_in_is_told_after_one_emptying(door: Door) -> None:
    """SG-3: rows folded anew say it as well as any."""
    leader = await door.somebody()
    tokens = await door.log_in(leader)
    assert (await door.post("/v1/logout", {}, token=tokens["access_token"])).is_success
    projector = door.authz.runtime.projector
    await projector.stop()
    for path, body in (("/v1/logout", {}), ("/v1/token/refresh", _refreshing(tokens))):
        await empty(projector)
        answer = await door.post(path, body, token=tokens["access_token"])
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


async def _wrong_password(door: Door, leader: Somebody) -> Attempt:
    body = {"username": leader.username, "password": NEW_PASSWORD}
    return lambda: door.post("/v1/login", body)


async def _wrong_code(door: Door, leader: Somebody) -> Attempt:
    token = await door.first_factor(leader)
    return lambda: door.verify(token, "000000")


async def _wrong_own_password(door: Door, leader: Somebody) -> Attempt:
    token = (await door.log_in(leader))["access_token"]
    body = {"current_password": NEW_PASSWORD, "new_password": PASSWORD}
    return lambda: door.post("/v1/me/password", body, token=token)


@pytest.mark.parametrize("way", [_wrong_password, _wrong_code, _wrong_own_password])
async def test_whose_attempt_failed_is_told_at_their_organisation_whatever_is_folded_anew(
    door: Door, way: Way
) -> None:
    """SG-9: no rebuild hides an attack from whose people it is on."""
    leader = await door.somebody()
    attempt = await way(door, leader)
    async with emptied_before(admitted.Attempt, "wrong", door.authz.runtime.projector):
        answer = await attempt()

    assert (answer.status_code, answer.json()["code"]) == (401, "bad_credentials")
    (failed,) = await door.of_type(LOGIN_FAILED)
    assert failed.actor == Actor(person_id=leader.id, organisation_id=leader.organisation_id)


async def test_an_unknown_name_is_503_like_a_known_one(door: Door) -> None:
    """SG-4: while rows are folded anew, too, nobody learns whether an account exists."""
    leader, runtime = await door.somebody(), door.authz.runtime
    names = (leader.username, "nobody.here")
    async with emptied(runtime.installation, runtime.projector, "authz.login"):
        answers = [
            await door.post("/v1/login", {"username": name, "password": PASSWORD}) for name in names
        ]

    known, unknown = [
        (a.status_code, {**a.json(), "request_id": ""}, sorted(a.headers)) for a in answers
    ]
    assert known == unknown
    assert known[0] == 503
    assert await _counted(door) == 0


async def test_names_cost_a_fold_when_there_is_something_to_fold_and_one_for_many(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SG-4: what is waited for depends on the log and not on the name, and no flood makes it dear.

    Here nobody follows the log, so that every fold is a login's.
    """
    leader = await door.somebody()
    projector, log = door.authz.runtime.projector, door.authz.runtime.log
    await projector.stop()
    folds: list[Folded] = []
    fold = projector._batches.fold

    async def counted() -> Folded:
        folds.append(await fold())
        return folds[-1]

    monkeypatch.setattr(projector._batches, "fold", counted)

    async def folded(*usernames: str, behind: bool) -> int:
        if behind:
            await log.append(Group([await _moved(door, leader)]))
        folds.clear()
        bodies = [{"username": name, "password": "not-the-password-at-all"} for name in usernames]
        answers = await asyncio.gather(*(door.post("/v1/login", body) for body in bodies))
        assert {answer.status_code for answer in answers} == {401}
        return len(folds)

    for name in (leader.username, "nobody.here"):
        assert await folded(name, behind=True) == 1
        assert await folded(name, behind=False) == 0
    assert await folded(*(f"nobody-{n}" for n in range(20)), behind=True) == 1


async def _moved(door: Door, somebody: Somebody) -> Event:
    """Return a fact about somebody that changes nothing of how they log in."""
    return Event(
        id=door.authz.runtime.effects.new_id(),
        type=e.PERSON_REINSTATED,
        stream=f"person:{somebody.id}",
        version=await door.person_version(somebody) + 1,
        recorded_at=door.clock.now(),
        action="update",
        data={"person_id": somebody.id},
    )


async def test_a_password_from_before_is_not_taken_for_the_present_one(
    installation: Installation, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SG-4, SG-9: an account that is folded half-way elsewhere is found, and is not what it is."""
    async with two_opened(installation, clock) as (door, other):
        leader = await door.somebody()
        former = door.effort.hasher.hash(NEW_PASSWORD, salt=b"0123456789abcdef")
        for kept in (former, kept_password()):
            sealer = CredentialSealer(
                door.authz.runtime.keys, door.authz.runtime.effects, leader.id
            )
            set_to = sealer.password(kept)
            await _fact(door, leader, CREDENTIAL_SET, set_to.event_id, set_to.payload)

        async def statuses() -> list[int]:
            bodies = [
                {"username": leader.username, "password": p} for p in (PASSWORD, NEW_PASSWORD)
            ]
            return [(await door.post("/v1/login", body)).status_code for body in bodies]

        await door.authz.runtime.projector.stop()
        await _fold_anew(other, await door.authz.runtime.projector.head() - 1, monkeypatch)
        async with unfolded(installation, door.authz.runtime.projector):
            half_way = await statuses()
        await door.authz.runtime.projector.caught_up()
        whole = await statuses()

    assert (half_way, whole) == ([503, 503], [200, 401])


async def _fold_anew(other: Door, until: int, patch: pytest.MonkeyPatch) -> None:
    """Fold ``authz.login`` from the start, as far as ``until``."""
    projector = other.authz.runtime.projector
    await projector.stop()
    await empty(projector, "authz.login")
    patch.setattr(batches, "_BATCH", 1)
    patch.setattr(batches, "_CATCHING_UP", 1)
    folded = "select position from authz.projection where name = 'authz.login'"
    while await other.authz.runtime.pool.fetchval(folded) < until:
        await projector.fold_once()


async def test_logging_in_beside_rebuilds_is_never_wrong(
    installation: Installation, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SG-9: right passwords during `casewarden rebuild` lead to no failure, pause or alert."""
    async with two_opened(installation, clock) as (door, other):
        people = [await door.somebody(f"leader-{n}") for n in range(3)]
        monkeypatch.setattr(batches, "_BATCH", 2)
        monkeypatch.setattr(batches, "_CATCHING_UP", 2)
        over = asyncio.Event()

        async def repeat(somebody: Somebody) -> list[int]:
            body = {"username": somebody.username, "password": PASSWORD}
            statuses = []
            while not over.is_set():
                statuses.append((await door.post("/v1/login", body, ELSEWHERE)).status_code)
            return statuses

        repeating = [asyncio.create_task(repeat(one)) for one in people]
        for name in ("authz.login", "authz.directory") * 3:
            await other.authz.runtime.projector.rebuild([name])
        over.set()
        statuses = {status for one in await asyncio.gather(*repeating) for status in one}

        assert statuses <= {200, 503}
        assert 200 in statuses
        assert await door.of_type(LOGIN_FAILED) == []
        assert await _counted(door) == 0
