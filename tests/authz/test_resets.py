"""Resets: credentials taken back, sessions ended, and one way in again (SG-4, SG-21)."""

from datetime import timedelta
from http import HTTPStatus
from typing import Any
from uuid import UUID, uuid4

import httpx
import pyotp

from services.authz import events as e
from services.authz.credential_events import CREDENTIALS_RESET, INVITATION_ISSUED
from services.authz.events import Role
from services.authz.message_events import MESSAGE_DELIVERED
from services.authz.session_events import SESSION_ENDED
from services.kernel.events import Outcome
from tests.authz.spooled import by_hand, delivered, invited, reference_of, token_of
from tests.authz.staffed import KOTARE, MATAI, MINISTRY, RIMU, TUI, Region
from tests.conftest import Clock

__all__ = ["by_hand"]

WHY = {"reason": "Device lost on the bus"}
_STEP = timedelta(seconds=30)
PASSWORD = "granite-otter-lantern-94-quilt"
NEW_PASSWORD = "seven-copper-kettles-sing-38"


async def _reset(
    region: Region, who: str, of: str, headers: dict[str, str] | None = None
) -> httpx.Response:
    path = f"/v1/people/{region.people[of]}/reset"
    return await region.call(who, "POST", path, WHY, headers=headers)


async def _enrol(region: Region, invitation: str, password: str = NEW_PASSWORD) -> httpx.Response:
    body = {"invitation": invitation, "password": password}
    return await region.call("admin", "POST", "/v1/enrolment", body)


async def _confirm(region: Region, clock: Clock, invitation: str, begun: httpx.Response) -> str:
    """Finish an enrolment; return the second factor's secret."""
    secret = str(begun.json()["totp_secret"])
    body = {"invitation": invitation, "code": pyotp.TOTP(secret).at(clock.now())}
    done = await region.call("admin", "POST", "/v1/enrolment/confirm", body)
    assert done.status_code == HTTPStatus.OK, done.text
    return secret


RESETTING = (
    ("leader", "leader", 403),
    ("leader", "both", 403),
    ("office", "contact", 403),
    ("contact", "office", 404),
    ("leader", "rimu_leader", 404),
    ("leader", "nobody", 404),
    ("admin", "office", 403),
    ("admin", "admin", 403),
    ("manager", "lead", 403),
    ("isp", "lead", 404),
    ("school_admin", "leader", 404),
    ("admin", "investigator", 200),
    ("admin", "rimu_leader", 200),
    ("admin", "lead", 200),
    ("admin", "both", 200),
    ("admin", "isp", 200),
    ("lead", "manager", 200),
    ("isp", "isp_other", 403),
    ("leader", "deputy", 403),
    ("lead", "lead_other", 403),
    ("admin", "isp_other", 200),
    ("admin", "deputy", 200),
    ("leader", "office", 200),
)


async def test_each_resets_whom_a_row_names_and_nobody_themselves(region: Region) -> None:
    """SG-21, AC-DO-4 and AC-DO-16: leaders and leads too, by the Ministry's administrators."""
    region.people["nobody"] = uuid4()
    await region.person("both", (Role.PRIMARY_CONTACT, MATAI), (Role.PRIMARY_CONTACT, RIMU))
    await region.person("school_admin", (Role.ADMINISTRATOR, MATAI))
    await region.person("deputy", (Role.SCHOOL_LEADER, MATAI))
    await region.person("lead_other", (Role.ASP_WORKFLOW_LEAD, KOTARE))
    for name in ("isp", "isp_other"):
        await region.person(name, (Role.ISP_WORKFLOW_LEAD, TUI))
    for who, of, expected in RESETTING:
        await region.sign_in(who)
        answer = await _reset(region, who, of)
        assert answer.status_code == expected, (who, of)


async def test_a_reset_says_by_whom_about_whom_and_where(region: Region) -> None:
    """SG-9: what detection needs is in the envelope, not only in the data."""
    await _reset(region, "leader", "office")
    await _reset(region, "admin", "lead")

    for event, who, of, place in zip(
        [r.event for r in await region.log(CREDENTIALS_RESET)],
        ("leader", "admin"),
        ("office", "lead"),
        (MATAI, "Kōtare Attendance"),
        strict=True,
    ):
        assert event.action == "reset"
        assert event.actor.person_id == region.people[who]
        assert event.object
        assert UUID(event.object.id) == region.people[of]
        assert event.organisation_id == region.organisations[place]
        assert event.grounds[0].clause == "SG-21"
        assert event.origin.sealed


async def test_a_reset_ends_every_session_in_every_process_at_once(region: Region) -> None:
    """SG-21: acknowledged, it refuses the next request of an old token."""
    other, path = await region.another(), "/v1/organisations"
    await region.sign_in("office")
    assert (await region.call("office", "GET", path, at=other)).status_code == HTTPStatus.OK

    done = await _reset(region, "leader", "office")

    assert done.status_code == HTTPStatus.OK
    assert (await region.call("office", "GET", path, at=other)).status_code == 401
    ended = [r.event.data["reason"] for r in await region.log(SESSION_ENDED)]
    assert ended == ["reset", "reset"]


async def test_who_resets_is_told_the_channel_and_never_the_secret(region: Region) -> None:
    """SG-21 without account takeover: the invitation is in the person's hands alone."""
    answer = await _reset(region, "leader", "office")

    (letter,) = await delivered(region)
    shown = answer.json()["invitation"]
    assert set(shown) == {"id", "channel", "expires_at"}
    assert shown["channel"] == "spool"
    assert UUID(shown["id"]) == reference_of(letter)
    assert letter["to"] == "office@school.example"
    assert token_of(letter) not in answer.text


async def test_neither_secret_nor_reason_is_readable_in_the_log(region: Region) -> None:
    """SG-4 and SG-18: before the letter is written and after."""
    await _reset(region, "leader", "office")
    token = await invited(region)

    types = (CREDENTIALS_RESET, INVITATION_ISSUED, MESSAGE_DELIVERED)
    events = [r for type_ in types for r in await region.log(type_)]
    assert len(events) == 3
    for recorded in events:
        assert token.encode() not in recorded.body
        assert b"bus" not in recorded.body
        assert b"office@" not in recorded.body


async def test_only_the_newest_invitation_serves(region: Region) -> None:
    """SG-4: inviting again takes the earlier invitation back, sent or not."""
    await _reset(region, "leader", "office")
    first = await invited(region)
    await _reset(region, "leader", "office")
    await _reset(region, "leader", "office")
    second = await invited(region)

    assert len(await delivered(region)) == 2
    assert (await _enrol(region, first)).status_code == HTTPStatus.UNAUTHORIZED
    assert (await _enrol(region, second)).status_code == HTTPStatus.OK


async def test_one_person_is_reset_three_times_an_hour(region: Region, clock: Clock) -> None:
    """SG-4: nobody's mailbox is flooded, singled out one by one or by name in a list."""
    first = [await _reset(region, "leader", "office") for _ in range(3)]
    clock.advance(timedelta(minutes=20))
    await region.sign_in("leader")
    fourth = await _reset(region, "leader", "office")
    place, named = region.organisations[MATAI], [str(region.people["office"])]
    listed = await region.call(
        "leader", "POST", f"/v1/organisations/{place}/reset", {**WHY, "person_ids": named}
    )
    other = await _reset(region, "leader", "contact")
    clock.advance(timedelta(minutes=40))
    await region.sign_in("leader")
    later = await _reset(region, "leader", "office")

    assert [answer.status_code for answer in first] == [200, 200, 200]
    assert (fourth.status_code, fourth.headers["retry-after"]) == (429, "2400")
    assert (listed.status_code, other.status_code, later.status_code) == (429, 200, 200)
    assert [r.event.outcome for r in await region.log(e.REFUSED)] == [Outcome.FAILED] * 2
    assert len(await region.log(CREDENTIALS_RESET)) == 5


async def test_a_repeated_reset_says_the_same_and_resets_once(region: Region) -> None:
    """Contract: Idempotency-Key."""
    key = {"idempotency-key": "r-1"}

    first = await _reset(region, "leader", "office", key)
    again = await _reset(region, "leader", "office", key)

    assert first.status_code == again.status_code == HTTPStatus.OK
    assert first.json() == again.json()
    assert len(await region.log(CREDENTIALS_RESET)) == 1
    assert len(await delivered(region)) == 1


async def _log_in(region: Region, clock: Clock, password: str, secret: str) -> httpx.Response:
    body = {"username": "aroha", "password": password}
    begun = await region.call("admin", "POST", "/v1/login", body)
    if begun.status_code != HTTPStatus.OK:
        return begun
    code = pyotp.TOTP(secret).at(clock.now())
    second = {"login_token": begun.json()["login_token"], "method": "totp", "code": code}
    return await region.call("admin", "POST", "/v1/login/verify", second)


async def test_a_person_comes_in_by_letter_and_after_a_reset_by_another_one(
    region: Region, clock: Clock
) -> None:
    """SG-2, SG-4 and SG-21: registered, invited, enrolled, logged in; reset, and all that again."""
    person: dict[str, Any] = {
        "username": "aroha",
        "given_name": "Aroha",
        "family_name": "Ngata",
        "email": "aroha@ministry.example",
        "organisation_id": str(region.organisations[MINISTRY]),
    }
    made = await region.call("admin", "POST", "/v1/people", person)
    region.people["aroha"] = UUID(made.json()["id"])
    await region.grant("admin", "aroha", Role.REGIONAL_OFFICE, MINISTRY)
    first = await invited(region)
    secret = await _confirm(region, clock, first, await _enrol(region, first, PASSWORD))

    clock.advance(_STEP)
    session = await _log_in(region, clock, PASSWORD, secret)
    assert session.status_code == HTTPStatus.OK, session.text
    region.tokens["aroha"] = session.json()["access_token"]
    assert (await region.call("aroha", "GET", "/v1/me")).status_code == HTTPStatus.OK

    reset = await _reset(region, "admin", "aroha")

    assert (await region.call("aroha", "GET", "/v1/me")).status_code == HTTPStatus.UNAUTHORIZED
    assert (await _log_in(region, clock, PASSWORD, secret)).status_code == HTTPStatus.UNAUTHORIZED
    second = await invited(region)
    assert second not in reset.text
    old = await _enrol(region, second, PASSWORD)
    assert (old.status_code, old.json()["code"]) == (422, "password_reused")
    fresh = await _confirm(region, clock, second, await _enrol(region, second))
    clock.advance(_STEP)
    assert (await _log_in(region, clock, NEW_PASSWORD, fresh)).status_code == HTTPStatus.OK
