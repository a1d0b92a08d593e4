"""The projections that questions are asked of: an index of every event, and the sessions.

``audit.events`` folds the whole log, observations too, into thin rows: what can be asked by, and
the position, where the event itself is; once for who sees every organisation, and once for each
organisation whose own auditors see it, with who acted only where that was for them. Nothing sealed
is copied and nothing is opened. A fold that meets bytes it cannot understand stops; it never skips.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec

from services.audit.events import tells_learner
from services.audit.grounds import organisations_of
from services.authz.session_events import (
    SESSION_ENDED,
    SESSION_STARTED,
    SessionEnded,
    SessionStarted,
)
from services.kernel.events import Actor, CorruptEvent, Event, ObjectRef, Recorded
from services.kernel.projection import Connection

# What an index entry and a text column can hold, whatever somebody put in an id.
_LONGEST: Final = 200
_NOBODY: Final = Actor()
_OF_SESSIONS: Final = frozenset({SESSION_STARTED, SESSION_ENDED})
#: from so many rows on a COPY costs less than arrays; it asks for the columns each time anew
_MANY: Final = 100


class _Table:
    """A table that rows are only added to, with the types of its columns."""

    def __init__(self, name: str, **columns: str) -> None:
        self._name = name
        self._columns = tuple(columns)
        arrays = ", ".join(f"${n}::{type_}[]" for n, type_ in enumerate(columns.values(), 1))
        self._insert = (
            f"insert into audit.{name} ({', '.join(columns)}) select * from unnest({arrays})"
        )

    async def add(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        if len(rows) >= _MANY:
            await connection.copy_records_to_table(
                self._name, schema_name="audit", columns=self._columns, records=rows
            )
        elif rows:
            await connection.execute(self._insert, *zip(*rows, strict=True))


_FOUND_BY: Final = {
    "position": "bigint",
    "recorded_at": "timestamptz",
    "actor_id": "uuid",
    "client_id": "text",
    "type": "text",
    "action": "text",
    "outcome": "text",
    "object_type": "text",
    "object_id": "text",
    "record_type": "text",
    "record_id": "text",
    "session_id": "uuid",
}
_EVENT: Final = _Table("event", **_FOUND_BY)
_OWN: Final = _Table("organisation_event", **_FOUND_BY, organisation_id="uuid")
_STUDENT: Final = _Table("event_student", student_id="uuid", position="bigint")
_SCOPED: Final = _Table(
    "organisation_student", organisation_id="uuid", student_id="uuid", position="bigint"
)


class EventIndex:
    """The projection ``audit.events``."""

    name = "audit.events"
    tables: Sequence[str] = (
        "audit.event",
        "audit.event_student",
        "audit.organisation_event",
        "audit.organisation_student",
    )

    def wants(self, type_: str, kind: str) -> bool:  # noqa: ARG002 - the answer is the same for every event
        """Say yes: every event is found."""
        return True

    async def fold(self, connection: Connection, batch: Sequence[Recorded]) -> None:
        """Add a row for each event, and for each learner it is about one, and one a scope."""
        about = [(student, r) for r in batch for student in students_of(r)]
        await _EVENT.add(connection, [_row(r) for r in batch])
        await _STUDENT.add(connection, [(s, r.position) for s, r in about])
        own = [(*_row(r, of=o), o) for r in batch for o in organisations_of(r.event)]
        await _OWN.add(connection, own)
        # as :meth:`services.audit.grounds.Scope.learner_of` tells them
        told = [(s, r) for s, r in about if tells_learner(r.event)]
        scoped = [(o, s, r.position) for s, r in told for o in organisations_of(r.event)]
        await _SCOPED.add(connection, scoped)


def _row(recorded: Recorded, *, of: UUID | None = None) -> tuple[Any, ...]:
    """Return what an event is found by; ``of`` an organisation, not by who acted for another.

    As :meth:`services.audit.grounds.Scope.names_actor` has it.
    """
    event = recorded.event
    named = of is None or of == event.actor.organisation_id
    actor, about = event.actor if named else _NOBODY, event.object
    record = record_of(recorded)
    return (
        recorded.position,
        event.recorded_at,
        actor.person_id,
        _text(actor.client_id),
        event.type,
        event.action,
        event.outcome,
        about.type if about else None,
        _text(about.id) if about else None,
        _text(record.type) if record else "",
        _text(record.id) if record else None,
        event.origin.session_id if named else None,
    )


def _text(text: str | None) -> str | None:
    return None if text is None else text.replace("\0", "")[:_LONGEST]


def record_of(recorded: Recorded) -> ObjectRef | None:
    """Return what an event's object is part of: the case that an item or a plan stands in.

    A fact says it by its stream. What was only seen or refused says it in ``data.record``, where
    its object is no record: for a refusal as it was asked for, whether or not that is there.
    """
    event = recorded.event
    if event.stream is not None:
        kind, _, id_ = event.stream.partition(":")
        record = ObjectRef(kind, id_) if id_ else None
    else:
        record = _record_seen(recorded)
    itself = record and event.object and record.id == event.object.id
    return None if itself else record


def _record_seen(recorded: Recorded) -> ObjectRef | None:
    said = recorded.event.data.get("record")
    if said is None:
        return None
    try:
        return msgspec.convert(said, ObjectRef)
    except msgspec.ValidationError as error:
        raise CorruptEvent(recorded.position) from error


def students_of(recorded: Recorded) -> Iterable[UUID]:
    """Return the learners an event is about, each once: its own, and those a list showed.

    A list or search names in ``data.students`` the learners whose records are in ``shown``.
    """
    event = recorded.event
    listed = event.data.get("students")
    if not listed:
        return (event.student_id,) if event.student_id else ()
    try:
        found = dict.fromkeys(UUID(student) for student in listed)
    except (ValueError, TypeError, AttributeError) as error:
        raise CorruptEvent(recorded.position) from error
    if event.student_id:
        found[event.student_id] = None
    return found


class Sessions:
    """The projection ``audit.sessions``: when each session began, and how it ended (AC-USE-1)."""

    name = "audit.sessions"
    tables: Sequence[str] = ("audit.login_session",)

    def wants(self, type_: str, kind: str) -> bool:  # noqa: ARG002 - the same for every kind
        """Say that it wants the beginning and the end of sessions."""
        return type_ in _OF_SESSIONS

    async def fold(self, connection: Connection, batch: Sequence[Recorded]) -> None:
        """Add what began and close what ended, in order."""
        began = [_began(r) for r in batch if r.event.type == SESSION_STARTED]
        ended = [_ended(r.event) for r in batch if r.event.type == SESSION_ENDED]
        if began:
            await connection.executemany(
                "insert into audit.login_session"
                " (id, position, person_id, organisation_id, started_at, expires_at)"
                " values ($1, $2, $3, $4, $5, $6)",
                began,
            )
        if ended:
            await connection.executemany(
                "update audit.login_session set ended_at = $2, end_reason = $3"
                " where id = $1 and ended_at is null",
                ended,
            )


def _began(recorded: Recorded) -> tuple[Any, ...]:
    event = recorded.event
    data = msgspec.convert(event.data, SessionStarted)
    return (
        data.session_id,
        recorded.position,
        data.person_id,
        data.organisation_id or event.actor.organisation_id or event.organisation_id,
        event.recorded_at,
        data.expires_at,
    )


def _ended(event: Event) -> tuple[Any, ...]:
    data = msgspec.convert(event.data, SessionEnded)
    return (data.session_id, event.recorded_at, data.reason)
