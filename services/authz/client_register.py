"""The register of service clients: adding one, ending one, and who there is.

Run by whoever holds the installation (``casewarden clients``), never by a request: nobody is
checked here, and the events name no actor, like those of founding. It reads the facts of the log
themselves, so that a client is added or ended whatever the folds are at. A client's id follows from
its name and serves once: a token of one that has ended would be good again, and the log would tell
two systems by one name. How many there are or were is a metric of authz, so that somebody else than
who added one notices.
"""

import base64
import re
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

from services.authz import client_events as c
from services.authz.client_entries import Entry, entries_in, reason_key
from services.authz.events import ORGANISATION_REGISTERED
from services.authz.recording import data_of, organisation_stream
from services.authz.seeding import client_events, client_keys
from services.kernel import telemetry
from services.kernel.events import Event, ObjectRef, decode
from services.kernel.groups import Group
from services.kernel.log import VersionConflict

if TYPE_CHECKING:
    from services.kernel.runtime import Runtime

_SECRET_BYTES: Final = 32
_LONGEST_ID: Final = 100
_FACTS: Final = (
    "select e.position, e.body from log.fact f join log.event e using (position)"
    " where f.stream = any($1) order by e.position"
)
_ORGANISATION: Final = (
    "select exists (select from log.fact f join log.event e using (position)"
    " where f.stream = $1 and e.type = $2)"
)


class NotDone(Exception):  # noqa: N818 - an answer, not a fault
    """Nothing is recorded; the message says why."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A client to be registered. Without a ``public_key`` (PEM) it is given a secret."""

    name: str
    scopes: Sequence[str]
    organisation_id: UUID | None = None
    public_key: str | None = None


class Registered(NamedTuple):
    """What a client is known by, and the secret that nobody can be told again."""

    client_id: str
    secret: str | None


async def register(runtime: "Runtime", wanted: Wanted) -> Registered:
    """Register a service client; raise :class:`NotDone`, or :class:`Unavailable` as the log does.

    Of a secret (256 random bits) the sealed digest is kept.
    """
    client_id = id_of(wanted.name)
    await _check(runtime, wanted)
    if await _entry(runtime, client_id):
        raise NotDone(_taken(client_id))
    secret = None
    if wanted.public_key is None:
        drawn = runtime.effects.token(_SECRET_BYTES)
        secret = base64.urlsafe_b64encode(drawn).decode().rstrip("=")
        await runtime.keys.load(client_keys(client_id), create=True)
    events = client_events(
        runtime.keys,
        runtime.effects,
        client_id=client_id,
        name=wanted.name,
        scopes=tuple(dict.fromkeys(wanted.scopes)),
        secret=secret,
        recorded_at=runtime.effects.now(),
        public_key=wanted.public_key,
        organisation_id=wanted.organisation_id,
    )
    try:
        await runtime.log.append(Group(events))
    except VersionConflict:
        raise NotDone(_taken(client_id)) from None
    return Registered(client_id, secret)


async def end(runtime: "Runtime", client_id: str, reason: str) -> None:
    """End a service client; raise as :func:`register` does.

    Once this returns, no token of it is answered by any service, and it is given none: whatever was
    being decided under one is refused by the log, and decided again.
    """
    entry = await _entry(runtime, client_id)
    if entry is None:
        raise NotDone(f"there is no client {client_id}")
    if entry.ended_at is not None:
        raise NotDone(f"{client_id} was ended {entry.ended_at:%Y-%m-%d}")
    ref, event_id = reason_key(client_id), runtime.effects.new_id()
    await runtime.keys.load([ref], create=True)
    sealed = runtime.keys.seal(ref, event_id, "reason", reason)
    event = Event(
        id=event_id,
        type=c.CLIENT_REVOKED,
        stream=c.client_stream(client_id),
        version=entry.version + 1,
        recorded_at=runtime.effects.now(),
        action="revoke",
        object=ObjectRef("client", client_id),
        organisation_id=entry.organisation_id,
        touches=(c.client_key(client_id),),
        data=data_of(c.ClientRevoked(client_id=client_id, reason=sealed)),
    )
    try:
        await runtime.log.append(Group([event]))
    except VersionConflict:
        raise NotDone(f"{client_id} was changed at this very moment: try again") from None


async def registered(runtime: "Runtime") -> list[Entry]:
    """Return every client there is or was, by id, with why it was ended where that opens."""
    await runtime.projector.caught_up()
    rows = await runtime.pool.fetch("select client_id from authz.client")
    known = await _entries(runtime, [row["client_id"] for row in rows])
    await runtime.keys.load([e.reason.ref for e in known.values() if e.reason is not None])
    return [known[client_id] for client_id in sorted(known)]


async def count(runtime: "Runtime") -> None:
    """Tell Prometheus how many clients there are or were, as far as is folded."""
    clients = await runtime.pool.fetchval("select count(*) from authz.client")
    telemetry.SERVICE_CLIENTS.set(clients)


def id_of(name: str) -> str:
    """Return the id of a client of this name; raise :class:`NotDone` when none follows from it."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    client_id = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:_LONGEST_ID].rstrip("-")
    if not client_id:
        raise NotDone("the name has neither a letter nor a digit that an id is made of")
    with suppress(ValueError):
        UUID(client_id)
        raise NotDone("the name reads like a person's id")
    return client_id


async def _check(runtime: "Runtime", wanted: Wanted) -> None:
    """Raise :class:`NotDone` for a scope or an organisation that does not exist."""
    for scope in wanted.scopes:
        if scope not in c.SCOPES:
            raise NotDone(f"there is no scope {scope}: {', '.join(c.SCOPES)}")
    place = wanted.organisation_id
    if place is not None and not await runtime.pool.fetchval(
        _ORGANISATION, organisation_stream(place), ORGANISATION_REGISTERED
    ):
        raise NotDone(f"there is no organisation {place}")


async def _entry(runtime: "Runtime", client_id: str) -> Entry | None:
    return (await _entries(runtime, [client_id])).get(client_id)


async def _entries(runtime: "Runtime", client_ids: Sequence[str]) -> dict[str, Entry]:
    streams = [c.client_stream(client_id) for client_id in client_ids]
    rows = await runtime.pool.fetch(_FACTS, streams)
    return entries_in(decode(row["position"], row["body"]).event for row in rows)


def _taken(client_id: str) -> str:
    return f"{client_id} is taken; an id serves once, also when its client has ended"
