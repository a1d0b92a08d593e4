"""Changing one's own password, from within a session (SG-4, SG-21)."""

from functools import partial
from uuid import UUID

from services.authz import events as e
from services.authz.attempts import BadCredentials
from services.authz.credentials import CredentialSealer
from services.authz.front_door import FrontDoor
from services.authz.login_views import Account, live_sessions
from services.authz.passwords import PasswordRefused, PasswordReused, normalise
from services.authz.recording import data_of, person_object, person_stream
from services.authz.self_desk import SelfDesk
from services.authz.session_ends import endings
from services.authz.session_events import login_key
from services.authz.throttle import NEW_PASSWORD
from services.authz.visits import Visit
from services.kernel.errors import Unauthenticated
from services.kernel.handling import Draft


class PasswordChanges:
    """Changes passwords; every other session of the person ends with the old one."""

    def __init__(self, desk: SelfDesk, door: FrontDoor) -> None:
        self._door = door
        self._desk = desk
        self._runtime = desk.runtime
        self._effects = desk.runtime.effects

    async def change(self, visit: Visit, current: str, new: str) -> None:
        """Change one's password; every other session of one's ends.

        Raises :class:`BadCredentials` when ``current`` is wrong, a ``PasswordRefused`` for the new.
        Ten times an hour, then 429: what is refused says which passwords one had before, and is
        recorded first.
        """
        account = await self._door.accounts.of(visit.person_id)
        if account is None:
            raise Unauthenticated
        async with self._door.attempts.on(account.username_digest, visit.call) as attempt:
            if not await self._door.accounts.fits(account, current):
                await attempt.wrong("password_change", "mismatch", account.person)
                raise BadCredentials
            await attempt.throttle.spend(NEW_PASSWORD, "own password", str(visit.person_id))
        try:
            kept = await self._taken(account, current, new)
        except PasswordRefused as problem:
            await self._runtime.handling.run(partial(self._refused, visit, problem))
            raise
        rested_on = account.password.event_id if account.password else None
        await self._runtime.handling.run(partial(self._changed, visit, kept, rested_on))

    async def _taken(self, account: Account, current: str, new: str) -> str:
        if normalise(new) == normalise(current):
            raise PasswordReused
        return await self._door.accounts.accepted(account, new)

    async def _refused(self, visit: Visit, problem: PasswordRefused) -> Draft[None]:
        return await self._desk.refuse(visit, await self._desk.called(visit), "update", problem)

    async def _changed(self, visit: Visit, kept: str, rested_on: UUID | None) -> Draft[None]:
        caller = await self._desk.called(visit)
        person = caller.caller.person
        account = await self._door.accounts.of(person.id)
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
            touches=(e.person_key(person.id), login_key(person.id)),
            data=data_of(carried.payload),
        )
        live = await live_sessions(self._runtime.pool, person.id, known=caller.at)
        others = [s for s in live if s.id != visit.session_id]
        ended = endings(self._effects, person, others, "reset", self._door.limits, caller.actor)
        group = self._desk.group(caller, [event, *ended], login_key(person.id))
        return Draft(group, None)
