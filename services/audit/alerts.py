"""Alerts: what they are, and the projection of their facts (SG-10).

``audit.alerts`` folds ``alert_raised``, ``alert_updated`` and ``alert_resolved``. An alert that is
updated after it was judged is open again: there is more to it than was judged.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from services.audit import events as e
from services.kernel.events import Event, Recorded
from services.kernel.projection import Connection
from services.kernel.sealing import Compartment, KeyRef, Sealed


class Judged(msgspec.Struct, frozen=True):
    """How an alert was resolved, and for which organisation; the note stays sealed."""

    verdict: e.Verdict
    note: str | None
    event_id: UUID
    resolved_by: UUID | None
    resolved_at: datetime
    organisation_id: UUID | None


class Alert(msgspec.Struct, frozen=True):
    """An alert as folded: the latest that was said of it, and how it was judged."""

    id: UUID
    raised: e.AlertRaised
    raised_at: datetime
    version: int
    judged: Judged | None = None

    @property
    def status(self) -> Literal["open", "resolved"]:
        """Open until somebody judges it."""
        return "resolved" if self.judged else "open"

    def sealed_note(self) -> Sealed | None:
        """Return the note with where it was sealed."""
        if self.judged is None or self.judged.note is None:
            return None
        ref = KeyRef(self.id, Compartment.REVIEW)
        return Sealed(ref, self.judged.event_id, "note", self.judged.note)


def decode_alert(state: bytes) -> Alert:
    """Return the alert in an ``alert.state``."""
    return _alert.decode(state)


def evolve(alert: Alert | None, event: Event) -> Alert | None:
    """Return ``alert`` after ``event``; total over every fact of an alert's stream."""
    version = event.version or 0
    match event.type:
        case e.ALERT_RAISED:
            raised = msgspec.convert(event.data, e.AlertRaised)
            return Alert(raised.alert_id, raised, event.recorded_at, version)
        case e.ALERT_UPDATED if alert is not None:
            more = msgspec.convert(event.data, e.AlertRaised)
            return msgspec.structs.replace(alert, raised=more, version=version, judged=None)
        case e.ALERT_RESOLVED if alert is not None:
            return msgspec.structs.replace(alert, judged=_judged(event), version=version)
        case _:
            return alert


def _judged(event: Event) -> Judged:
    data = msgspec.convert(event.data, e.AlertResolved)
    actor = event.actor
    return Judged(
        verdict=data.verdict,
        note=data.note,
        event_id=event.id,
        resolved_by=actor.person_id,
        resolved_at=event.recorded_at,
        organisation_id=actor.organisation_id,
    )


_alert = msgspec.json.Decoder(Alert)
_encode = msgspec.json.Encoder().encode
_TYPES = frozenset({e.ALERT_RAISED, e.ALERT_UPDATED, e.ALERT_RESOLVED})


class Alerts:
    """The projection ``audit.alerts``."""

    name = "audit.alerts"
    tables: Sequence[str] = ("audit.alert",)

    def wants(self, type_: str, kind: str) -> bool:  # noqa: ARG002 - the same for every kind
        """Say that it wants the facts of alerts."""
        return type_ in _TYPES

    async def fold(self, connection: Connection, batch: Sequence[Recorded]) -> None:
        """Apply the facts of alerts in ``batch``, in order."""
        for recorded in batch:
            if recorded.event.type in _TYPES:
                await self._apply(connection, recorded)

    async def _apply(self, connection: Connection, recorded: Recorded) -> None:
        event = recorded.event
        alert_id = UUID((event.stream or "").removeprefix("alert:"))
        state = await connection.fetchval("select state from audit.alert where id = $1", alert_id)
        alert = evolve(decode_alert(state) if state else None, event)
        if alert is None:
            return
        await connection.execute(
            "insert into audit.alert"
            " (id, position, key, rule, status, told, person_id, organisation_id, own_person_id,"
            " state) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
            " on conflict (id) do update set"
            " status = excluded.status, told = excluded.told, person_id = excluded.person_id,"
            " organisation_id = excluded.organisation_id, own_person_id = excluded.own_person_id,"
            " state = excluded.state",
            alert.id,
            recorded.position,
            alert.raised.key,
            alert.raised.rule,
            alert.status,
            alert.raised.told,
            alert.raised.person_id,
            alert.raised.organisation_id,
            alert.raised.own.person_id,
            _encode(alert),
        )
