"""While read models are folded anew, nobody who is right is told that they are wrong (SG-9)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import UUID

import httpx
import msgspec
import pyotp
import pytest

from services.authz import enrolment, own_password, seeding
from services.authz import events as e
from services.authz.credential_events import CREDENTIAL_SET, INVITATION_ISSUED
from services.authz.credentials import CredentialSealer
from services.authz.invitations import Invitations
from services.authz.me import Me
from services.authz.recording import data_of
from services.authz.session_events import LOGIN_FAILED, SESSION_ENDED, login_key
from services.kernel import batches, boundary
from services.kernel.batches import Folded
from services.kernel.events import Event, Outcome
from services.kernel.groups import Group
from services.kernel.runtime import Installation
from tests.authz.door import (
    ELSEWHERE,
    HOME,
    PASSWORD,
    Door,
    Somebody,
    kept_password,
    opened,
    owner,
    two_opened,
)
from tests.conftest import Clock

NEW_PASSWORD = "basalt-heron-candle-58-wharf"
CLIENT_SECRET = "c2VydmljZSBjbGllbnQgc2VjcmV0IG9mIHRoZSB0ZXN0"

#: sends right credentials, and answers what came of it
Attempt = Callable[[], Awaitable[httpx.Response]]


@pytest.fixture
async def door(installation: Installation, clock: Clock) -> AsyncIterator[Door]:
    async with opened(installation, clock) as door:
        yield door


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


async def _refreshed(door: Door, leader: Somebody) -> Attempt:
    body = {"refresh_token": (await door.log_in(leader))["refresh_token"]}
    return lambda: door.post("/v1/token/refresh", body)


async def _logout(door: Door, leader: Somebody) -> Attempt:
    token = (await door.log_in(leader))["access_token"]
    assert (await door.get("/v1/me", token)).is_success
    return lambda: door.post("/v1/logout", {}, token=token)


async def _own_profile(door: Door, leader: Somebody) -> Attempt:
    token = (await door.log_in(leader))["access_token"]
    return lambda: door.get("/v1/me", token)


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


@asynccontextmanager
async def _emptied(door: Door, name: str, patch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Empty a projection, as a rebuild elsewhere does, and let nobody fold meanwhile."""
    runtime = door.authz.runtime
    await runtime.projector.stop()
    await runtime.projector._batches.empty([name])
    async with _held(door, patch):
        yield


@asynccontextmanager
async def _held(door: Door, patch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Let nobody fold meanwhile."""
    held = await owner(door.authz.runtime.installation)
    patch.setattr(boundary, "DEADLINE_S", 0.3)
    async with held.transaction():
        await held.execute("select from authz.projection for update")
        yield
    await held.close()
    patch.undo()


async def _counted(door: Door) -> int:
    failures: int = await door.authz.runtime.pool.fetchval(
        "select coalesce(sum(failures), 0) from authz.throttle"
    )
    return failures


@pytest.mark.parametrize("name", ["authz.login", "authz.directory"])
async def test_who_is_right_is_503_and_neither_counted_nor_recorded_while_it_is_folded_anew(
    door: Door, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """SG-9: rows that a rebuild elsewhere emptied say nothing about credentials."""
    attempts = [await way(door, await door.somebody(f"leader-{n}")) for n, way in enumerate(WAYS)]
    counted = await _counted(door)

    async with _emptied(door, name, monkeypatch):
        emptied = await asyncio.gather(*(attempt() for attempt in attempts))
    counted_then = await _counted(door)
    folded = [await attempt() for attempt in attempts]

    told = {(answer.status_code, answer.json()["code"]) for answer in emptied}
    assert told == {(503, "unavailable")}
    assert counted_then == counted
    assert [r.event for r in await door.log() if r.event.outcome is not Outcome.ALLOWED] == []
    assert [answer.text for answer in folded if not answer.is_success] == []


#: what a later look is called, who takes it, the rows it reads, and how many sessions end by it
LATER: Final = (
    (own_password, "live_sessions", _own_password, "authz.login", 1),
    (enrolment, "live_sessions", _confirmation, "authz.login", 1),
    (Me, "_organisations", _own_profile, "authz.directory", 0),
)


@pytest.mark.parametrize(("place", "name", "way", "rows", "ends"), LATER)
async def test_nothing_rests_on_rows_that_were_emptied_since_an_earlier_look(
    door: Door,
    monkeypatch: pytest.MonkeyPatch,
    place: object,
    name: str,
    way: Callable[[Door, Somebody], Awaitable[Attempt]],
    rows: str,
    ends: int,
) -> None:
    """SG-4, SG-9: no session outlives a password because a rebuild elsewhere hid it."""
    leader = await door.somebody()
    await door.log_in(leader)
    attempt = await way(door, leader)
    projector = door.authz.runtime.projector
    await projector.stop()
    look = getattr(place, name)

    async def later(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - as it is
        monkeypatch.undo()
        await projector._batches.empty([rows])
        return await look(*arguments, **named)

    monkeypatch.setattr(place, name, later)
    before = len(await door.log())
    emptied = await attempt()
    landed = (await door.log())[before:]
    folded = await attempt()

    assert (emptied.status_code, landed) == (503, [])
    assert folded.is_success, folded.text
    assert len(await door.of_type(SESSION_ENDED)) == ends


async def test_an_unknown_name_is_503_like_a_known_one(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SG-4: while rows are folded anew, too, nobody learns whether an account exists."""
    leader = await door.somebody()
    names = (leader.username, "nobody.here")
    async with _emptied(door, "authz.login", monkeypatch):
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
        async with _held(door, monkeypatch):
            half_way = await statuses()
        await door.authz.runtime.projector.caught_up()
        whole = await statuses()

    assert (half_way, whole) == ([503, 503], [200, 401])


async def _fold_anew(other: Door, until: int, patch: pytest.MonkeyPatch) -> None:
    """Fold ``authz.login`` from the start, as far as ``until``."""
    projector = other.authz.runtime.projector
    await projector.stop()
    await projector._batches.empty(["authz.login"])
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
