"""How often somebody may try: counters by account and by address, shared by all processes.

Nobody can be shut out of where they have logged in before. Attempts on an account from addresses it
never logged in from share one counter: after five failures in fifteen minutes they wait, longer
each time, up to fifteen minutes. An address the account did log in from has a counter of its own,
which strangers cannot reach. Thirty failures in fifteen minutes from one address stop it until the
window ends, except for the accounts that know it.

An attempt counts as a failure when it is *admitted* and is taken back unless a credential turned
out wrong, so that a thousand at once are as bounded as a thousand in turn. What is not admitted is
not counted at all: neither against the account nor against the address.

Keys are keyed digests: neither a user name nor an address is stored. Losing these tables costs
counters, nothing else. What it cannot do: keep a known address usable against somebody who sits
behind that same address, or a new address while strangers go on guessing at the account; hide, from
who has used up an address, which accounts logged in from there.
"""

import hashlib
import hmac
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import asyncpg

from services.kernel.effects import Effects
from services.kernel.errors import TooManyRequests
from services.kernel.origins import network_of
from services.kernel.projection import Connection

WINDOW: Final = timedelta(minutes=15)
_KNOWN_FOR: Final = timedelta(days=90)
_ADMIT: Final = """
insert into authz.throttle as t (key, failures, started_at, last_at, blocked_until)
values ($1, 1, $2, $2, null)
on conflict (key) do update set (failures, started_at, last_at, blocked_until) = (
    select n.failures, case when n.failures = 1 then $2 else t.started_at end, $2,
        case when n.failures >= $3::int then $2::timestamptz + least($6::interval,
            $4::interval * power(2, least(n.failures - $3::int, 16))) end
    from (select case when coalesce(t.blocked_until + $5::interval, t.started_at + $6::interval)
        <= $2 then 1 else t.failures + 1 end as failures) n
)
where t.blocked_until is null or t.blocked_until <= $2
returning failures
"""


@dataclass(frozen=True, slots=True)
class Limit:
    """After ``failures`` in the window, wait ``pause``, doubled each time, up to the window.

    ``linger`` is how long after the last pause the count is remembered.
    """

    failures: int
    pause: timedelta
    linger: timedelta
    window: timedelta = WINDOW


ACCOUNT: Final = Limit(5, timedelta(seconds=30), WINDOW)
ADDRESS: Final = Limit(30, WINDOW, timedelta(0))
_HOUR: Final = timedelta(hours=1)
#: what is bounded however it ends: each time costs hashes, and tells which passwords were used
NEW_PASSWORD: Final = Limit(10, _HOUR, timedelta(0), _HOUR)


@dataclass(slots=True)
class Admission:
    """An attempt that may go on, and the counters it is counted in until it is taken back."""

    counted: tuple[tuple[bytes, Limit], ...]
    pair: bytes
    #: whether the attempt stays counted: said before a wrong credential is even recorded
    wrong: bool = False


class Throttle:
    """Admits attempts; see the module."""

    def __init__(self, pool: asyncpg.Pool, secret: bytes, effects: Effects) -> None:
        self._pool = pool
        self._secret = secret
        self._effects = effects

    def _key(self, *names: str) -> bytes:
        return hmac.new(self._secret, "\0".join(names).encode(), hashlib.sha256).digest()

    async def admit(self, account: str, ip: str) -> Admission:
        """Count one attempt on ``account`` (a digest); raise :class:`TooManyRequests` instead.

        The error says after how many seconds to try again.
        """
        address = network_of(ip)
        pair = self._key("pair", account, address)
        now = self._effects.now()
        async with self._pool.acquire() as connection, connection.transaction():
            known = await connection.fetchval(
                "select exists (select from authz.known_address where key = $1 and last_at > $2)",
                pair,
                now - _KNOWN_FOR,
            )
            if known:
                counted: tuple[tuple[bytes, Limit], ...] = ((pair, ACCOUNT),)
            else:
                strangers = self._key("account", account)
                counted = ((self._key("address", address), ADDRESS), (strangers, ACCOUNT))
            for key, limit in counted:
                wait = await _count(connection, key, limit, now)
                if wait:  # within the transaction, which takes back what was counted so far
                    raise TooManyRequests(retry_after_s=wait)
        return Admission(counted, pair)

    @asynccontextmanager
    async def attempt(self, account: str, ip: str) -> AsyncIterator[Admission]:
        """Admit an attempt, and take it back at its end unless :attr:`Admission.wrong`."""
        admission = await self.admit(account, ip)
        try:
            yield admission
        finally:
            if not admission.wrong:
                await self.take_back(admission)

    async def spend(self, limit: Limit, *names: str) -> None:
        """Count one of what ``limit`` bounds; raise :class:`TooManyRequests` instead.

        Wherever it comes from and however it ends: it is never taken back.
        """
        wait = await _count(self._pool, self._key(*names), limit, self._effects.now())
        if wait:
            raise TooManyRequests(retry_after_s=wait)

    async def take_back(self, admission: Admission) -> None:
        """Say that an admitted attempt was no failure: it leaves no pause, and no count."""
        for key, limit in admission.counted:
            await self._pool.execute(
                "update authz.throttle set failures = greatest(failures - 1, 0), blocked_until ="
                " case when failures > $2 then $3::timestamptz end where key = $1",
                key,
                limit.failures,
                self._effects.now(),
            )

    async def know(self, admission: Admission) -> None:
        """Remember that the account logged in from this address, whose own counter begins anew."""
        await self._pool.execute("delete from authz.throttle where key = $1", admission.pair)
        await self._pool.execute(
            "insert into authz.known_address (key, last_at) values ($1, $2)"
            " on conflict (key) do update set last_at = excluded.last_at",
            admission.pair,
            self._effects.now(),
        )

    async def sweep(self) -> None:
        """Forget counters and addresses that no longer matter."""
        now = self._effects.now()
        await self._pool.execute("delete from authz.throttle where last_at < $1", now - 4 * WINDOW)
        await self._pool.execute(
            "delete from authz.known_address where last_at < $1", now - _KNOWN_FOR
        )


async def _count(
    connection: asyncpg.Pool | Connection, key: bytes, limit: Limit, now: datetime
) -> int:
    """Count an attempt; return 0, or how many seconds it has to wait instead."""
    counted = await connection.fetchval(
        _ADMIT, key, now, limit.failures, limit.pause, limit.linger, limit.window
    )
    if counted is not None:
        return 0
    until = await connection.fetchval(
        "select blocked_until from authz.throttle where key = $1", key
    )
    return 1 if until is None else max(1, math.ceil((until - now).total_seconds()))
