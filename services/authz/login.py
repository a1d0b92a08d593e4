"""The first step of logging in: user name and password, answered by a login token (SG-2, SG-4).

Place in the flow: ``user name and password -> login token``; the second step makes it a session.
Owns that nobody learns from an answer whether an account exists: an unknown user name costs the
same work, takes the same time and gets the same answer as a wrong password, and so does a suspended
person. That a password was right is recorded before it is told. Opens nothing: a login token says
that the first factor was right, and no more.
"""

from services.authz.accepted_passwords import AcceptedPasswords
from services.authz.attempts import BadCredentials
from services.authz.front_door import FrontDoor
from services.kernel.http import Call


class Login:
    """Takes passwords; see the module."""

    def __init__(self, door: FrontDoor) -> None:
        self._door = door
        self._accepted = AcceptedPasswords(door.runtime, door.recorder)

    async def password(self, username: str, password: str, call: Call) -> str:
        """Return a login token; raise :class:`BadCredentials`, or 429 when it is not even tried.

        Raises :class:`services.kernel.errors.Unavailable` for a right one that cannot be recorded.
        """
        name = self._door.usernames.digest(username)
        async with self._door.attempts.on(name, call) as attempt:
            account = await self._door.accounts.named(name)
            fits = await self._door.accounts.fits(account, password)
            if account is None or account.password is None or account.person.suspended or not fits:
                person = account.person if account else None
                reason = "suspended" if fits else "mismatch" if account else "unknown"
                await attempt.wrong("password", reason, person)
                raise BadCredentials
        await self._accepted.record(account.person, call)
        return await self._door.tokens.login(account.person.id, account.password.event_id)
