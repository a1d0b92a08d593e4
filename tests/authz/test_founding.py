"""Where there is nobody yet: the first administrator, founded, invited, at work."""

import asyncio
from http import HTTPStatus

import pyotp
import pytest

from services.authz.events import Profile
from services.authz.founding import AlreadyFounded, Founder, found
from services.kernel.runtime import Installation
from tests.authz.door import opened
from tests.authz.spooled import by_hand, letters, token_of
from tests.conftest import Clock

__all__ = ["by_hand"]

FOUNDER = Founder(
    organisation="Ministry of Education",
    time_zone="Pacific/Auckland",
    username="aroha.founder",
    profile=Profile(given_name="Aroha", family_name="Tūhoe", email="aroha@ministry.example"),
)
PASSWORD = "three otters crossed the weir"


async def test_a_founder_is_invited_enrols_and_registers_the_next(
    installation: Installation, clock: Clock
) -> None:
    """AC-DO-16, SG-2: the letter alone has the invitation; the first deed needs both factors."""
    async with opened(installation, clock) as door:
        await found(door.authz.runtime, FOUNDER)
        await door.authz.courier.sweep()
        (letter,) = letters(installation.data)
        assert letter["to"] == FOUNDER.profile.email
        invitation = {"invitation": token_of(letter)}
        begun = await door.post("/v1/enrolment", {**invitation, "password": PASSWORD})
        code = pyotp.TOTP(begun.json()["totp_secret"])
        await door.post("/v1/enrolment/confirm", {**invitation, "code": code.at(clock.now())})
        door.next_step()
        login = {"username": FOUNDER.username, "password": PASSWORD}
        first = (await door.post("/v1/login", login)).json()
        second = {
            "login_token": first["login_token"],
            "method": "totp",
            "code": code.at(clock.now()),
        }
        token = (await door.post("/v1/login/verify", second)).json()["access_token"]
        school = {"kind": "school", "name": "First School", "time_zone": "Pacific/Auckland"}
        made = await door.post("/v1/organisations", school, token=token)
        assert made.status_code == HTTPStatus.CREATED


async def test_nobody_is_founded_where_there_is_somebody(
    installation: Installation, clock: Clock
) -> None:
    """AC-DO-16: also when two are at it at once; whoever comes later is registered."""
    async with opened(installation, clock) as door:
        runtime = door.authz.runtime
        other = Founder("Another", "Pacific/Auckland", "somebody.else", FOUNDER.profile)
        done = await asyncio.gather(
            found(runtime, FOUNDER), found(runtime, other), return_exceptions=True
        )
        assert [type(one) for one in done].count(AlreadyFounded) == 1
        with pytest.raises(AlreadyFounded):
            await found(runtime, other)
        assert await runtime.pool.fetchval("select count(*) from authz.person") == 1
