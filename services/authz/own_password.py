"""Changing one's own password, from within a session (SG-4, SG-21)."""

from functools import partial
from uuid import UUID

from services.authz import events as e
from services.authz.accounts import Accounts
from services.authz.attempts import Attempts, BadCredentials
from services.authz.credentials import CredentialSealer
from services.authz.enrolment import Enrolment
from services.authz.login_views import live_sessions
from services.authz.passwords import PasswordReused, Passwords, normalise, own_details
from services.authz.recording import data_of, person_object, person_stream
from services.authz.self_desk import SelfDesk
from services.authz.session_ends import Limits, endings
from services.authz.visits import Visit
from services.kernel.errors import Unauthenticated
from services.kernel.handling import Draft


class PasswordChanges:
    """Changes passwords; every other session of the person ends with the old one."""

    def __init__(
        self,
        *,
        desk: SelfDesk,
        accounts: Accounts,
        attempts: Attempts,
        enrolment: Enrolment,
        passwords: Passwords,
        limits: Limits,
    ) -> None:
        self._desk = desk
        self._runtime = desk.runtime
        self._effects = desk.runtime.effects
        self._accounts = accounts
        self._attempts = attempts
        self._enrolment = enrolment
        self._passwords = passwords
        self._limits = limits

    async def change(self, visit: Visit, current: str, new: str) -> None:
        """Change one's password; every other session of one's ends.

        Raises :class:`BadCredentials` when ``current`` is wrong, a ``PasswordRefused`` for the new.
        """
        account = await self._accounts.of(visit.person_id)
        if account is None:
            raise Unauthenticated
        async with self._attempts.on(account.username_digest, visit.call) as attempt:
            if not await self._accounts.fits(account, current):
                await attempt.wrong("password_change", "mismatch", visit.person_id)
                raise BadCredentials
        if normalise(new) == normalise(current):
            raise PasswordReused
        username, profile = await self._enrolment.details(account)
        await self._passwords.check(new, own_details(profile, username))
        await self._passwords.check_unused(new, self._enrolment.former(account))
        kept = await self._passwords.hash(new)
        rested_on = account.password.event_id if account.password else None
        await self._runtime.handling.run(partial(self._changed, visit, kept, rested_on))

    async def _changed(self, visit: Visit, kept: str, rested_on: UUID | None) -> Draft[None]:
        caller = await self._desk.called(visit)
        person = caller.caller.person
        account = await self._accounts.of(person.id)
        if account is None or account.password is None or account.password.event_id != rested_on:
            return await self._desk.refuse(visit, caller, "update", BadCredentials())
        carried = CredentialSealer(self._runtime.keys, self._effects, person.id).password(kept)
        event = await self._desk.recorder.event(
            carried.type,
            visit.call,
            action="update",
            actor=caller.actor,
            session_id=visit.session_id,
            event_id=carried.event_id,
            stream=(person_stream(person.id), person.version + 1),
            object_=person_object(person.id),
            touches=(e.person_key(person.id), e.login_key(person.id)),
            data=data_of(carried.payload),
        )
        others = [
            s
            for s in await live_sessions(self._runtime.pool, person.id)
            if s.id != visit.session_id
        ]
        ended = endings(self._effects, others, "reset", self._limits, caller.actor)
        group = self._desk.group(caller, [event, *ended], e.login_key(person.id))
        return Draft(group, None)
