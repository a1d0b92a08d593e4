"""What is to be delivered to whom, and at which address: asked of ``authz.deliveries``.

A message is pending from the fact it tells of (an invitation, another address) until a channel took
it or it is given up: the intent is in the log before anything is sent, so a crash loses none.
Place in the flow: :mod:`services.authz.delivery_fold` keeps the rows, the courier claims what is
due.

*Which address.* A changed address must not be a way into an account. It serves :data:`SETTLES`
after the one before it was told; until then that one does. While a notice is on its way, where it
goes stays what it was; a change whose notice was given up never settles. Only while nobody has
enrolled yet is there no account to take: a mistyped address is corrected at once, and the
invitation that went there is taken back (a reset invites anew). Addresses stay sealed here; secrets
are not here at all.
"""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg
import msgspec

from services.authz.message_events import MessageKind
from services.kernel.sealing import Compartment, KeyRef, Sealed

#: for how long the former address must have known before an invitation goes to another one
SETTLES: Final = timedelta(hours=72)
#: for how long one process has a message to itself; more than a channel takes
_LEASE: Final = timedelta(seconds=60)
#: while a notice is due, no other address than the one it goes to serves
UNTOLD: Final = (
    "exists (select from authz.delivery n where n.person_id = {0}.person_id"
    f" and n.kind = '{MessageKind.ADDRESS_CHANGED.value}')"
)


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


# What the log has of the message already decides, not how far it is folded: a projection that lags
# must not send again what was sent.
_CLAIM: Final = (
    "with due as (select d.id from authz.delivery d left join authz.delivery_lease l using (id)"
    " where d.next_at <= $1 and (l.until is null or l.until <= $1)"
    " and not exists (select from log.fact f where f.stream = 'delivery:' || d.id"
    " and f.version > d.failures) order by d.next_at, d.id limit 1),"
    " mine as (insert into authz.delivery_lease as l (id, until) select id, $2 from due"
    " on conflict (id) do update set until = excluded.until where l.until <= $1 returning id)"
    " select d.*, s.settles, case when s.settles then a.settled else a.profile end as sealed,"
    " case when s.settles then a.settled_event else a.event_id end as sealed_event"
    " from mine join authz.delivery d using (id) join authz.address a using (person_id),"
    f" lateral (select a.since > $3 or {UNTOLD.format('d')} as settles) s"
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
