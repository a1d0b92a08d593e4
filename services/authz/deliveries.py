"""What is to be delivered to whom, and at which address: the projection ``authz.deliveries``.

A message is pending from the fact it tells of (an invitation, another address) until a channel took
it or it is given up: the intent is in the log before anything is sent, so a crash loses none.

*Which address.* A changed address must not be a way into an account. It serves once it has stood
for :data:`SETTLES`; until then the one before it does, and is told at once. Only while nobody has
enrolled yet is there no account to take: a mistyped address is corrected at once, and the
invitation that went there is taken back (a reset invites anew). Addresses stay sealed here; secrets
are not here at all.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg
import msgspec

from services.authz import events as e
from services.authz.events import MessageKind
from services.kernel.events import Event, Recorded
from services.kernel.projection import Connection
from services.kernel.sealing import Compartment, KeyRef, Sealed

#: for how long an address must have stood before an invitation goes there
SETTLES: Final = timedelta(hours=72)
#: for how long one process has a message to itself; more than a channel takes
_LEASE: Final = timedelta(seconds=60)
_FIRST_PAUSE: Final = timedelta(seconds=60)
_LONGEST_PAUSE: Final = timedelta(hours=6)
_DOUBLINGS: Final = 9


class Message(msgspec.Struct, frozen=True):
    """A message that is due, with the sealed profile that has its address."""

    id: UUID
    person_id: UUID
    kind: MessageKind
    organisation_id: UUID | None
    issued_at: datetime
    failures: int
    profile: Sealed


def stream_of(message_id: UUID) -> str:
    """Return the stream of a message: each attempt to deliver it is the next version."""
    return f"delivery:{message_id}"


def pause_after(failures: int) -> timedelta:
    """Return how long after so many failures a message is tried again."""
    return min(_FIRST_PAUSE * (1 << min(failures - 1, _DOUBLINGS)), _LONGEST_PAUSE)


class Deliveries:
    """The projection; see the module."""

    name = "authz.deliveries"
    tables: Sequence[str] = ("authz.address", "authz.delivery")

    def __init__(self) -> None:
        self._folds: dict[str, Callable[[Connection, Event], Awaitable[None]]] = {
            e.PERSON_REGISTERED: _registered,
            e.PROFILE_CORRECTED: _corrected,
            e.CREDENTIAL_SET: _enrolled,
            e.INVITATION_ISSUED: _invited,
            e.MESSAGE_DELIVERED: _delivered,
            e.MESSAGE_UNDELIVERED: _undelivered,
        }

    async def fold(self, connection: Connection, batch: Sequence[Recorded]) -> None:
        """Apply ``batch``."""
        for recorded in batch:
            fold = self._folds.get(recorded.event.type)
            if fold is not None:
                await fold(connection, recorded.event)


async def _registered(connection: Connection, event: Event) -> None:
    data = msgspec.convert(event.data, e.PersonRegistered)
    await connection.execute(
        "insert into authz.address values ($1, $2, $3, $4, $2, $3)",
        data.person_id,
        data.profile,
        event.id,
        event.recorded_at,
    )


async def _corrected(connection: Connection, event: Event) -> None:
    data = msgspec.convert(event.data, e.ProfileCorrected)
    if not data.address_changed:
        return
    await connection.execute(
        "update authz.address set"
        " settled = case when not enrolled then $2 when since <= $5 then profile"
        "  else settled end,"
        " settled_event = case when not enrolled then $3 when since <= $5 then event_id"
        "  else settled_event end,"
        " profile = $2, event_id = $3, since = $4 where person_id = $1",
        data.person_id,
        data.profile,
        event.id,
        event.recorded_at,
        event.recorded_at - SETTLES,
    )
    enrolled = await connection.fetchval(
        "select enrolled from authz.address where person_id = $1", data.person_id
    )
    if enrolled:
        await _due(connection, event, data.person_id, MessageKind.ADDRESS_CHANGED)
    else:
        await _withdraw_invitations(connection, data.person_id)


async def _enrolled(connection: Connection, event: Event) -> None:
    person_id = UUID(event.data["person_id"])
    await connection.execute(
        "update authz.address set enrolled = true where person_id = $1", person_id
    )
    await _withdraw_invitations(connection, person_id)


async def _invited(connection: Connection, event: Event) -> None:
    person_id = UUID(event.data["person_id"])
    await _withdraw_invitations(connection, person_id)
    await _due(connection, event, person_id, MessageKind.INVITATION)


async def _withdraw_invitations(connection: Connection, person_id: UUID) -> None:
    """Forget what was to be sent and serves no more."""
    await connection.execute(
        "delete from authz.delivery where person_id = $1 and kind = $2",
        person_id,
        MessageKind.INVITATION.value,
    )


async def _due(connection: Connection, event: Event, person_id: UUID, kind: MessageKind) -> None:
    await connection.execute(
        "insert into authz.delivery values ($1, $2, $3, $4, $5, 0, $5)",
        event.id,
        person_id,
        kind.value,
        event.organisation_id,
        event.recorded_at,
    )


async def _delivered(connection: Connection, event: Event) -> None:
    await connection.execute(
        "delete from authz.delivery where id = $1", UUID(event.data["message_id"])
    )


async def _undelivered(connection: Connection, event: Event) -> None:
    data = msgspec.convert(event.data, e.MessageUndelivered)
    if data.final:
        await _delivered(connection, event)
        return
    failures = event.version or 1
    await connection.execute(
        "update authz.delivery set failures = $2, next_at = $3 where id = $1",
        data.message_id,
        failures,
        event.recorded_at + pause_after(failures),
    )


# What the log has of the message already decides, not how far it is folded: a projection that lags
# must not send again what was sent.
_CLAIM: Final = (
    "with due as (select d.id from authz.delivery d left join authz.delivery_lease l using (id)"
    " where d.next_at <= $1 and (l.until is null or l.until <= $1)"
    " and not exists (select from log.fact f where f.stream = 'delivery:' || d.id"
    " and f.version > d.failures) order by d.next_at, d.id limit 1),"
    " mine as (insert into authz.delivery_lease as l select id, $2 from due"
    " on conflict (id) do update set until = excluded.until where l.until <= $1 returning id)"
    " select d.*, s.settles, case when s.settles then a.settled else a.profile end as sealed,"
    " case when s.settles then a.settled_event else a.event_id end as sealed_event"
    " from mine join authz.delivery d using (id) join authz.address a using (person_id),"
    " lateral (select a.since > $3 or d.kind = $4 as settles) s"
)


async def claim(pool: asyncpg.Pool, now: datetime) -> Message | None:
    """Return a message that is due, for this process alone for a minute; ``None`` without one."""
    row = await pool.fetchrow(
        _CLAIM, now, now + _LEASE, now - SETTLES, MessageKind.ADDRESS_CHANGED.value
    )
    if row is None:
        return None
    ref = KeyRef(row["person_id"], Compartment.STAFF)
    return Message(
        id=row["id"],
        person_id=row["person_id"],
        kind=MessageKind(row["kind"]),
        organisation_id=row["organisation_id"],
        issued_at=row["issued_at"],
        failures=row["failures"],
        profile=Sealed(ref, row["sealed_event"], "profile", row["sealed"]),
    )


async def forget_leases(pool: asyncpg.Pool, now: datetime) -> None:
    """Delete the leases that are over."""
    await pool.execute("delete from authz.delivery_lease where until <= $1", now)
