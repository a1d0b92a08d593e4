"""Resets: credentials taken back, sessions ended, and one way in again (SG-4, SG-21)."""

import hashlib
from http import HTTPStatus
from uuid import uuid4

import httpx
import pyotp

from services.authz import events as e
from services.authz.events import Role
from tests.authz.staffed import MATAI, RIMU, Region, region
from tests.conftest import Clock

__all__ = ["region"]

WHY = {"reason": "Device lost on the bus"}
NEW_PASSWORD = "seven-copper-kettles-sing-38"


async def _reset(
    region: Region, who: str, of: str, headers: dict[str, str] | None = None
) -> httpx.Response:
    path = f"/v1/people/{region.people[of]}/reset"
    return await region.call(who, "POST", path, WHY, headers=headers)


async def _enrol(region: Region, invitation: str) -> httpx.Response:
    body = {"invitation": invitation, "password": NEW_PASSWORD}
    return await region.call("admin", "POST", "/v1/enrolment", body)


RESETTING = (
    ("leader", "leader", 403),
    ("office", "contact", 403),
    ("contact", "office", 404),
    ("leader", "rimu_leader", 404),
    ("leader", "nobody", 404),
    ("admin", "leader", 403),
    ("admin", "admin", 403),
    ("manager", "lead", 403),
    ("admin", "investigator", 200),
    ("lead", "manager", 200),
    ("leader", "office", 200),
)


async def test_leaders_leads_and_administrators_reset_their_own(region: Region) -> None:
    """SG-21: nobody themselves, and each by its clause."""
    region.people["nobody"] = uuid4()
    for who, of, expected in RESETTING:
        answer = await _reset(region, who, of)
        assert answer.status_code == expected, (who, of)
    resets = [recorded.event for recorded in await region.log(e.CREDENTIALS_RESET)]
    assert [event.grounds[0].clause for event in resets] == ["SG-21"] * 3
    assert [event.action for event in resets] == ["reset"] * 3


async def test_who_also_works_elsewhere_is_not_one_leaders_to_reset(region: Region) -> None:
    """SG-1: a leader takes back what is theirs, and no more."""
    await region.person("both", (Role.PRIMARY_CONTACT, MATAI), (Role.PRIMARY_CONTACT, RIMU))

    assert (await _reset(region, "leader", "both")).status_code == HTTPStatus.FORBIDDEN


async def test_a_reset_ends_every_session_in_every_process_at_once(region: Region) -> None:
    """SG-21: acknowledged, it refuses the next request of an old token."""
    other, path = await region.another(), "/v1/organisations"
    await region.sign_in("office")
    assert (await region.call("office", "GET", path, at=other)).status_code == HTTPStatus.OK

    done = await _reset(region, "leader", "office")

    assert done.status_code == HTTPStatus.OK
    assert (await region.call("office", "GET", path, at=other)).status_code == 401
    ended = [r.event.data["reason"] for r in await region.log(e.SESSION_ENDED)]
    assert ended == ["reset", "reset"]


async def test_a_reset_keeps_neither_token_nor_reason_readable(region: Region) -> None:
    """SG-4 and SG-18."""
    token = (await _reset(region, "leader", "office")).json()["invitation"]["token"]

    reset, issued = (
        (await region.log(e.CREDENTIALS_RESET))[-1],
        (await region.log(e.INVITATION_ISSUED))[-1],
    )
    assert b"bus" not in reset.body
    assert reset.event.data["reason"]
    assert issued.event.data["token_digest"] == hashlib.sha256(token.encode()).hexdigest()
    assert token.encode() not in issued.body


async def test_the_invitation_of_a_reset_leads_back_in(region: Region, clock: Clock) -> None:
    """SG-2 and SG-21: a new password and a new second factor, and a session with them."""
    token = (await _reset(region, "leader", "office")).json()["invitation"]["token"]
    begun = await _enrol(region, token)
    totp = pyotp.TOTP(begun.json()["totp_secret"])
    confirmed = {"invitation": token, "code": totp.at(clock.now())}
    done = await region.call("admin", "POST", "/v1/enrolment/confirm", confirmed)
    login = {"username": "office", "password": NEW_PASSWORD}

    again = await region.call("admin", "POST", "/v1/login", login)

    assert (done.status_code, again.status_code) == (HTTPStatus.OK, HTTPStatus.OK)


async def test_only_the_newest_invitation_serves(region: Region) -> None:
    """SG-4: inviting again takes the earlier invitation back."""
    first = (await _reset(region, "leader", "office")).json()["invitation"]["token"]
    second = (await _reset(region, "leader", "office")).json()["invitation"]["token"]

    assert (await _enrol(region, first)).status_code == HTTPStatus.UNAUTHORIZED
    assert (await _enrol(region, second)).status_code == HTTPStatus.OK


async def test_a_repeated_reset_shows_the_same_invitation_and_resets_once(region: Region) -> None:
    """Contract: Idempotency-Key."""
    key = {"idempotency-key": "r-1"}

    first = await _reset(region, "leader", "office", key)
    again = await _reset(region, "leader", "office", key)

    assert first.status_code == again.status_code == HTTPStatus.OK
    assert first.json() == again.json()
    assert len(await region.log(e.CREDENTIALS_RESET)) == 1
