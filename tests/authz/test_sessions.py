"""Sessions: refresh, reuse, limits, logout, and the sweep (SG-3, SG-19, AC-USE-1)."""

import asyncio
from datetime import timedelta

from services.authz.session_events import SESSION_ENDED
from services.kernel.runtime import Installation
from services.kernel.settings import Settings
from tests.authz.door import Door, opened, two_opened
from tests.conftest import Clock
from tests.emptied import emptied


async def _refresh(door: Door, token: str) -> tuple[int, str]:
    answer = await door.post("/v1/token/refresh", {"refresh_token": token})
    return answer.status_code, answer.json().get("refresh_token", "")


async def test_refresh_rotates_the_token_and_keeps_the_session(door: Door) -> None:
    """SG-19."""
    leader = await door.somebody()
    tokens = await door.log_in(leader)

    answer = await door.post("/v1/token/refresh", {"refresh_token": tokens["refresh_token"]})

    assert answer.status_code == 200
    assert set(answer.json()) == {"access_token", "token_type", "expires_in", "refresh_token"}
    assert answer.json()["refresh_token"] != tokens["refresh_token"]
    assert (await door.get("/v1/me", answer.json()["access_token"])).status_code == 200


async def test_reuse_of_an_old_refresh_token_ends_the_session(door: Door) -> None:
    """SG-3: whoever holds the newer token may be the thief."""
    leader = await door.somebody()
    tokens = await door.log_in(leader)
    _, newer = await _refresh(door, tokens["refresh_token"])

    reused, _ = await _refresh(door, tokens["refresh_token"])
    after, _ = await _refresh(door, newer)
    seen = await door.get("/v1/me", tokens["access_token"])

    assert (reused, after, seen.status_code) == (401, 401, 401)
    (ended,) = await door.of_type(SESSION_ENDED)
    assert ended.data["reason"] == "reuse"


async def test_two_uses_of_one_token_at_once_end_the_session(
    installation: Installation, clock: Clock
) -> None:
    """SG-3: a race is no loophole, not across processes either."""
    async with two_opened(installation, clock) as (here, there):
        leader = await here.somebody()
        tokens = await here.log_in(leader)
        await there.authz.runtime.projector.reached(await there.authz.runtime.projector.head())

        answers = await asyncio.gather(
            *(_refresh(d, tokens["refresh_token"]) for d in (here, there))
        )

        assert sorted(status for status, _ in answers) == [200, 401]
        won = next(token for status, token in answers if status == 200)
        assert (await _refresh(here, won))[0] == 401
        assert [s.data["reason"] for s in await here.of_type(SESSION_ENDED)] == ["reuse"]


async def test_old_token_used_beside_the_newest_ends_the_session_whoever_is_first(
    installation: Installation, clock: Clock
) -> None:
    """SG-3: the whole family ends, once, whichever process sees which token."""
    async with two_opened(installation, clock) as (here, there):
        for number in range(3):
            leader = await here.somebody(f"staff.{number}")
            old = (await here.log_in(leader))["refresh_token"]
            _, newest = await _refresh(here, old)
            await there.authz.runtime.projector.reached(await there.authz.runtime.projector.head())

            (stolen, _), (_, renewed) = await asyncio.gather(
                _refresh(here, old), _refresh(there, newest)
            )

            assert stolen == 401
            for token in filter(None, (old, newest, renewed)):
                assert (await _refresh(there, token))[0] == 401
            ended = await here.of_type(SESSION_ENDED)
            assert [s.data["reason"] for s in ended] == ["reuse"] * (number + 1)


async def test_unknown_refresh_token_ends_nothing(door: Door) -> None:
    """SG-3: a guess does not end somebody's session."""
    leader = await door.somebody()
    tokens = await door.log_in(leader)

    status, _ = await _refresh(door, "A" * 43)

    assert status == 401
    assert (await door.get("/v1/me", tokens["access_token"])).status_code == 200


async def test_logout_stops_access_at_once_in_every_process(
    installation: Installation, clock: Clock
) -> None:
    """SG-3: the token is still valid, its session is not."""
    async with two_opened(installation, clock) as (here, there):
        leader = await here.somebody()
        tokens = await here.log_in(leader)
        await there.authz.runtime.projector.reached(await there.authz.runtime.projector.head())
        before = await there.get("/v1/me", tokens["access_token"])

        out = await here.post("/v1/logout", {}, token=tokens["access_token"])
        after = [await door.get("/v1/me", tokens["access_token"]) for door in (here, there)]

        assert before.status_code == 200
        assert out.status_code == 204
        assert [a.status_code for a in after] == [401, 401]
        assert (await _refresh(here, tokens["refresh_token"]))[0] == 401


async def test_logout_says_how_long_the_session_was(door: Door) -> None:
    """AC-USE-1."""
    leader = await door.somebody()
    tokens = await door.log_in(leader)
    door.clock.advance(timedelta(minutes=4))

    await door.post("/v1/logout", {}, token=tokens["access_token"])

    (ended,) = await door.of_type(SESSION_ENDED)
    assert ended.data["reason"] == "logout"
    assert ended.data["duration_s"] == 240
    assert ended.actor.person_id == leader.id


async def test_idle_session_is_refused_and_ended(door: Door) -> None:
    """SG-19."""
    leader = await door.somebody()
    tokens = await door.log_in(leader)
    door.clock.advance(timedelta(seconds=door.settings.session_idle_seconds))

    status, _ = await _refresh(door, tokens["refresh_token"])

    assert status == 401
    (ended,) = await door.of_type(SESSION_ENDED)
    assert ended.data["reason"] == "idle"


async def test_session_ends_at_its_absolute_limit_however_busy(door: Door) -> None:
    """SG-19."""
    leader = await door.somebody()
    token = (await door.log_in(leader))["refresh_token"]
    statuses = []
    for _ in range(25):
        door.clock.advance(timedelta(seconds=door.settings.session_idle_seconds - 60))
        status, token = await _refresh(door, token)
        statuses.append(status)
        if status != 200:
            break

    assert statuses.count(200) == 24
    assert statuses[-1] == 401
    (ended,) = await door.of_type(SESSION_ENDED)
    assert ended.data["reason"] == "absolute"
    assert ended.data["duration_s"] == door.settings.session_absolute_seconds


async def test_access_token_does_not_outlive_the_session(door: Door) -> None:
    """SG-19."""
    leader = await door.somebody()
    token = (await door.log_in(leader))["refresh_token"]
    for _ in range(24):
        door.clock.advance(timedelta(seconds=1790))
        _, token = await _refresh(door, token)
    door.clock.advance(timedelta(seconds=43_200 - 24 * 1790 - 100))

    answer = await door.post("/v1/token/refresh", {"refresh_token": token})

    assert answer.json()["expires_in"] == 100


async def test_sweep_ends_forgotten_sessions_at_their_true_end(door: Door) -> None:
    """AC-USE-1: for how long somebody was logged in, also when nobody logged out."""
    leader = await door.somebody()
    tokens = await door.log_in(leader)
    door.clock.advance(timedelta(minutes=10))
    await _refresh(door, tokens["refresh_token"])
    door.clock.advance(timedelta(hours=9))

    ended = await door.authz.sessions.sweep()

    (event,) = await door.of_type(SESSION_ENDED)
    assert ended == 1
    assert event.data["reason"] == "idle"
    assert event.data["duration_s"] == 600 + door.settings.session_idle_seconds


async def test_sweeps_of_two_processes_end_a_session_once(
    installation: Installation, clock: Clock
) -> None:
    """AC-USE-1."""
    async with two_opened(installation, clock) as (here, there):
        for number in range(3):
            await here.log_in(await here.somebody(f"staff.{number}"))
        await there.authz.runtime.projector.reached(await there.authz.runtime.projector.head())
        clock.advance(timedelta(hours=13))

        ended = await asyncio.gather(here.authz.sessions.sweep(), there.authz.sessions.sweep())

        assert sum(ended) == 3
        assert len(await here.of_type(SESSION_ENDED)) == 3


async def test_sweep_ends_sessions_of_suspended_people(door: Door) -> None:
    """SG-3: sessions included."""
    leader = await door.somebody()
    tokens = await door.log_in(leader)
    await door.suspend(leader)

    refused = await door.get("/v1/me", tokens["access_token"])
    await door.authz.sessions.sweep()

    assert refused.status_code == 401
    assert [s.data["reason"] for s in await door.of_type(SESSION_ENDED)] == ["suspended"]


async def test_refresh_of_a_suspended_person_ends_the_session(door: Door) -> None:
    """SG-3."""
    leader = await door.somebody()
    tokens = await door.log_in(leader)
    await door.suspend(leader)

    status, _ = await _refresh(door, tokens["refresh_token"])

    assert status == 401
    assert [s.data["reason"] for s in await door.of_type(SESSION_ENDED)] == ["suspended"]


async def test_access_token_does_not_outlive_an_idle_session(
    installation: Installation, clock: Clock
) -> None:
    """SG-19: also where a session may idle for less than an access token lives."""
    async with opened(installation, clock, Settings(session_idle_seconds=60)) as door:
        leader = await door.somebody()
        tokens = await door.log_in(leader)
        clock.advance(timedelta(seconds=45))
        body = {"refresh_token": tokens["refresh_token"]}
        renewed = (await door.post("/v1/token/refresh", body)).json()
        clock.advance(timedelta(seconds=60))
        idle = await door.get("/v1/me", renewed["access_token"])

    assert (tokens["expires_in"], renewed["expires_in"]) == (60, 60)
    assert idle.status_code == 401


async def test_a_live_session_is_not_told_that_it_is_over_while_it_is_folded_anew(
    door: Door,
) -> None:
    """SG-19: rows that a rebuild elsewhere emptied are waited for, or 503, and never 401."""
    token = (await door.log_in(await door.somebody()))["access_token"]
    assert (await door.get("/v1/me", token)).status_code == 200
    runtime = door.authz.runtime
    async with emptied(runtime.installation, runtime.projector):
        unfolded = await door.get("/v1/me", token)
    folded = await door.get("/v1/me", token)

    assert (unfolded.status_code, folded.status_code) == (503, 200)


async def test_a_token_is_not_refused_while_the_key_that_signed_it_is_folded_anew(
    door: Door,
) -> None:
    """SG-19: keys are loaded anew each minute, from rows that a rebuild may have emptied."""
    token = (await door.log_in(await door.somebody()))["access_token"]
    assert (await door.get("/v1/me", token)).status_code == 200
    runtime = door.authz.runtime
    door.authz.access.forget_keys()
    async with emptied(runtime.installation, runtime.projector):
        unfolded = [(await door.get("/v1/me", token)).status_code for _ in range(2)]
    door.clock.advance(timedelta(seconds=1))
    folded = await door.get("/v1/me", token)

    assert (unfolded, folded.status_code) == ([503, 503], 200)
