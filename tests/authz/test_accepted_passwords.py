"""Right passwords without a second factor: seen, bounded, and never a login (AC-USE-1, SG-9)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest

from services.audit.app import build
from services.audit.detection import account_failures, rules, signals
from services.authz.accepted_passwords import MOST_ADDRESSES, AcceptedPasswords
from services.authz.directory import decode_person
from services.authz.events import Role
from services.authz.recording import person_object
from services.authz.session_events import PASSWORD_ACCEPTED, SESSION_STARTED
from services.authz.throttle import WINDOW
from services.kernel.boundary import Boundary
from services.kernel.events import Actor, Outcome, Service
from services.kernel.http import Call
from services.kernel.origins import Places
from services.kernel.settings import Settings
from tests.authz.door import ELSEWHERE, HOME, PASSWORD, Door, Somebody, log_away
from tests.authz.staffed import MATAI, RIMU, Region
from tests.conftest import TYPES, Clock


async def _try(
    door: Door, somebody: Somebody, ip: str = HOME, password: str = PASSWORD
) -> httpx.Response:
    return await door.post("/v1/login", {"username": somebody.username, "password": password}, ip)


async def _accepted(door: Door) -> int:
    return len(await door.of_type(PASSWORD_ACCEPTED))


async def test_right_password_alone_stands_in_the_log_with_whose_and_where_from(
    door: Door,
) -> None:
    """AC-USE-1, SG-8, SG-9: a stolen password that is tried is seen, and is no login."""
    leader = await door.somebody()

    answer = await _try(door, leader, ELSEWHERE)

    (event,), places = await door.of_type(PASSWORD_ACCEPTED), Places(door.authz.runtime.keys)
    assert answer.status_code == 200
    assert (event.action, event.outcome) == ("verify", Outcome.ALLOWED)
    assert event.actor == Actor(person_id=leader.id, organisation_id=leader.organisation_id)
    assert event.organisation_id == leader.organisation_id
    assert event.object == person_object(leader.id)
    assert (event.data, event.origin.session_id) == ({}, None)
    await places.load([event])
    assert places.of(event).ip == ELSEWHERE
    assert await door.of_type(SESSION_STARTED) == []


@pytest.mark.parametrize("wrong", ["password", "name", "suspended"])
async def test_nothing_is_accepted_of_what_is_wrong(door: Door, wrong: str) -> None:
    """SG-4: that a suspended person's password was right is a failed login, as before."""
    leader = await door.somebody()
    if wrong == "suspended":
        await door.suspend(leader)
    username = "nobody.here" if wrong == "name" else leader.username
    password = "wrong-wrong-wrong" if wrong == "password" else PASSWORD

    answer = await door.post("/v1/login", {"username": username, "password": password})

    assert answer.status_code == 401
    assert await _accepted(door) == 0


async def test_flood_of_right_passwords_is_one_event_an_address_and_window(
    door: Door, clock: Clock
) -> None:
    """Design: nobody may fill the log, nor be answered what does not stand in it."""
    leader, other = await door.somebody(), await door.somebody("hemi.walker", "Hemi", "Walker")

    flood = await asyncio.gather(*(_try(door, leader) for _ in range(8)))

    assert {answer.status_code for answer in flood} <= {200, 429}
    assert await _accepted(door) == 1
    await _try(door, leader, ELSEWHERE)
    await _try(door, other)
    assert await _accepted(door) == 3
    clock.advance(WINDOW - timedelta(seconds=1))
    await _try(door, leader)
    assert await _accepted(door) == 3
    clock.advance(timedelta(seconds=1))
    await _try(door, leader)
    assert await _accepted(door) == 4


async def test_many_addresses_of_one_account_fill_no_log_either(door: Door) -> None:
    """Design: who has a network of them is one more event, and other accounts are recorded."""
    leader, other = await door.somebody(), await door.somebody("hemi.walker", "Hemi", "Walker")

    for number in range(MOST_ADDRESSES + 4):
        assert (await _try(door, leader, f"203.0.113.{number}")).status_code == 200

    assert await _accepted(door) == MOST_ADDRESSES + 1
    await _try(door, other, "203.0.113.250")
    assert await _accepted(door) == MOST_ADDRESSES + 2


async def test_what_cannot_be_recorded_is_not_answered_and_is_recorded_next_time(
    door: Door,
) -> None:
    """Design: no disclosure without a record; 503 counts against nobody."""
    leader = await door.somebody()

    with log_away():
        refused = [await _try(door, leader) for _ in range(6)]
    after = await _try(door, leader)

    assert {answer.status_code for answer in refused} == {503}
    assert not [answer for answer in refused if "login_token" in answer.text]
    assert (after.status_code, await _accepted(door)) == (200, 1)


async def test_one_sees_in_ones_own_activity_that_ones_password_was_right_elsewhere(
    door: Door,
) -> None:
    """AC-SEE-22, SG-9: the owner of a stolen password is the first who can tell."""
    leader = await door.somebody()
    await _try(door, leader, ELSEWHERE)

    token = (await door.log_in(leader))["access_token"]
    items = (await door.get("/v1/me/activity", token)).json()["items"]

    seen = [(i["origin"]["ip"], i["action"]) for i in items if i["type"] == PASSWORD_ACCEPTED]
    assert seen == [(HOME, "verify"), (ELSEWHERE, "verify")]


def test_no_detection_takes_it_for_a_login_or_for_a_failure() -> None:
    """SG-9: hours, places, first uses and failures are of logins."""
    assert PASSWORD_ACCEPTED not in rules.TYPES
    assert {signals.SESSION_STARTED, signals.LOGIN_FAILED} >= account_failures.TYPES


@asynccontextmanager
async def _audit(region: Region) -> AsyncIterator[Callable[[str, str], Awaitable[Any]]]:
    """Serve audit over a region; yield how to ask it as somebody."""
    audit = await build(region.installation, Settings(), TYPES)
    transport = httpx.ASGITransport(Boundary(audit.app, Service.AUDIT))

    async def ask(who: str, path: str) -> Any:  # noqa: ANN401 - JSON
        headers = {"authorization": f"Bearer {region.tokens[who]}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://audit") as client:
            answer = await client.get(path, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()["items"]

    try:
        await audit.start()
        yield ask
    finally:
        await audit.stop()


async def test_analyst_of_their_organisation_finds_it_and_no_session_or_alert_of_it(
    region: Region,
) -> None:
    """SG-8, SG-9: by its type, as that person's; to another organisation's analyst it is none."""
    await region.person("analyst", (Role.SECURITY_ANALYST, MATAI))
    await region.person("elsewhere", (Role.SECURITY_ANALYST, RIMU))
    runtime, contact = region.authz.runtime, region.people["contact"]
    state = await runtime.pool.fetchval("select state from authz.person where id = $1", contact)
    accepted = AcceptedPasswords(runtime, region.authz.recorder)
    await accepted.record(decode_person(state), Call("r-5", ELSEWHERE, "curl/8"))

    question = f"/v1/events?type={PASSWORD_ACCEPTED}"
    async with _audit(region) as ask:
        (found,) = await ask("analyst", question)
        activity = await ask("analyst", f"/v1/people/{contact}/activity")
        sessions = await ask("analyst", f"/v1/sessions?person={contact}")
        hidden = await ask("elsewhere", question)
        alerts = await ask("analyst", "/v1/alerts")

    assert (found["actor"]["person_id"], found["action"]) == (str(contact), "verify")
    assert (found["origin"]["ip"], found["outcome"]) == (ELSEWHERE, "allowed")
    assert found["id"] in {event["id"] for event in activity}
    assert found["origin"]["session_id"] is None
    assert (sessions, hidden, alerts) == ([], [], [])
