"""Logging in: the password, then the second factor, then a session (SG-2, SG-4).

Nobody learns from an answer whether an account exists: an unknown user name costs the same work,
takes the same time and gets the same answer as a wrong password, and so does a suspended person.
Every attempt that is tried is an event; attempts that are not tried are counted.
"""

import asyncio
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from services.authz import events as e
from services.authz import totp
from services.authz.login_views import Account, Session, account_by
from services.authz.passwords import Passwords
from services.authz.recording import Recorder, data_of, session_object
from services.authz.sessions import Limits, session_stream
from services.authz.throttle import Admission, Throttle
from services.authz.tokens import LoginToken, Tokens, digest
from services.authz.usernames import Usernames
from services.kernel import telemetry
from services.kernel.errors import Problem, TooManyRequests
from services.kernel.events import Actor, Outcome
from services.kernel.handling import Draft
from services.kernel.http import Call
from services.kernel.log import Duplicate, Group
from services.kernel.refusals import RefusalWindows
from services.kernel.runtime import Runtime
from services.kernel.sealing import Sealed

#: failed attempts appended one by one, by each process; the others are counted in windows
_SINGLE_PER_MINUTE: Final = 300
METHODS: Final = ("totp", "recovery_code")


class BadCredentials(Problem):
    """User name, password or code is wrong; which of them is not said."""

    status, code = HTTPStatus.UNAUTHORIZED, "bad_credentials"
    title = "User name, password or code is wrong"


class _NoFit(Exception):  # noqa: N818 - an answer, not a fault
    """The second factor does not let this person in."""


class Factor(NamedTuple):
    """A second factor that fits: its once-key, and the step it used up."""

    once: bytes
    step: int | None


class Begun(NamedTuple):
    """A session that has begun, and its first refresh token."""

    session: Session
    refresh_token: str


class Failures:
    """Records failed and throttled attempts without letting anybody fill the log."""

    def __init__(self, runtime: Runtime, recorder: Recorder, windows: RefusalWindows) -> None:
        self._runtime = runtime
        self._recorder = recorder
        self._windows = windows
        self._minute = -1
        self._spent = 0

    async def failed(
        self, call: Call, account: str, stage: str, reason: str, person_id: UUID | None = None
    ) -> None:
        """Append one failed attempt on ``account`` (a digest), or count it when there are many."""
        telemetry.LOGIN_ATTEMPTS.labels("failed").inc()
        if not self._affordable():
            self._windows.count(e.LOGIN_THROTTLED, call.ip, call)
            return
        event = await self._recorder.event(
            e.LOGIN_FAILED,
            call,
            action="login",
            actor=Actor(person_id=person_id, organisation_id=await self._home(person_id)),
            outcome=Outcome.FAILED,
            data={"account": account, "stage": stage, "reason": reason},
        )
        await self._runtime.log.append(Group([event]))

    async def _home(self, person_id: UUID | None) -> UUID | None:
        """Return where a person works, so that their organisation sees it; asked of nobody too."""
        organisation_id: UUID | None = await self._runtime.pool.fetchval(
            "select organisation_id from authz.assignment where person_id = $1"
            " and starts_at <= $2 and (ends_at is null or ends_at > $2) and not revoked"
            " order by starts_at, id",
            person_id,
            self._runtime.effects.now(),
        )
        return organisation_id

    def throttled(self, call: Call) -> None:
        """Count an attempt that was not tried."""
        telemetry.LOGIN_ATTEMPTS.labels("throttled").inc()
        self._windows.count(e.LOGIN_THROTTLED, call.ip, call)

    def _affordable(self) -> bool:
        minute = int(self._runtime.effects.now().timestamp() // 60)
        if minute != self._minute:
            self._minute, self._spent = minute, 0
        self._spent += 1
        return self._spent <= _SINGLE_PER_MINUTE


class Login:
    """The two steps of logging in; see the module."""

    def __init__(
        self,
        *,
        runtime: Runtime,
        recorder: Recorder,
        usernames: Usernames,
        passwords: Passwords,
        throttle: Throttle,
        failures: Failures,
        tokens: Tokens,
        limits: Limits,
        floor_s: float,
    ) -> None:
        self._runtime = runtime
        self._effects = runtime.effects
        self._recorder = recorder
        self._usernames = usernames
        self._passwords = passwords
        self._throttle = throttle
        self._failures = failures
        self._tokens = tokens
        self._limits = limits
        self._floor_s = floor_s

    async def password(self, username: str, password: str, call: Call) -> str:
        """Return a login token; raise :class:`BadCredentials`, or 429 when it is not even tried."""
        floor = asyncio.get_running_loop().time() + self._floor_s
        name = self._usernames.digest(username)
        async with self.attempt(name, call) as admission:
            account = await self.account("a.username_digest", name)
            fits = await self.fits(account, password)
            if account is None or account.password is None or account.person.suspended or not fits:
                admission.wrong = True
                person_id = account.person.id if account else None
                reason = "suspended" if fits else "mismatch" if account else "unknown"
                await self._failures.failed(call, name, "password", reason, person_id)
                await asyncio.sleep(max(0.0, floor - asyncio.get_running_loop().time()))
                raise BadCredentials
        return await self._tokens.login(account.person.id, account.password.event_id)

    async def verify(self, token: str, method: str, code: str, call: Call) -> Begun:
        """Begin a session when ``code`` fits.

        Raises :class:`Unauthenticated` for a login token that is none or is too old,
        :class:`BadCredentials` for a code that is wrong, used, or older than one that was used.
        """
        login = await self._tokens.read_login(token)
        account = await self.account("a.person_id", login.person_id)
        if account is None:
            raise BadCredentials
        async with self.attempt(account.username_digest, call) as admission:
            try:
                begun = await self._runtime.handling.run(
                    partial(self._begin, login, method, code, call)
                )
            except (Duplicate, _NoFit):
                admission.wrong = True
                stage = "totp" if method == "totp" else "recovery"
                name, person_id = account.username_digest, account.person.id
                await self._failures.failed(call, name, stage, "mismatch_or_used", person_id)
                raise BadCredentials from None
        await self._throttle.know(admission)
        telemetry.LOGIN_ATTEMPTS.labels("allowed").inc()
        return begun

    @asynccontextmanager
    async def attempt(self, account: str, call: Call) -> AsyncIterator[Admission]:
        """Admit one attempt on ``account``; raise 429, counted and not appended, otherwise.

        Overload inside the attempt is a 429 too: it is counted in the log and taken back.
        """
        try:
            async with self._throttle.attempt(account, call.ip) as admission:
                yield admission
        except TooManyRequests:
            self._failures.throttled(call)
            raise

    async def account(self, column: str, value: object) -> Account | None:
        """Return an account with its ``credential`` key loaded."""
        now = self._effects.now()
        account = await account_by(self._runtime.pool, column, value, now, now - self._limits.idle)
        if account is not None:
            await self._runtime.keys.load([account.username.ref])
        return account

    async def fits(self, account: Account | None, password: str) -> bool:
        """Say whether ``password`` is the account's; the same work for no account at all."""
        kept = self._open(account.password) if account else None
        return await self._passwords.verify(kept, password)

    def _open(self, sealed: Sealed | None) -> str | None:
        return None if sealed is None else self._runtime.keys.open_sealed(sealed)

    async def _begin(self, login: LoginToken, method: str, code: str, call: Call) -> Draft[Begun]:
        account = await self.account("a.person_id", login.person_id)
        if account is None or account.person.suspended or not _current(account, login):
            raise _NoFit
        factor = self._factor(account, method, code, self._effects.now())
        if factor is None:
            raise _NoFit
        return await self._started(account, login, method, factor, call)

    def _factor(self, account: Account, method: str, code: str, now: datetime) -> Factor | None:
        """Return the factor that ``code`` is, unless a code as new was used already."""
        if method == "totp":
            secret = self._open(account.totp)
            step = secret and totp.matching_step(secret, code, now, account.totp_step)
            return Factor(totp.step_once(account.person.id, step), step) if step else None
        kept, offered = self._open(account.recovery), totp.recovery_hash(code)
        if kept is None or account.recovery is None:
            return None
        known = [h for h in msgspec.json.decode(kept) if hmac.compare_digest(h, offered)]
        return (
            Factor(totp.recovery_once(account.recovery.event_id, offered), None) if known else None
        )

    async def _started(
        self, account: Account, login: LoginToken, method: str, factor: Factor, call: Call
    ) -> Draft[Begun]:
        now, session_id, refresh = (
            self._effects.now(),
            self._effects.new_id(),
            self._tokens.refresh(),
        )
        person = account.person
        current = [a for a in person.assignments if a.in_force(now)]
        payload = e.SessionStarted(
            session_id=session_id,
            person_id=person.id,
            organisation_id=current[0].organisation_id if current else None,
            methods=("password", method),
            expires_at=now + self._limits.absolute,
            refresh_digest=digest(refresh),
            totp_step=factor.step,
            other_sessions=account.live_sessions,
        )
        event = await self._recorder.event(
            e.SESSION_STARTED,
            call,
            action="login",
            actor=Actor(person_id=person.id, organisation_id=payload.organisation_id),
            session_id=session_id,
            stream=(session_stream(session_id), 1),
            object_=session_object(session_id),
            touches=(e.login_key(person.id),),
            data=data_of(payload),
        )
        group = Group(
            [event],
            account.at,
            (e.person_key(person.id), e.login_key(person.id)),
            valid_until=login.expires_at,
            once=(factor.once, login.once),
        )
        session = Session(
            session_id, person.id, payload.organisation_id, 1, now, now, payload.expires_at, None
        )
        return Draft(group, Begun(session, refresh))


def _current(account: Account, login: LoginToken) -> bool:
    """Say whether the password that the login token rests on is still the password."""
    return account.password is not None and account.password.event_id == login.password_event
