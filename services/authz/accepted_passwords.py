"""Right passwords, recorded as what they are: no login yet, but more than nothing (AC-USE-1, SG-9).

Place in the flow: ``password fits -> recorded -> login token``. Whose password is known to somebody
who has no second factor begins no session and fails at nothing: this event is all that their
analyst, and they themselves, can see of it. Owns that it is durable before the login token is
answered, and that nobody fills the log with it: one event for each account and address in
:data:`~services.authz.throttle.WINDOW`, and one more for all addresses of an account beyond
:data:`MOST_ADDRESSES`.

What was recorded is remembered by one process: several record as often, and none answers what was
not. Decides nothing, counts as no failure and is no login.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from services.authz.attempts import tried_as
from services.authz.directory import Person
from services.authz.recording import Recorder, person_object
from services.authz.session_events import PASSWORD_ACCEPTED
from services.authz.throttle import WINDOW
from services.kernel.groups import Group
from services.kernel.http import Call
from services.kernel.origins import network_of
from services.kernel.runtime import Runtime

#: addresses of one account that are recorded one by one in a window
MOST_ADDRESSES: Final = 32
_MOST_ACCOUNTS: Final = 10_000
_OTHERS: Final = "others"


@dataclass(slots=True)
class _Recorded:
    """When an account's password was recorded last, by address; one is recorded at a time."""

    at: dict[str, datetime] = field(default_factory=dict)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def due(self, address: str, now: datetime) -> str | None:
        """Return what a password from ``address`` is to be recorded as, if it is not already."""
        self.at = {of: at for of, at in self.at.items() if abs(now - at) < WINDOW}
        full = address not in self.at and len(self.at) >= MOST_ADDRESSES
        name = _OTHERS if full else address
        return None if name in self.at else name


class AcceptedPasswords:
    """Records right passwords; see the module."""

    def __init__(self, runtime: Runtime, recorder: Recorder) -> None:
        self._runtime = runtime
        self._recorder = recorder
        self._accounts: OrderedDict[UUID, _Recorded] = OrderedDict()

    async def record(self, person: Person, call: Call) -> None:
        """Return once it stands in the log that the password of ``person`` was right from here.

        Raises :class:`services.kernel.errors.Unavailable` when that cannot be recorded.
        """
        recorded = self._of(person.id)
        async with recorded.turn:
            now = self._runtime.effects.now()
            name = recorded.due(network_of(call.ip), now)
            if name is not None:
                await self._append(person, call, now)
                recorded.at[name] = now

    async def _append(self, person: Person, call: Call, now: datetime) -> None:
        event = await self._recorder.event(
            PASSWORD_ACCEPTED,
            call,
            action="verify",
            actor=tried_as(person, now),
            object_=person_object(person.id),
        )
        await self._runtime.log.append(Group([event]))

    def _of(self, person_id: UUID) -> _Recorded:
        recorded = self._accounts.setdefault(person_id, _Recorded())
        self._accounts.move_to_end(person_id)
        if len(self._accounts) > _MOST_ACCOUNTS:
            self._accounts.popitem(last=False)
        return recorded
