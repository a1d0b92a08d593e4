"""How often somebody may try, and what a flood leaves in the log (SG-4, SG-9)."""

import asyncio
from datetime import timedelta

import httpx
import pytest

from services.authz import events as e
from services.authz import passwords
from services.authz.session_events import LOGIN_FAILED, LOGIN_THROTTLED
from services.authz.throttle import Throttle
from services.kernel.errors import TooManyRequests
from services.kernel.runtime import Installation
from tests.authz.door import ELSEWHERE, HOME, PASSWORD, Door, log_away, opened, two_opened
from tests.conftest import Clock

WRONG = "wrong-wrong-wrong-wrong"


async def _try(door: Door, username: str, ip: str, password: str = WRONG) -> httpx.Response:
    return await door.post("/v1/login", {"username": username, "password": password}, ip)


async def _fail(throttle: Throttle, account: str, ip: str) -> int:
    """Fail once; return 0, or after how many seconds it may be tried again."""
    try:
        await throttle.admit(account, ip)
    except TooManyRequests as refused:
        return refused.retry_after_s or 0
    return 0


async def test_five_failures_make_strangers_wait_even_with_the_right_password(door: Door) -> None:
    """SG-4."""
    leader = await door.somebody()
    failed = [await _try(door, leader.username, ELSEWHERE) for _ in range(5)]

    waiting = await _try(door, leader.username, "203.0.113.9", PASSWORD)

    assert [a.status_code for a in failed] == [401] * 5
    assert waiting.status_code == 429
    assert waiting.headers["retry-after"] == "30"


async def test_unknown_account_makes_wait_like_a_known_one(door: Door) -> None:
    """SG-4: throttling tells nobody which accounts exist."""
    statuses = [(await _try(door, "nobody.here", ELSEWHERE)).status_code for _ in range(6)]

    assert statuses == [401] * 5 + [429]


async def test_attack_from_elsewhere_cannot_lock_out_the_known_address(door: Door) -> None:
    """SG-4: throttling is no weapon."""
    leader = await door.somebody()
    await door.log_in(leader, HOME)
    for number in range(12):
        await _try(door, leader.username, f"203.0.113.{number}")

    stranger = await _try(door, leader.username, ELSEWHERE, PASSWORD)
    tokens = await door.log_in(leader, HOME)

    assert stranger.status_code == 429
    assert (await door.get("/v1/me", tokens["access_token"])).status_code == 200


async def test_blocked_address_still_serves_the_accounts_that_know_it(door: Door) -> None:
    """SG-4: one mischievous user of a school's network does not lock out the school."""
    leader = await door.somebody()
    await door.log_in(leader, HOME)
    throttle = door.authz.throttle
    for number in range(31):
        await _fail(throttle, f"account-{number}", HOME)

    stranger = await _try(door, "nobody.here", HOME)
    tokens = await door.log_in(leader, HOME)

    assert stranger.status_code == 429
    assert tokens["token_type"] == "Bearer"


async def test_known_address_has_a_limit_of_its_own(door: Door) -> None:
    """SG-4: whoever sits there cannot try for ever."""
    leader = await door.somebody()
    await door.log_in(leader, HOME)

    statuses = [(await _try(door, leader.username, HOME)).status_code for _ in range(6)]

    assert statuses == [401] * 5 + [429]


async def test_waits_double_up_to_fifteen_minutes_and_are_forgotten(door: Door) -> None:
    """SG-4: nobody is shut out for good."""
    throttle, waits = door.authz.throttle, []
    for attempt in range(24):
        wait = await _fail(throttle, "account", f"203.0.113.{attempt}")
        if wait:
            waits.append(wait)
            door.clock.advance(timedelta(seconds=wait))

    door.clock.advance(timedelta(minutes=30))
    fresh = [await _fail(throttle, "account", ELSEWHERE) for _ in range(5)]

    assert waits == [30, 60, 120, 240, 480, *[900] * 5]
    assert fresh == [0] * 5


async def test_address_waits_out_its_window_and_begins_anew(door: Door) -> None:
    """SG-4."""
    throttle = door.authz.throttle
    waits = [await _fail(throttle, f"account-{n}", HOME) for n in range(31)]
    door.clock.advance(timedelta(minutes=15))
    again = [await _fail(throttle, f"later-{n}", HOME) for n in range(29)]

    assert waits == [0] * 30 + [900]
    assert again == [0] * 29


async def test_slow_mistakes_of_a_busy_address_add_up_to_nothing(door: Door) -> None:
    """SG-4: a school behind one address mistypes all day."""
    throttle, waits = door.authz.throttle, []
    for number in range(80):
        waits.append(await _fail(throttle, f"account-{number}", HOME))
        door.clock.advance(timedelta(minutes=1))

    assert waits == [0] * 80


async def test_retrying_a_blocked_account_does_not_block_the_address(door: Door) -> None:
    """SG-4: one account under attack, retried from a school's network, stops nobody else there."""
    throttle = door.authz.throttle
    for number in range(5):
        await _fail(throttle, "account", f"203.0.113.{number}")

    retried = [await _fail(throttle, "account", HOME) for _ in range(60)]
    others = [await _fail(throttle, f"other-{n}", HOME) for n in range(30)]

    assert retried == [30] * 60
    assert others == [0] * 30


async def test_blocked_address_counts_against_no_account_and_leaves_nothing_behind(
    door: Door,
) -> None:
    """SG-4: what is not tried locks nobody out and fills no table."""
    leader = await door.somebody()
    throttle, pool = door.authz.throttle, door.authz.runtime.pool
    for number in range(30):
        await _fail(throttle, f"account-{number}", ELSEWHERE)
    rows = await pool.fetchval("select count(*) from authz.throttle")

    refused = [await _try(door, leader.username, ELSEWHERE) for _ in range(12)]
    refused += [await _try(door, f"nobody.{n}", ELSEWHERE) for n in range(12)]
    stranger = await _try(door, leader.username, "203.0.113.9", PASSWORD)

    assert {a.status_code for a in refused} == {429}
    assert stranger.status_code == 200
    counted = await pool.fetchval("select count(*) from authz.throttle where failures > 0")
    assert counted == rows


async def test_overload_is_nobodys_failure(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """SG-4: a password that was not even compared counts against nobody."""
    leader = await door.somebody()
    with monkeypatch.context() as patched:
        patched.setattr(passwords, "_QUEUE", 0)
        overloaded = [await _try(door, leader.username, ELSEWHERE, PASSWORD) for _ in range(8)]

    after = await _try(door, leader.username, ELSEWHERE, PASSWORD)

    assert {a.status_code for a in overloaded} == {429}
    assert after.status_code == 200


async def test_wrong_password_stays_counted_when_it_cannot_be_recorded(
    door: Door,
) -> None:
    """SG-4: while the log is away nobody guesses without end."""
    leader = await door.somebody()

    with log_away():
        statuses = [(await _try(door, leader.username, ELSEWHERE)).status_code for _ in range(6)]

    assert statuses == [503] * 5 + [429]


async def test_one_ipv6_network_counts_as_one_address(door: Door) -> None:
    """A customer has 2^64 addresses."""
    throttle = door.authz.throttle

    waits = [await _fail(throttle, f"account-{n}", f"2001:db8:1:2::{n:x}") for n in range(31)]

    assert waits == [0] * 30 + [900]


async def test_success_is_no_failure(door: Door) -> None:
    """SG-4: many logins in one morning are no attack."""
    leader = await door.somebody()

    statuses = [
        (await _try(door, leader.username, ELSEWHERE, PASSWORD)).status_code for _ in range(8)
    ]

    assert statuses == [200] * 8


async def test_right_password_does_not_clear_the_count_of_wrong_codes(door: Door) -> None:
    """SG-2: whoever has the password cannot try a million codes."""
    leader = await door.somebody()
    statuses = []
    for _ in range(6):
        begun = await _try(door, leader.username, ELSEWHERE, PASSWORD)
        if begun.status_code != 200:
            statuses.append(begun.status_code)
            continue
        answer = await door.verify(begun.json()["login_token"], "000000", ELSEWHERE)
        statuses.append(answer.status_code)

    assert statuses == [401] * 5 + [429]


async def test_guesses_at_once_are_as_bounded_as_guesses_in_turn(
    installation: Installation, clock: Clock
) -> None:
    """SG-4: over two processes, too."""
    async with two_opened(installation, clock) as (here, there):
        doors = [here, there]
        attempts = (
            doors[n % 2].authz.throttle.admit("account", f"203.0.113.{n}") for n in range(40)
        )

        answers = await asyncio.gather(*attempts, return_exceptions=True)

        assert sum(isinstance(a, TooManyRequests) for a in answers) == 35


async def test_tables_hold_neither_names_nor_addresses(door: Door) -> None:
    """SG-18."""
    leader = await door.somebody()
    await door.log_in(leader, HOME)
    await _try(door, leader.username, ELSEWHERE)

    rows = await door.authz.runtime.pool.fetch(
        "select key from authz.throttle union all select key from authz.known_address"
    )

    assert len(rows) >= 3
    assert {len(row["key"]) for row in rows} == {32}
    assert not [r for r in rows if HOME.encode() in r["key"] or ELSEWHERE.encode() in r["key"]]


async def test_old_counters_are_swept(door: Door) -> None:
    """Nothing is kept that no longer matters."""
    await _fail(door.authz.throttle, "account", ELSEWHERE)
    door.clock.advance(timedelta(hours=2))

    await door.authz.throttle.sweep()

    assert await door.authz.runtime.pool.fetchval("select count(*) from authz.throttle") == 0


async def test_flood_of_bad_logins_grows_the_log_by_a_bounded_number_of_events(
    door: Door,
) -> None:
    """Design: nobody may fill the log."""
    leader = await door.somebody()
    before = len(await door.log())
    statuses = [(await _try(door, leader.username, ELSEWHERE)).status_code for _ in range(200)]
    await door.authz.windows.flush()

    failed, throttled = await door.of_type(LOGIN_FAILED), await door.of_type(LOGIN_THROTTLED)
    assert statuses.count(429) == 195
    assert len(failed) == 5
    assert len(throttled) == 1
    assert throttled[0].data["count"] == 195
    assert throttled[0].origin.sealed is not None
    assert len(await door.log()) == before + 6


async def test_flood_from_many_addresses_is_appended_in_bounded_windows(door: Door) -> None:
    """Design: a bounded number of addresses is tracked, the others are lumped together."""
    app = door.authz
    before = len(await door.log())
    for number in range(600):
        ip = f"10.9.{number // 250}.{number % 250}"
        answer = await door.at(ip).get("/v1/me")
        assert answer.status_code == 401
    await app.windows.flush()

    windows = await door.of_type(e.UNAUTHENTICATED)
    assert len(windows) == 257
    assert sum(w.data["count"] for w in windows) == 600
    assert max(w.data["count"] for w in windows) == 344
    assert len(await door.log()) == before + 257


async def test_one_process_appends_a_bounded_number_of_single_failures_a_minute(
    door: Door,
) -> None:
    """Design: not even ten thousand addresses with a name each fill the log."""
    door.authz.failures._spent, door.authz.failures._minute = (
        300,
        int(door.clock.now().timestamp() // 60),
    )

    answer = await _try(door, "nobody.here", ELSEWHERE)
    await door.authz.windows.flush()

    assert answer.status_code == 401
    assert await door.of_type(LOGIN_FAILED) == []
    assert [w.data["count"] for w in await door.of_type(LOGIN_THROTTLED)] == [1]


async def test_counts_are_appended_when_the_process_stops(
    installation: Installation, clock: Clock
) -> None:
    """Design: a stop loses nothing that was counted."""
    async with opened(installation, clock) as first:
        await first.at(HOME).get("/v1/me")
    async with opened(installation, clock) as second:
        windows = await second.of_type(e.UNAUTHENTICATED)

    assert [w.data["count"] for w in windows] == [1]
