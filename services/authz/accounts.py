"""Accounts as the front door needs them: found, their key in reach, a password compared or taken.

Place in the flow: an attempt is admitted, then the account it is on is loaded here. Owns the way
from what somebody claims to be (a user name's digest, a token's person, an invitation's digest) to
their sealed credentials, and which password an account takes. What it says of an account, or that
there is none, is as the log had it when asked: 503 while that is folded anew. Never admits or
records anything.
"""

from datetime import timedelta
from uuid import UUID

import msgspec

from services.authz.events import Profile
from services.authz.login_views import Account, account_by
from services.authz.passwords import Passwords, own_details
from services.kernel.runtime import Runtime
from services.kernel.sealing import Sealed
from services.kernel.wholeness import AsOf, whole


class Accounts:
    """Loads accounts, with the ``credential`` key of each."""

    def __init__(self, runtime: Runtime, passwords: Passwords, idle: timedelta) -> None:
        self._runtime = runtime
        self._passwords = passwords
        self._idle = idle

    async def named(self, username_digest: str) -> Account | None:
        """Return the account of a user name."""
        return await self._by("a.username_digest", username_digest)

    async def of(self, person_id: UUID) -> Account | None:
        """Return the account of a person."""
        return await self._by("a.person_id", person_id)

    async def invited(self, invitation_digest: str) -> Account | None:
        """Return the account that an invitation, in time or not, is for."""
        return await self._by("a.invitation_digest", invitation_digest)

    async def _by(self, column: str, value: object) -> Account | None:
        async def read() -> AsOf[Account | None]:
            now = self._runtime.effects.now()
            return await account_by(self._runtime.pool, column, value, now, now - self._idle)

        account = await whole(self._runtime.projector, read)
        if account is not None:
            await self._runtime.keys.load([account.username.ref])
        return account

    async def fits(self, account: Account | None, password: str) -> bool:
        """Say whether ``password`` is the account's; the same work for no account at all."""
        kept = self.open(account.password) if account else None
        return await self._passwords.verify(kept, password)

    async def accepted(self, account: Account, password: str) -> str:
        """Return the hash of a password that is to be the account's.

        Raises the ``PasswordRefused`` that says why it cannot be (SG-4, SG-21): the person's own
        details and their last passwords are looked at besides the password itself.
        """
        keys, sealed = self._runtime.keys, account.person.sealed_profile()
        await keys.load([sealed.ref, account.username.ref])
        profile = msgspec.json.decode(keys.open_sealed(sealed), type=Profile)
        own = own_details(profile, keys.open_sealed(account.username))
        await self._passwords.check(password, own)
        former = [keys.open_sealed(one) for one in account.former]
        await self._passwords.check_unused(password, former)
        return await self._passwords.hash(password)

    def open(self, sealed: Sealed | None) -> str | None:
        """Return what is kept sealed in a loaded account, if anything is."""
        return None if sealed is None else self._runtime.keys.open_sealed(sealed)
