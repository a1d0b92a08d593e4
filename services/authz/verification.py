"""The second step of logging in: a code that fits begins a session (SG-2, SG-4).

Place in the flow: ``login token -> code -> session``. Owns what a session begins with: a login
token that still counts, a second factor, and the once-keys of both, so that of two uses of either,
in whatever processes, the log takes one. Every attempt that is tried is an event.
"""

from functools import partial
from typing import NamedTuple

import msgspec

from services.authz import events as e
from services.authz import second_factors
from services.authz.attempts import BadCredentials
from services.authz.front_door import FrontDoor
from services.authz.login_views import Account, Session
from services.authz.recording import data_of, session_object, session_stream
from services.authz.second_factors import Factor
from services.authz.session_events import SESSION_STARTED, SessionStarted, login_key
from services.authz.tokens import LoginToken, digest
from services.kernel import telemetry
from services.kernel.events import Actor
from services.kernel.groups import Group
from services.kernel.handling import Draft
from services.kernel.http import Call
from services.kernel.log import Duplicate


class _NoFit(Exception):  # noqa: N818 - an answer, not a fault
    """The second factor does not let this person in."""


class Begun(NamedTuple):
    """A session that has begun, and its first refresh token."""

    session: Session
    refresh_token: str


class Verification:
    """Begins sessions; see the module."""

    def __init__(self, door: FrontDoor) -> None:
        self._door = door
        self._runtime = door.runtime
        self._effects = door.runtime.effects

    async def verify(self, token: str, method: str, code: str, call: Call) -> Begun:
        """Begin a session when ``code`` fits.

        Raises :class:`Unauthenticated` for a login token that is none or is too old,
        :class:`BadCredentials` for a code that is wrong, used, or older than one that was used.
        """
        login = await self._door.tokens.read_login(token)
        account = await self._door.accounts.of(login.person_id)
        if account is None:
            raise BadCredentials
        async with self._door.attempts.on(account.username_digest, call) as attempt:
            try:
                begun = await self._runtime.handling.run(
                    partial(self._begin, login, method, code, call)
                )
            except (Duplicate, _NoFit):
                stage = "totp" if method == "totp" else "recovery"
                await attempt.wrong(stage, "mismatch_or_used", account.person)
                raise BadCredentials from None
            await attempt.right()
        telemetry.LOGIN_ATTEMPTS.labels("allowed").inc()
        return begun

    async def _begin(self, login: LoginToken, method: str, code: str, call: Call) -> Draft[Begun]:
        account = await self._door.accounts.of(login.person_id)
        if account is None or account.person.suspended or not _current(account, login):
            raise _NoFit
        factor = self._factor(account, method, code)
        if factor is None:
            raise _NoFit
        return await self._started(account, login, method, factor, call)

    def _factor(self, account: Account, method: str, code: str) -> Factor | None:
        """Return the factor that ``code`` is, of what the account has of ``method``."""
        if method == "totp":
            secret, now = self._door.accounts.open(account.totp), self._effects.now()
            if secret is None:
                return None
            person_id, after = account.person.id, account.totp_step
            return second_factors.one_time_code(person_id, secret, code, now, after)
        kept = self._door.accounts.open(account.recovery)
        if kept is None or account.recovery is None:
            return None
        hashes = msgspec.json.decode(kept, type=list[str])
        return second_factors.recovery_code(account.recovery.event_id, hashes, code)

    async def _started(
        self, account: Account, login: LoginToken, method: str, factor: Factor, call: Call
    ) -> Draft[Begun]:
        now, session_id = self._effects.now(), self._effects.new_id()
        refresh, person = self._door.tokens.refresh(), account.person
        current = [a for a in person.assignments if a.in_force(now)]
        payload = SessionStarted(
            session_id=session_id,
            person_id=person.id,
            organisation_id=current[0].organisation_id if current else None,
            methods=("password", method),
            expires_at=now + self._door.limits.absolute,
            refresh_digest=digest(refresh),
            totp_step=factor.step,
            other_sessions=account.live_sessions,
        )
        event = await self._door.recorder.event(
            SESSION_STARTED,
            call,
            action="login",
            actor=Actor(person_id=person.id, organisation_id=payload.organisation_id),
            session_id=session_id,
            stream=(session_stream(session_id), 1),
            object_=session_object(session_id),
            touches=(login_key(person.id),),
            data=data_of(payload),
        )
        group = Group(
            [event],
            account.at,
            (e.person_key(person.id), login_key(person.id)),
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
