"""The projection ``cases.records``: learners, requests and cases as rows.

A row holds the folded state (sealed content included) and, beside it, the columns that relations
and lists speak of. The fold opens nothing: it needs no key, and destroyed keys do not stop it.
"""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from services.cases.events import RecordKind
from services.cases.record import Record, Student, evolve, evolve_student, follow
from services.cases.relations import view_of
from services.kernel import states
from services.kernel.events import Event, Recorded
from services.kernel.projection import Connection

_STREAMS: Final = frozenset({"student", *RecordKind})
_record = states.decoder(Record)
_student = states.decoder(Student)

_UPSERT: Final = """
insert into cases.record (id, kind, status, student_id, school_id, provider_id, made_by, made_at,
    case_manager, primary_contact, team, submitted, notified, created_at, number, people,
    organisations, state)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
on conflict (id) do update set status = excluded.status, school_id = excluded.school_id,
    provider_id = excluded.provider_id, case_manager = excluded.case_manager,
    primary_contact = excluded.primary_contact, team = excluded.team,
    submitted = excluded.submitted, notified = excluded.notified, people = excluded.people,
    organisations = excluded.organisations, state = excluded.state
"""


def decode_record(state: bytes) -> Record:
    """Return the record in a ``record.state``."""
    return _record(state)


def decode_student(state: bytes) -> Student:
    """Return the learner in a ``student.state``."""
    return _student(state)


class Records:
    """The fold."""

    name = "cases.records"
    tables: Sequence[str] = ("cases.student", "cases.record")

    def wants(self, type_: str, kind: str) -> bool:  # noqa: ARG002 - the same for every type
        """Say that it wants every fact of learners and records."""
        return kind in _STREAMS

    async def fold(self, connection: Connection, batch: Sequence[Recorded]) -> None:
        """Apply ``batch``."""
        students: dict[str, list[Event]] = {}
        records: dict[str, list[Event]] = {}
        for recorded in batch:
            kind, _, subject = (recorded.event.stream or "").partition(":")
            of_kind = students if kind == "student" else records
            of_kind.setdefault(subject, []).append(recorded.event)
        if students:
            await self._students(connection, {UUID(s): found for s, found in students.items()})
        if records:
            await self._records(connection, {UUID(r): found for r, found in records.items()})

    async def _students(self, connection: Connection, changes: dict[UUID, list[Event]]) -> None:
        rows = await connection.fetch(
            "select id, state from cases.student where id = any($1)", list(changes)
        )
        folded: dict[UUID, Student | None] = {r["id"]: decode_student(r["state"]) for r in rows}
        for student_id, events in changes.items():
            for event in events:
                folded[student_id] = evolve_student(folded.get(student_id), event)
        known = [student for student in folded.values() if student is not None]
        # What they are found by is made afterwards: see services.cases.name_index.
        await connection.execute(
            "insert into cases.student (id, school_id, state)"
            " select * from unnest($1::uuid[], $2::uuid[], $3::bytea[])"
            " on conflict (id) do update set school_id = excluded.school_id,"
            " state = excluded.state, name_epoch = 0, name_tokens = '{}'",
            [student.id for student in known],
            [student.school_id for student in known],
            [states.encode(student) for student in known],
        )

    async def _records(self, connection: Connection, changes: dict[UUID, list[Event]]) -> None:
        rows = await connection.fetch(
            "select id, state from cases.record where id = any($1)", list(changes)
        )
        folded: dict[UUID, Record | None] = {r["id"]: decode_record(r["state"]) for r in rows}
        for record_id, events in changes.items():
            for event in events:
                folded[record_id] = evolve(folded.get(record_id), event)
        await self._follow(connection, folded)
        await connection.executemany(
            _UPSERT, [_row(record) for record in folded.values() if record is not None]
        )

    async def _follow(self, connection: Connection, folded: dict[UUID, Record | None]) -> None:
        """Let the requests that became the cases in ``folded`` go where their cases went."""
        cases = [r for r in folded.values() if r is not None and r.request_id is not None]
        missing = [c.request_id for c in cases if c.request_id not in folded]
        rows = await connection.fetch(
            "select id, state from cases.record where id = any($1)", missing
        )
        folded.update({row["id"]: decode_record(row["state"]) for row in rows})
        for case in cases:
            request = folded.get(case.request_id) if case.request_id else None
            if request is not None:
                folded[request.id] = follow(request, case)


def _row(record: Record) -> tuple[Any, ...]:
    view = view_of(record, None)
    staff = (*record.staff, *record.team)
    organisations = {record.school_id, record.provider_id, *(s.organisation_id for s in staff)}
    return (
        record.id,
        record.kind.value,
        record.status.value,
        record.student_id,
        record.school_id,
        record.provider_id,
        view.made_by,
        view.made_at,
        view.case_manager,
        view.primary_contact,
        list(view.team),
        view.submitted,
        view.notified,
        record.created_at,
        record.number,
        sorted({s.person_id for s in staff}),
        sorted(o for o in organisations if o is not None),
        states.encode(record),
    )
