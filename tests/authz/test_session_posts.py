"""For whom a session goes on: told to where its person works, never to where they have left."""

from datetime import timedelta
from uuid import UUID

import msgspec

from services.authz import events as e
from services.authz.directory import decode_person
from services.authz.login_views import live_sessions
from services.authz.recording import data_of
from services.authz.session_ends import post_of
from services.authz.session_events import SESSION_ENDED, SESSION_REFRESHED
from services.kernel.events import Event
from services.kernel.groups import Group
from tests.authz.door import Door, Somebody


async def _refresh(door: Door, token: str) -> str:
    answer = await door.post("/v1/token/refresh", {"refresh_token": token})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["refresh_token"])


async def _gains(door: Door, leader: Somebody) -> UUID:
    """Give somebody a post elsewhere besides; return where."""
    other = door.authz.runtime.effects.new_id()
    granted = e.AssignmentGranted(
        assignment_id=door.authz.runtime.effects.new_id(),
        person_id=leader.id,
        role=e.Role.SCHOOL_OFFICE,
        organisation_id=other,
        starts_at=door.clock.now(),
    )
    await _fact(door, leader, e.ASSIGNMENT_GRANTED, granted)
    return other


async def _loses(door: Door, leader: Somebody) -> None:
    """Take away the post that somebody had first."""
    lost = e.AssignmentRevoked(assignment_id=leader.assignment_id, person_id=leader.id)
    await _fact(door, leader, e.ASSIGNMENT_REVOKED, lost)


async def _fact(door: Door, leader: Somebody, type_: str, data: msgspec.Struct) -> None:
    event = Event(
        id=door.authz.runtime.effects.new_id(),
        type=type_,
        stream=f"person:{leader.id}",
        version=await door.person_version(leader) + 1,
        recorded_at=door.clock.now(),
        touches=(e.person_key(leader.id),),
        data=data_of(data),
    )
    await door.append(Group([event]))


async def _told(door: Door) -> list[tuple[str, UUID | None]]:
    """Return what sessions came to, and for whom: each acts for who it belongs to."""
    events = [r.event for r in await door.log() if r.event.type in _COMES_TO]
    assert all(event.actor.organisation_id == event.organisation_id for event in events)
    return [(event.type, event.organisation_id) for event in events]


_COMES_TO = {SESSION_REFRESHED, SESSION_ENDED}


async def test_what_a_session_comes_to_is_not_told_to_an_organisation_one_has_left(
    door: Door,
) -> None:
    """SG-3, AC-USE-1: when, from where and until when somebody works, where they work."""
    leader = await door.somebody()
    out, stolen, swept = [(await door.log_in(leader))["refresh_token"] for _ in range(3)]
    out = await _refresh(door, out)
    other = await _gains(door, leader)
    await _refresh(door, stolen)
    await _loses(door, leader)

    answer = await door.post("/v1/token/refresh", {"refresh_token": out})
    await door.post("/v1/logout", {}, token=answer.json()["access_token"])
    await door.post("/v1/token/refresh", {"refresh_token": stolen})
    await _refresh(door, swept)
    door.clock.advance(timedelta(hours=9))
    assert await door.authz.sessions.sweep() == 1

    assert await _told(door) == [
        (SESSION_REFRESHED, leader.organisation_id),
        (SESSION_REFRESHED, leader.organisation_id),
        (SESSION_REFRESHED, other),
        (SESSION_ENDED, other),
        (SESSION_ENDED, other),
        (SESSION_REFRESHED, other),
        (SESSION_ENDED, other),
    ]


async def test_where_no_post_is_left_a_session_is_told_to_nobody(door: Door) -> None:
    """SG-14: relief that ended by itself leaves the session, and nobody it is of."""
    leader = await door.somebody()
    await door.log_in(leader)
    (session,) = await live_sessions(door.authz.runtime.pool, leader.id, known=-1)
    state = await door.authz.runtime.pool.fetchval(
        "select state from authz.person where id = $1", leader.id
    )
    working, now = decode_person(state), door.clock.now()
    relieved = msgspec.structs.replace(
        working,
        assignments=tuple(msgspec.structs.replace(a, ends_at=now) for a in working.assignments),
    )

    assert post_of(session, working, now) == leader.organisation_id
    assert post_of(session, relieved, now) is None


async def test_without_a_post_one_signs_in_to_oneself_and_to_nothing_else(door: Door) -> None:
    """SG-14, AC-SEE-22: what one had, and who one is, stays one's own to see."""
    leader = await door.somebody()
    await _loses(door, leader)

    token = (await door.log_in(leader))["access_token"]
    oneself = await door.get("/v1/me", token)
    school = await door.get(f"/v1/organisations/{leader.organisation_id}", token)

    assert (oneself.status_code, oneself.json()["assignments"]) == (200, [])
    assert school.status_code == 404
