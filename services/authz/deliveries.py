"""What is to be delivered to whom, and at which address: the projection ``authz.deliveries``.

A message is pending from the fact it tells of (an invitation, another address) until a channel took
it or it is given up: the intent is in the log before anything is sent, so a crash loses none.

*Which address.* A changed address must not be a way into an account. It serves :data:`SETTLES`
after the one before it was told; until then that one does. While a notice is on its way, where it
goes stays what it was; a change whose notice was given up never settles. Only while nobody has
enrolled yet is there no account to take: a mistyped address is corrected at once, and the
invitation that went there is taken back (a reset invites anew). Addresses stay sealed here; secrets
are not here at all.
"""

from collections.abc import Callable, Iterator, Sequence
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
from services.kernel.writes import Write, write

#: for how long the former address must have known before an invitation goes to another one
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


#: while a notice is due, no other address than the one it goes to serves
_UNTOLD: Final = (
    "exists (select from authz.delivery n where n.person_id = {0}.person_id"
    f" and n.kind = '{MessageKind.ADDRESS_CHANGED.value}')"
)


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

    def wants(self, type_: str, kind: str) -> bool:  # noqa: ARG002 - the same for every kind
        """Say that it wants what makes a message due, and what became of it."""
        return type_ in _FOLDS

    async def fold(self, connection: Connection, batch: Sequence[Recorded]) -> None:
        """Apply ``batch``."""
        await write(connection, (w for r in batch for w in _FOLDS[r.event.type](r.event)))


def _registered(event: Event) -> Iterator[Write]:
    data = msgspec.convert(event.data, e.PersonRegistered)
    yield Write(
        "insert into authz.address values ($1, $2, $3, $4, $2, $3)",
        (data.person_id, data.profile, event.id, event.recorded_at),
        (data.person_id,),
    )


def _corrected(event: Event) -> Iterator[Write]:
    """Tell the address before, of who has enrolled; else take the invitation to it back."""
    data = msgspec.convert(event.data, e.ProfileCorrected)
    if not data.address_changed:
        return
    yield Write(
        "update authz.address a set"
        " settled = case when not a.enrolled then $2 when s.settled then a.profile"
        "  else a.settled end,"
        " settled_event = case when not a.enrolled then $3 when s.settled then a.event_id"
        "  else a.settled_event end,"
        " profile = $2, event_id = $3, since = $4 from (select o.person_id, o.since <= $5"
        f"  and not {_UNTOLD.format('o')} as settled from authz.address o) s"
        " where a.person_id = $1 and s.person_id = $1",
        (
            data.person_id,
            data.profile,
            event.id,
            event.recorded_at,
            event.recorded_at - SETTLES,
        ),
        (data.person_id,),
    )
    enrolled = "exists (select from authz.address a where a.person_id = $2 and a.enrolled)"
    yield _due(event, data.person_id, MessageKind.ADDRESS_CHANGED, enrolled)
    yield Write(
        "delete from authz.delivery where person_id = $1 and kind = $2 and not exists"
        " (select from authz.address a where a.person_id = $1 and a.enrolled)",
        (data.person_id, MessageKind.INVITATION.value),
        (data.person_id,),
    )


def _enrolled(event: Event) -> Iterator[Write]:
    person_id = UUID(event.data["person_id"])
    yield Write(
        "update authz.address set enrolled = true where person_id = $1", (person_id,), (person_id,)
    )
    yield _withdraw_invitations(person_id)


def _invited(event: Event) -> Iterator[Write]:
    person_id = UUID(event.data["person_id"])
    yield _withdraw_invitations(person_id)
    yield _due(event, person_id, MessageKind.INVITATION)


def _withdraw_invitations(person_id: UUID) -> Write:
    """Forget what was to be sent and serves no more."""
    return Write(
        "delete from authz.delivery where person_id = $1 and kind = $2",
        (person_id, MessageKind.INVITATION.value),
        (person_id,),
    )


def _due(event: Event, person_id: UUID, kind: MessageKind, where: str = "true") -> Write:
    return Write(
        "insert into authz.delivery select $1::uuid, $2::uuid, $3::text, $4::uuid,"
        f" $5::timestamptz, 0, $5::timestamptz where {where}",
        (event.id, person_id, kind.value, event.organisation_id, event.recorded_at),
        (person_id, event.id),
    )


def _delivered(event: Event) -> Iterator[Write]:
    data = msgspec.convert(event.data, e.MessageDelivered)
    yield _done(data.message_id, data.person_id)
    yield Write(
        "update authz.address set since = $3 where person_id = $1 and event_id = $2",
        (data.person_id, data.message_id, event.recorded_at),
        (data.person_id,),
    )


def _done(message_id: UUID, person_id: UUID) -> Write:
    return Write("delete from authz.delivery where id = $1", (message_id,), (message_id, person_id))


def _undelivered(event: Event) -> Iterator[Write]:
    data = msgspec.convert(event.data, e.MessageUndelivered)
    if data.final:
        yield _done(data.message_id, data.person_id)
        yield Write(
            "update authz.address set since = 'infinity' where person_id = $1 and event_id = $2",
            (data.person_id, data.message_id),
            (data.person_id,),
        )
        return
    failures = event.version or 1
    yield Write(
        "update authz.delivery set failures = $2, next_at = $3 where id = $1",
        (data.message_id, failures, event.recorded_at + pause_after(failures)),
        (data.message_id,),
    )


_FOLDS: Final[dict[str, Callable[[Event], Iterator[Write]]]] = {
    e.PERSON_REGISTERED: _registered,
    e.PROFILE_CORRECTED: _corrected,
    e.CREDENTIAL_SET: _enrolled,
    e.INVITATION_ISSUED: _invited,
    e.MESSAGE_DELIVERED: _delivered,
    e.MESSAGE_UNDELIVERED: _undelivered,
}

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
    f" lateral (select a.since > $3 or {_UNTOLD.format('d')} as settles) s"
)


async def claim(pool: asyncpg.Pool, now: datetime) -> Message | None:
    """Return a message that is due, for this process alone for a minute; ``None`` without one."""
    row = await pool.fetchrow(_CLAIM, now, now + _LEASE, now - SETTLES)
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
