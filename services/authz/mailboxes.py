"""Which accounts one mailbox opens: two people behind one are an alert (SG-4).

Looked up when an invitation goes out. A value made from an address is in no table and no event: a
process remembers short digests under a key of its own, both for a day at most, and opens and
compares the addresses of whoever they point at. So an invitation costs what changed since the one
before it, and only the first of a day opens the address of everybody. Nothing is refused and
nothing answered: whoever registers somebody learns of nobody else's address. In the flow:
letter → here → an event that security at the Ministry is alerted by.
"""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg
import msgspec

from services.authz.events import Profile
from services.kernel.runtime import Runtime
from services.kernel.sealing import KEY_BYTES, Compartment, KeyRef, SealBroken, Sealed

_PAGE: Final = 500
_DIGEST_BYTES: Final = 8
#: for how long digests and their key are remembered, those of who has left or was disposed of too
_LASTS: Final = timedelta(days=1)
#: who has gone opens nothing any more; who has not begun will. Nobody comes back without a fact
_ACCOUNTS: Final = (
    "select a.* from authz.address a where (not exists"
    " (select from authz.assignment s where s.person_id = a.person_id) or exists"
    " (select from authz.assignment s where s.person_id = a.person_id and not s.revoked"
    " and (s.ends_at is null or s.ends_at > $1)))"
)
_PAGE_OF_ALL: Final = f"{_ACCOUNTS} and person_id > $2 order by person_id limit $3"
_SOME: Final = f"{_ACCOUNTS} and person_id = any($2)"
_FOLDED: Final = "select position from authz.projection where name = 'authz.deliveries'"
_CHANGED: Final = (
    "select distinct stream from log.fact where position > $1 and position <= $2"
    " and stream like 'person:%'"
)


def mailbox(email: str) -> str:
    """Return what the spellings of one mailbox have in common: case and ``+tag`` set aside."""
    local, _, domain = email.rpartition("@")
    return f"{local.partition('+')[0]}@{domain}".casefold()


class Mailboxes:
    """Whose messages go to which mailbox, or will; for one task at a time."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._secret = b""
        #: by digest, whose addresses had it since the key was drawn
        self._people: dict[bytes, tuple[UUID, ...]] = {}
        #: how far what is remembered was folded
        self._at = -1
        self._until: datetime | None = None

    async def others(self, person_id: UUID, email: str) -> frozenset[UUID]:
        """Return who besides ``person_id`` has an account that is reached at ``email``."""
        now = self._runtime.effects.now()
        await self._follow(now)
        alike = [p for p in self._people.get(self._digest(email), ()) if p != person_id]
        rows = await self._runtime.pool.fetch(_SOME, now, alike) if alike else []
        found = await self._opened(rows)
        return frozenset(other for other, to in found if mailbox(to) == mailbox(email))

    async def _follow(self, now: datetime) -> None:
        """Remember the addresses that changed; those of everybody once a day."""
        pool, at = self._runtime.pool, int(await self._runtime.pool.fetchval(_FOLDED))
        if self._until is None or now >= self._until or at < self._at:
            self._secret, self._people = self._runtime.effects.token(KEY_BYTES), {}
            self._at, self._until = -1, None
            last = UUID(int=0)
            while rows := await pool.fetch(_PAGE_OF_ALL, now, last, _PAGE):
                last = rows[-1]["person_id"]
                await self._remember(rows)
            self._until = now + _LASTS
        elif at > self._at:
            streams = await pool.fetch(_CHANGED, self._at, at)
            people = [UUID(row["stream"].removeprefix("person:")) for row in streams]
            for start in range(0, len(people), _PAGE):
                await self._remember(await pool.fetch(_SOME, now, people[start : start + _PAGE]))
        self._at = at

    async def _remember(self, rows: Sequence[asyncpg.Record]) -> None:
        for person_id, email in await self._opened(rows):
            digest = self._digest(email)
            known = self._people.get(digest, ())
            if person_id not in known:
                self._people[digest] = (*known, person_id)

    def _digest(self, email: str) -> bytes:
        text = mailbox(email).encode()
        return hashlib.blake2b(text, key=self._secret, digest_size=_DIGEST_BYTES).digest()

    async def _opened(self, rows: Sequence[asyncpg.Record]) -> list[tuple[UUID, str]]:
        """Return people and their addresses; nothing of those whose key is destroyed."""
        keys, found = self._runtime.keys, []
        await keys.load(KeyRef(row["person_id"], Compartment.STAFF) for row in rows)
        for row in rows:
            for sealed in _addresses(row):
                try:
                    profile = msgspec.json.decode(keys.open_sealed(sealed), type=Profile)
                except SealBroken:
                    continue
                found.append((row["person_id"], profile.email))
        return found


def _addresses(row: asyncpg.Record) -> Iterable[Sealed]:
    """Return the newest address, and the one that messages go to until that has settled."""
    ref = KeyRef(row["person_id"], Compartment.STAFF)
    both = {row["event_id"]: row["profile"], row["settled_event"]: row["settled"]}
    return [Sealed(ref, event_id, "profile", profile) for event_id, profile in both.items()]
