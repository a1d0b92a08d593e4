"""The fold of ``authz.deliveries``: what makes a message due, and what became of it.

Place in the flow: ``log -> fold -> deliveries``; what is asked of its rows, and what an address and
a message are, is said in :mod:`services.authz.deliveries`. It opens nothing and sends nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

import msgspec

from services.authz import events as e
from services.authz.credential_events import CREDENTIAL_SET, INVITATION_ISSUED
from services.authz.deliveries import SETTLES, UNTOLD
from services.authz.message_events import (
    MESSAGE_DELIVERED,
    MESSAGE_UNDELIVERED,
    MessageDelivered,
    MessageKind,
    MessageUndelivered,
)
from services.kernel.events import Event, Recorded
from services.kernel.projection import Connection
from services.kernel.writes import Write, write

_FIRST_PAUSE: Final = timedelta(seconds=60)
_LONGEST_PAUSE: Final = timedelta(hours=6)
_DOUBLINGS: Final = 9


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
        "insert into authz.address (person_id, profile, event_id, since, settled, settled_event)"
        " values ($1, $2, $3, $4, $2, $3)",
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
        f"  and not {UNTOLD.format('o')} as settled from authz.address o) s"
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
        "insert into authz.delivery (id, person_id, kind, organisation_id, issued_at, next_at)"
        " select $1::uuid, $2::uuid, $3::text, $4::uuid, $5::timestamptz, $5::timestamptz"
        f" where {where}",
        (event.id, person_id, kind.value, event.organisation_id, event.recorded_at),
        (person_id, event.id),
    )


def _delivered(event: Event) -> Iterator[Write]:
    data = msgspec.convert(event.data, MessageDelivered)
    yield _done(data.message_id, data.person_id)
    yield Write(
        "update authz.address set since = $3 where person_id = $1 and event_id = $2",
        (data.person_id, data.message_id, event.recorded_at),
        (data.person_id,),
    )


def _done(message_id: UUID, person_id: UUID) -> Write:
    return Write("delete from authz.delivery where id = $1", (message_id,), (message_id, person_id))


def _undelivered(event: Event) -> Iterator[Write]:
    data = msgspec.convert(event.data, MessageUndelivered)
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
    CREDENTIAL_SET: _enrolled,
    INVITATION_ISSUED: _invited,
    MESSAGE_DELIVERED: _delivered,
    MESSAGE_UNDELIVERED: _undelivered,
}
