"""Passwords: what may be one, and how one is kept.

Length counts more than complexity; guessable passwords and those made from one's own details are
refused (SG-4, SG-21; NIST SP 800-63B). Kept as argon2id (RFC 9106) with OWASP's parameters.
Hashing runs in two threads behind a queue that is bounded in number and in seconds, so a flood of
logins can take neither all memory nor all processors, and who cannot be served in time is told when
to come again. This module stores nothing and knows no account.
"""

import asyncio
import math
import re
import threading
import unicodedata
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import Type
from zxcvbn import zxcvbn

from services.authz.events import Profile
from services.kernel.effects import Effects
from services.kernel.errors import Problem, TooManyRequests

MIN_LENGTH: Final = 12
MAX_LENGTH: Final = 128
_MIN_SCORE: Final = 3
_SHORTEST_PART: Final = 3
_SCORED: Final = 72
_WORKERS: Final = 2
_QUEUE: Final = 32
#: for how long one may wait for a turn: half of a request's deadline
_LONGEST_WAIT_S: Final = 2.5
#: how much the latest duration counts in the mean of the recent ones
_LATEST: Final = 0.2
_SALT_BYTES: Final = 16
T = TypeVar("T")

OWASP: Final = PasswordHasher(
    time_cost=2, memory_cost=19_456, parallelism=1, hash_len=32, type=Type.ID
)
#: zxcvbn keeps the user's own words in a global; two threads would mix two people's
_zxcvbn_turn: Final = threading.Lock()


@dataclass(frozen=True, slots=True)
class Effort:
    """What trying a password costs. Anything but the defaults is for tests of something else."""

    hasher: PasswordHasher = OWASP
    #: a failed password is answered no sooner than this, so that its time says nothing
    floor_s: float = 0.25


FULL: Final = Effort()


class PasswordRefused(Problem):
    """The new password cannot be taken; ``code`` says why."""

    status, code = HTTPStatus.UNPROCESSABLE_ENTITY, "password_refused"
    title = "Password refused"


class PasswordMalformed(PasswordRefused):
    """It holds a control character."""

    code, title = "password_malformed", "The password holds a control character"


class PasswordTooShort(PasswordRefused):
    """It has fewer than twelve characters."""

    code, title = "password_too_short", f"The password needs {MIN_LENGTH} characters or more"


class PasswordTooLong(PasswordRefused):
    """It has more than 128 characters."""

    code, title = "password_too_long", f"The password has more than {MAX_LENGTH} characters"


class PasswordHoldsOwnDetails(PasswordRefused):
    """It holds part of the person's own name, user name or email address (SG-21)."""

    code, title = "password_holds_own_details", "The password holds your own details"


class PasswordGuessable(PasswordRefused):
    """It is common, or follows a pattern that is tried early (SG-4)."""

    code, title = "password_guessable", "The password is too easy to guess"


class PasswordReused(PasswordRefused):
    """It is the password that is to be replaced, or one of those before it (SG-4)."""

    code, title = "password_reused", "The password was used before"


#: every reason there is, for whoever describes a route
REFUSALS: Final = (
    PasswordMalformed,
    PasswordTooShort,
    PasswordTooLong,
    PasswordHoldsOwnDetails,
    PasswordGuessable,
    PasswordReused,
)


def normalise(password: str) -> str:
    """Return ``password`` in NFKC, so that it is the same from every keyboard."""
    return unicodedata.normalize("NFKC", password)


def own_details(profile: Profile, username: str) -> frozenset[str]:
    """Return the parts, of three letters or more, of what is personal to somebody."""
    local = profile.email.partition("@")[0]
    whole = (profile.given_name, profile.family_name, username, local)
    parts = {part for text in whole for part in re.split(r"[\W\d_]+", text.casefold())}
    return frozenset(p for p in {*parts, username.casefold()} if len(p) >= _SHORTEST_PART)


def check(password: str, details: frozenset[str]) -> None:
    """Raise the :class:`PasswordRefused` that says why ``password`` cannot be taken, if any."""
    password = normalise(password)
    if any(unicodedata.category(character) == "Cc" for character in password):
        raise PasswordMalformed
    if len(password) < MIN_LENGTH:
        raise PasswordTooShort
    if len(password) > MAX_LENGTH:
        raise PasswordTooLong
    folded = password.casefold()
    if any(detail in folded for detail in details):
        raise PasswordHoldsOwnDetails
    with _zxcvbn_turn:
        score = zxcvbn(password[:_SCORED], user_inputs=sorted(details))["score"]
    if score < _MIN_SCORE:
        raise PasswordGuessable


def hash_password(password: str, salt: bytes, hasher: PasswordHasher = OWASP) -> str:
    """Return the argon2id hash of ``password``; takes tens of milliseconds and 19 MiB."""
    return hasher.hash(normalise(password), salt=salt)


def matches(kept: str, password: str) -> bool:
    """Say whether ``kept`` is a hash of ``password``, by the parameters it was made with."""
    try:
        return OWASP.verify(kept, normalise(password))
    except (VerificationError, InvalidHashError):
        return False


class Passwords:
    """Hashes and verifies off the event loop, at most two at a time.

    Raises :class:`TooManyRequests` at once when what waits already would take too long, by how long
    it took of late; and for who waited too long all the same, instead of doing the work.
    """

    def __init__(self, effects: Effects, hasher: PasswordHasher = OWASP) -> None:
        self._effects = effects
        self._hasher = hasher
        self._threads = ThreadPoolExecutor(_WORKERS, thread_name_prefix="passwords")
        self._waiting = 0
        began = effects.now()
        self._decoy = hash_password(effects.token(16).hex(), effects.token(_SALT_BYTES), hasher)
        #: seconds that one piece of work takes, as a mean of the recent ones
        self._takes_s = self._seconds_since(began)

    async def hash(self, password: str) -> str:
        """Return the hash of ``password`` under a fresh salt."""
        salt = self._effects.token(_SALT_BYTES)
        return await self._run(lambda: hash_password(password, salt, self._hasher))

    async def verify(self, kept: str | None, password: str) -> bool:
        """Say whether ``password`` fits; without a kept hash do the same work and say no."""
        fits = await self._run(lambda: matches(kept or self._decoy, password))
        return fits and kept is not None

    async def check(self, password: str, details: frozenset[str]) -> None:
        """As :func:`check`, off the event loop: scoring takes milliseconds."""
        await self._run(lambda: check(password, details))

    async def check_unused(self, password: str, kept: Iterable[str]) -> None:
        """Raise :class:`PasswordReused` when one of ``kept`` is a hash of ``password`` (SG-4).

        One hash at a time, each queued like a login: nobody's history holds up who logs in.
        """
        for one in kept:
            if await self._run(partial(matches, one, password)):
                raise PasswordReused

    def close(self) -> None:
        """Let what runs end."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    async def _run(self, work: Callable[[], T]) -> T:
        wait_s = self._waiting / _WORKERS * self._takes_s
        if self._waiting >= _QUEUE or wait_s > _LONGEST_WAIT_S:
            raise TooManyRequests(retry_after_s=max(1, math.ceil(wait_s)))
        in_turn = partial(self._in_turn, self._effects.now(), work)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, in_turn)
        finally:
            self._waiting -= 1

    def _in_turn(self, asked: datetime, work: Callable[[], T]) -> T:
        """Do ``work`` in a thread, and learn how long that takes."""
        if self._seconds_since(asked) > _LONGEST_WAIT_S:
            raise TooManyRequests(retry_after_s=math.ceil(_LONGEST_WAIT_S))
        began = self._effects.now()
        try:
            return work()
        finally:
            self._takes_s += _LATEST * (self._seconds_since(began) - self._takes_s)

    def _seconds_since(self, moment: datetime) -> float:
        return max(0.0, (self._effects.now() - moment).total_seconds())
