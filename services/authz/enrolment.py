"""Enrolment: a one-time invitation becomes a password, a second factor and recovery codes (SG-2).

Nothing takes effect before the second factor is confirmed: until then password and secret wait,
sealed, beside the projections. Confirming sets all of it together, uses the invitation up for
good, and ends every session the person had. The same path serves a forced reset (SG-21).

What a right invitation comes to is recorded before it is told, each time: whoever else holds it
tells by the answer that it serves, and which passwords the person had (AC-USE-1, SG-9).
"""

from collections.abc import Sequence
from functools import partial
from http import HTTPStatus
from typing import Final, NamedTuple

from services.authz import events as e
from services.authz import totp
from services.authz.attempts import Attempt, tried_as
from services.authz.credential_events import ENROLMENT_BEGUN
from services.authz.credentials import CredentialSealer
from services.authz.directory import Person
from services.authz.front_door import FrontDoor
from services.authz.login_views import Account, live_sessions
from services.authz.passwords import PasswordRefused
from services.authz.recording import data_of, person_object, person_stream
from services.authz.session_ends import endings
from services.authz.session_events import login_key
from services.authz.throttle import NEW_PASSWORD
from services.authz.tokens import digest
from services.kernel.errors import Problem, outcome_of
from services.kernel.events import Actor, Event, Outcome
from services.kernel.groups import Group
from services.kernel.handling import Draft
from services.kernel.http import Call
from services.kernel.log import Duplicate

_ENROL: Final = "enrol"


class BadInvitation(Problem):
    """The invitation does not exist, is used, or is too old; which is not said."""

    status, code = HTTPStatus.UNAUTHORIZED, "bad_invitation"
    title = "The invitation cannot be used"


class BadCode(Problem):
    """The code is not the one the secret gives now."""

    status, code = HTTPStatus.UNPROCESSABLE_ENTITY, "bad_code"
    title = "The code is wrong"


class Enrolling(NamedTuple):
    """What an authenticator app needs."""

    totp_secret: str
    otpauth_uri: str


class Enrolment:
    """The two steps of enrolling; see the module."""

    def __init__(self, door: FrontDoor) -> None:
        self._door = door
        self._runtime = door.runtime
        self._effects = door.runtime.effects

    async def begin(self, invitation: str, password: str, call: Call) -> Enrolling:
        """Take the password and return a fresh secret; raise a ``PasswordRefused`` or 401.

        Ten times an hour for one invitation, then 429: what is refused says which passwords the
        person had before. Each is an event first, either way; raises
        :class:`services.kernel.errors.Unavailable` when it cannot be recorded.
        """
        used = digest(invitation)
        async with self._door.attempts.on(used, call) as attempt:
            account = await self._invited(invitation, attempt)
            await attempt.throttle.spend(NEW_PASSWORD, "enrolment", used)
        kept = await self._taken(account, password, call)
        secret = totp.new_secret(self._effects.token(totp.secret_bytes()))
        pending, ref = self._effects.new_id(), account.username.ref
        await self._runtime.keys.load([ref], create=True)
        await self._record(ENROLMENT_BEGUN, account.person, call)
        seal = partial(self._runtime.keys.seal, ref, pending)
        await self._runtime.pool.execute(
            "insert into authz.enrolment (invitation_digest, id, password, secret, begun_at)"
            " values ($1, $2, $3, $4, $5) on conflict (invitation_digest)"
            " do update set id = excluded.id, password = excluded.password,"
            " secret = excluded.secret, begun_at = excluded.begun_at",
            used,
            pending,
            seal("password", kept),
            seal("secret", secret),
            self._effects.now(),
        )
        username = self._runtime.keys.open_sealed(account.username)
        return Enrolling(secret, totp.uri(secret, username))

    async def confirm(self, invitation: str, code: str, call: Call) -> list[str]:
        """Enrol when ``code`` fits the secret; return the recovery codes, shown once."""
        async with self._door.attempts.on(digest(invitation), call) as attempt:
            try:
                codes = await self._runtime.handling.run(
                    partial(self._confirmed, invitation, code, call, attempt)
                )
            except Duplicate:
                attempt.stays_counted()
                raise BadInvitation from None
        await self._runtime.pool.execute(
            "delete from authz.enrolment where invitation_digest = $1", digest(invitation)
        )
        return codes

    async def _taken(self, account: Account, password: str, call: Call) -> str:
        """Return the hash of a password; raise the ``PasswordRefused``, once it is recorded."""
        try:
            return await self._door.accounts.accepted(account, password)
        except PasswordRefused as problem:
            await self._record(e.REFUSED, account.person, call, problem)
            raise

    async def _record(
        self, type_: str, person: Person, call: Call, problem: Problem | None = None
    ) -> None:
        """Return once it stands in the log what an invitation of ``person`` came to."""
        event = await self._door.recorder.event(
            type_,
            call,
            action=_ENROL,
            actor=tried_as(person, self._effects.now()),
            outcome=outcome_of(problem) if problem else Outcome.ALLOWED,
            object_=person_object(person.id),
            data={"code": problem.code} if problem else None,
        )
        await self._runtime.log.append(Group([event]))

    async def _invited(self, invitation: str, attempt: Attempt) -> Account:
        account = await self._door.accounts.invited(digest(invitation))
        if account is None or account.person.suspended or not self._in_time(account):
            await attempt.wrong("invitation", "unknown_or_expired", account="")
            raise BadInvitation
        return account

    def _in_time(self, account: Account) -> bool:
        until = account.invitation_expires_at
        return until is not None and self._effects.now() < until

    async def _confirmed(
        self, invitation: str, code: str, call: Call, attempt: Attempt
    ) -> Draft[list[str]]:
        account = await self._invited(invitation, attempt)
        row = await self._runtime.pool.fetchrow(
            "select id, password, secret from authz.enrolment where invitation_digest = $1",
            digest(invitation),
        )
        if row is None:
            attempt.stays_counted()
            raise BadInvitation
        ref, person = account.username.ref, account.person
        kept = self._runtime.keys.open(ref, row["id"], "password", row["password"])
        secret = self._runtime.keys.open(ref, row["id"], "secret", row["secret"])
        step = totp.matching_step(secret, code, self._effects.now(), -1)
        if step is None:
            await attempt.wrong("enrolment", "mismatch", person, account="")
            raise BadCode
        codes = totp.new_recovery_codes(self._effects.token(totp.recovery_bytes()))
        events = await self._events(person, call, kept=kept, secret=secret, step=step, codes=codes)
        ended = endings(
            self._effects,
            person,
            await live_sessions(self._runtime.pool, person.id, known=account.at),
            "reset",
            self._door.limits,
            Actor(person_id=person.id),
        )
        # The step is used up by TotpEnrolled itself; its once-key may be the former secret's.
        once = (f"invitation:{digest(invitation)}".encode(),)
        guards = (e.person_key(person.id), login_key(person.id))
        return Draft(Group([*events, *ended], account.at, guards, once=once), codes)

    async def _events(
        self, person: Person, call: Call, *, kept: str, secret: str, step: int, codes: Sequence[str]
    ) -> list[Event]:
        sealed = CredentialSealer(self._runtime.keys, self._effects, person.id)
        payloads = (
            sealed.password(kept),
            sealed.totp(secret, step),
            sealed.recovery([totp.recovery_hash(code) for code in codes]),
        )
        return [
            await self._door.recorder.event(
                type_,
                call,
                action="update",
                actor=Actor(person_id=person.id),
                event_id=event_id,
                stream=(person_stream(person.id), person.version + offset),
                object_=person_object(person.id),
                touches=(e.person_key(person.id), login_key(person.id)),
                data=data_of(payload),
            )
            for offset, (type_, event_id, payload) in enumerate(payloads, 1)
        ]
