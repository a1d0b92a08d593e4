"""What the register says of a service client: folded from its facts, for whoever holds it.

Pure, and total over the facts of clients. What lets a client in is not part of an entry.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from services.authz import client_events as c
from services.authz.client_public_keys import UnfitKey, algorithm_of
from services.kernel.events import Event
from services.kernel.sealing import Compartment, KeyRef, Sealed


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A service client: who it is, what it may, how it says who it is, since when."""

    client_id: str
    name: str
    organisation_id: UUID | None
    scopes: Sequence[str]
    #: OAuth's names; the algorithm too of a client that signs
    ways: Sequence[str]
    since: datetime
    version: int
    ended_at: datetime | None = None
    reason: Sealed | None = None


def reason_key(client_id: str) -> KeyRef:
    """Return the key that seals why a client was ended."""
    return KeyRef(c.client_subject(client_id), Compartment.STAFF)


def entries_in(events: Iterable[Event]) -> dict[str, Entry]:
    """Return the entries that facts come to, in the order of the log, by client."""
    entries: dict[str, Entry] = {}
    for event in events:
        client_id = str(event.data["client_id"])
        entry = evolve(entries.get(client_id), event)
        if entry is not None:
            entries[client_id] = entry
    return entries


def evolve(entry: Entry | None, event: Event) -> Entry | None:
    """Return ``entry`` after ``event``."""
    match event.type:
        case c.CLIENT_REGISTERED:
            return _registered(entry, event)
        case c.CLIENT_REVOKED if entry is not None:
            return _ended(entry, event)
        case _:
            return entry


def _registered(entry: Entry | None, event: Event) -> Entry:
    data = msgspec.convert(event.data, c.ClientRegistered)
    return Entry(
        client_id=data.client_id,
        name=data.name,
        organisation_id=data.organisation_id,
        scopes=data.scopes,
        ways=_ways(data),
        since=entry.since if entry else event.recorded_at,
        version=event.version or 0,
    )


def _ended(entry: Entry, event: Event) -> Entry:
    data = msgspec.convert(event.data, c.ClientRevoked)
    sealed = Sealed(reason_key(data.client_id), event.id, "reason", data.reason or "")
    return msgspec.structs.replace(
        entry,
        version=event.version or 0,
        ended_at=event.recorded_at,
        reason=sealed if data.reason else None,
    )


def _ways(data: c.ClientRegistered) -> Sequence[str]:
    secret = () if data.secret is None else ("client_secret_basic",)
    if data.public_key is None:
        return secret
    try:
        return (*secret, f"private_key_jwt ({algorithm_of(data.public_key)})")
    except UnfitKey:
        return secret
