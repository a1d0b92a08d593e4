"""Turns events into the signals that detection folds.

The address and device that a signal carries are keyed digests: rules compare them and never need to
know one, so their memory holds none (staff origin data expires with its period key; a digest under
the installation's secret says nothing without it).
"""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Final
from uuid import UUID

import msgspec

from services.audit.detection.calendar import Hours, Kind
from services.audit.detection.signals import Signal
from services.kernel.events import CorruptEvent, Event, Recorded
from services.kernel.origins import Places, network_of

_DIGEST_BYTES: Final = 16


class Signals:
    """Makes signals; the keys of an event's origin must have been loaded into ``places``."""

    def __init__(self, places: Places, secret: bytes) -> None:
        self._places = places
        self._secret = secret

    def of(self, recorded: Recorded, hours: Mapping[UUID, Hours | None]) -> Signal:
        """Return the signal of an event that a rule looks at."""
        event = recorded.event
        place, organisation = self._places.of(event), organisation_of(recorded)
        return Signal(
            position=recorded.position,
            event_id=event.id,
            type=event.type,
            occurred_at=event.recorded_at,
            person_id=_person(recorded),
            account=_account(event),
            address=self._digest("address", network_of(place.ip or "")),
            device=self._digest("device", place.user_agent or ""),
            organisation=hours.get(organisation) if organisation else None,
            organisation_id=organisation,
            outcome=event.outcome,
            count=_count(recorded, "count", least=1),
            about=_uuid(recorded, "person_id"),
            session=_uuid(recorded, "session_id"),
            others=_count(recorded, "other_sessions", least=0),
        )

    def _digest(self, kind: str, text: str) -> str | None:
        if not text:
            return None
        digest = hmac.new(self._secret, f"{kind} {text}".encode(), hashlib.sha256).digest()
        return digest[:_DIGEST_BYTES].hex()


def organisation_of(recorded: Recorded) -> UUID | None:
    """Return whose hours count: the organisation acted for."""
    event = recorded.event
    acted_for = event.actor.organisation_id or event.organisation_id
    return acted_for or _uuid(recorded, "organisation_id")


def hours_of(kind: str, time_zone: str, subdivision: str | None) -> Hours | None:
    """Return an organisation's hours; ``None`` where its zone or region is not one we know."""
    try:
        return Hours(msgspec.convert(kind, Kind), time_zone, subdivision)
    except ValueError:
        return None


def _person(recorded: Recorded) -> UUID | None:
    """Return whose account it is: who acted, or whom a failed login was for."""
    return recorded.event.actor.person_id or _uuid(recorded, "person_id")


def _account(event: Event) -> str | None:
    """Return the keyed digest of what was typed, when there is no such person."""
    account = event.data.get("account")
    return account if isinstance(account, str) else None


def _count(recorded: Recorded, field: str, *, least: int) -> int:
    count = recorded.event.data.get(field, least)
    if not isinstance(count, int):
        raise CorruptEvent(recorded.position)
    return max(least, count)


def _uuid(recorded: Recorded, field: str) -> UUID | None:
    text = recorded.event.data.get(field)
    try:
        return UUID(text) if text else None
    except (ValueError, TypeError, AttributeError) as error:
        raise CorruptEvent(recorded.position) from error
