"""What may be a password, and how it is kept (SG-4, SG-21)."""

import asyncio
import threading
from datetime import timedelta

import pytest
from argon2 import PasswordHasher

from services.authz import passwords as p
from services.authz.events import Profile
from services.kernel.effects import Effects
from services.kernel.errors import TooManyRequests
from services.kernel.runtime import Installation
from tests.authz.door import PASSWORD, opened
from tests.conftest import Clock

PROFILE = Profile(given_name="Māia-Rose", family_name="O'Brien", email="rosie.field@school.example")
OWN = p.own_details(PROFILE, "mbrien7")


@pytest.mark.parametrize(
    "good",
    [
        "granite-otter-lantern-94-quilt",
        "correct staple unlikely horse",
        "ngā rākau roa o te ngahere",
        "x7!Kq9#vLm2$Zp",
        "\N{SNOWMAN} walks in seven quiet valleys",
    ],
)
def test_long_unguessable_passwords_are_taken(good: str) -> None:
    """SG-4: length over complexity."""
    assert p.check(good, OWN) is None  # type: ignore[func-returns-value] # it raises, or nothing


@pytest.mark.parametrize(
    ("bad", "refusal"),
    [
        ("short-otter", p.PasswordTooShort),
        ("", p.PasswordTooShort),
        ("ab" * 65, p.PasswordTooLong),
        ("granite-otter\x00-lantern-94", p.PasswordMalformed),
        ("granite-otter\n-lantern-94-quilt", p.PasswordMalformed),
        ("password1234", p.PasswordGuessable),
        ("aaaaaaaaaaaaaaaa", p.PasswordGuessable),
        ("qwertyuiop123456", p.PasswordGuessable),
        ("123456789012345", p.PasswordGuessable),
        ("granite-BRIEN-lantern-94-quilt", p.PasswordHoldsOwnDetails),
        ("granite-māia-lantern-94-quilt", p.PasswordHoldsOwnDetails),
        ("granite-otter-rosie-94-quilt", p.PasswordHoldsOwnDetails),
        ("field-granite-otter-lantern", p.PasswordHoldsOwnDetails),
        ("granite-otter-mbrien7-quilt", p.PasswordHoldsOwnDetails),
    ],
)
def test_refused_passwords_say_why(bad: str, refusal: type[p.PasswordRefused]) -> None:
    """SG-4, SG-21."""
    with pytest.raises(refusal) as refused:
        p.check(bad, OWN)

    assert type(refused.value) is refusal
    assert refused.value.status == 422
    assert bad == "" or bad not in refused.value.detail


def test_every_refusal_has_a_code_of_its_own() -> None:
    """So that a client can say what to do."""
    refusals = p.PasswordRefused.__subclasses__()

    assert len({r.code for r in refusals}) == len(refusals) == 6


def test_name_parts_of_two_letters_forbid_nothing() -> None:
    """SG-21: Jo may have a password with jo in it."""
    short = Profile(given_name="Jo", family_name="Li", email="jl@school.example")

    assert p.own_details(short, "jl") == frozenset()


def test_same_characters_from_another_keyboard_are_the_same_password() -> None:
    """Composed and decomposed letters are one text."""
    kept = p.hash_password("ngā rākau roa o te ngahere", b"0" * 16)

    assert p.matches(kept, "nga\u0304 ra\u0304kau roa o te ngahere")


def test_hash_is_argon2id_with_owasp_parameters() -> None:
    """OWASP password storage: 19 MiB, two passes, one lane."""
    kept = p.hash_password("granite-otter-lantern-94-quilt", b"0" * 16)

    assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert p.matches(kept, "granite-otter-lantern-94-quilt")
    assert not p.matches(kept, "granite-otter-lantern-94-quilT")
    assert not p.matches("not a hash", "granite-otter-lantern-94-quilt")


async def test_no_kept_hash_never_fits() -> None:
    """SG-4: an unknown account does the work and fails."""
    passwords = p.Passwords(Effects())

    assert not await passwords.verify(None, "granite-otter-lantern-94-quilt")
    passwords.close()


async def test_each_of_the_last_passwords_is_refused_in_turn() -> None:
    """SG-4: reused ones, one hash at a time; any other one is taken."""
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    last = [f"granite-otter-lantern-{n}-quilt" for n in range(3)]
    kept = [p.hash_password(one, b"0" * 16, cheap) for one in last]
    passwords = p.Passwords(Effects(), cheap)

    for one in last:
        with pytest.raises(p.PasswordReused):
            await passwords.check_unused(one, kept)
    await passwords.check_unused("granite-otter-lantern-3-quilt", kept)
    passwords.close()


async def test_a_changed_password_is_not_changed_back(
    installation: Installation, clock: Clock
) -> None:
    """SG-4: the last five are remembered, over any number of changes."""
    async with opened(installation, clock) as door:
        token = (await door.log_in(await door.somebody()))["access_token"]
        current, statuses = PASSWORD, []
        fresh = [f"granite-otter-lantern-{n}{n}-quilt" for n in range(5)]
        for new in [*fresh[:4], PASSWORD, fresh[4], PASSWORD]:
            body = {"current_password": current, "new_password": new}
            answer = await door.post("/v1/me/password", body, token=token)
            statuses.append(answer.status_code)
            current = new if answer.status_code == 204 else current

    assert statuses == [204, 204, 204, 204, 422, 204, 204]


async def test_flood_of_hashing_is_refused_beyond_a_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody takes all memory by logging in."""
    monkeypatch.setattr(p, "matches", lambda _kept, _password: False)
    passwords = p.Passwords(Effects())

    answers = await asyncio.gather(
        *(passwords.verify(None, "x" * 12) for _ in range(60)), return_exceptions=True
    )

    refused = [a for a in answers if isinstance(a, TooManyRequests)]
    assert len(refused) == 60 - 32
    assert [a for a in answers if a is False] == [False] * 32
    assert all(a.retry_after_s is not None and a.retry_after_s >= 1 for a in refused)
    passwords.close()


def _slow(clock: Clock, monkeypatch: pytest.MonkeyPatch, seconds: float) -> p.Passwords:
    """Return passwords whose every comparison takes ``seconds`` of ``clock``, and is wrong."""

    def compare(_kept: str, _password: str) -> bool:
        _ALL_ASKED.wait(10)
        clock.advance(timedelta(seconds=seconds))
        return False

    passwords = p.Passwords(clock.effects())
    monkeypatch.setattr(p, "matches", compare)
    return passwords


#: set once everybody waits
_ALL_ASKED = threading.Event()


async def _at_once(passwords: p.Passwords, number: int) -> list[TooManyRequests]:
    """Try ``number`` passwords at once; return the refusals."""
    _ALL_ASKED.clear()
    asyncio.get_running_loop().call_soon(
        asyncio.get_running_loop().call_later, 0.01, _ALL_ASKED.set
    )
    tried = (passwords.verify(None, "x" * 12) for _ in range(number))
    answers = await asyncio.gather(*tried, return_exceptions=True)
    refused = [one for one in answers if isinstance(one, TooManyRequests)]
    assert len(refused) + answers.count(False) == number
    return refused


async def test_who_would_wait_too_long_is_told_at_once_and_when_to_come_again(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SG-4: 429 before the deadline, not 503 at it, by how long it took of late."""
    passwords = _slow(clock, monkeypatch, 1.0)
    for _ in range(40):
        assert await _at_once(passwords, 1) == []

    refused = await _at_once(passwords, 32)

    assert len(refused) >= 32 - 6  # six of a second each are three seconds of two threads
    assert {one.retry_after_s for one in refused} == {3}
    monkeypatch.setattr(p, "matches", lambda _kept, _password: False)
    for _ in range(40):
        assert await _at_once(passwords, 1) == []
    assert await _at_once(passwords, 32) == []
    passwords.close()


async def test_who_waited_too_long_all_the_same_costs_no_hash(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was quick until now becomes slow: of 32 admitted few are tried, the others told."""
    passwords = _slow(clock, monkeypatch, 1.0)
    began = clock.now()

    refused = await _at_once(passwords, 32)

    tried = (clock.now() - began) // timedelta(seconds=1)
    assert 3 <= tried == 32 - len(refused) <= 5
    assert {one.retry_after_s for one in refused} == {3}
    passwords.close()
