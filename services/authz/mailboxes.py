"""Which accounts one mailbox opens: two people behind one are an alert (SG-4).

Found by opening the addresses there are, when an invitation goes out; a value made from an address
is in no table and no event, and what is remembered meanwhile is digests under a key that is thrown
away. Nothing is refused and nothing answered: whoever registers somebody learns of nobody else's
address. In the flow: letter → here → an event that security at the Ministry is alerted by.
"""

import hashlib
from collections import defaultdict
from typing import Final, Self
from uuid import UUID

import asyncpg
import msgspec

from services.authz.events import Profile
from services.kernel.runtime import Runtime
from services.kernel.sealing import KEY_BYTES, Compartment, KeyRef, SealBroken, Sealed

_PAGE: Final = 500
#: who has gone opens nothing any more; who has not begun will
_ACCOUNTS: Final = (
    "select a.* from authz.address a where person_id > $1 and (not exists"
    " (select from authz.assignment s where s.person_id = a.person_id) or exists"
    " (select from authz.assignment s where s.person_id = a.person_id and not s.revoked"
    " and (s.ends_at is null or s.ends_at > $2))) order by person_id limit $3"
)


def mailbox(email: str) -> str:
    """Return what the spellings of one mailbox have in common: case and ``+tag`` set aside."""
    local, _, domain = email.rpartition("@")
    return f"{local.partition('+')[0]}@{domain}".casefold()


class Mailboxes:
    """Whose messages go to which mailbox, or will; as of when it was made, and of who was added."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._people: defaultdict[bytes, set[UUID]] = defaultdict(set)

    @classmethod
    async def of_now(cls, runtime: Runtime) -> Self:
        """Open every address of an account, some hundreds at a time."""
        made, last = cls(runtime.effects.token(KEY_BYTES)), UUID(int=0)
        while rows := await runtime.pool.fetch(_ACCOUNTS, last, runtime.effects.now(), _PAGE):
            last = rows[-1]["person_id"]
            await runtime.keys.load(KeyRef(row["person_id"], Compartment.STAFF) for row in rows)
            for row in rows:
                for sealed in _addresses(row):
                    try:
                        profile = msgspec.json.decode(
                            runtime.keys.open_sealed(sealed), type=Profile
                        )
                    except SealBroken:
                        continue
                    made.add(row["person_id"], profile.email)
        return made

    def add(self, person_id: UUID, email: str) -> frozenset[UUID]:
        """Remember that ``person_id`` is reached there; return who else is."""
        text = mailbox(email).encode()
        people = self._people[hashlib.blake2b(text, key=self._secret).digest()]
        people.add(person_id)
        return frozenset(people - {person_id})


def _addresses(row: asyncpg.Record) -> list[Sealed]:
    """Return the newest address, and the one that messages go to until that has settled."""
    ref = KeyRef(row["person_id"], Compartment.STAFF)
    both = {row["event_id"]: row["profile"], row["settled_event"]: row["settled"]}
    return [Sealed(ref, event_id, "profile", profile) for event_id, profile in both.items()]
