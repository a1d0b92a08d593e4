"""The projection ``cases.records``: learners, requests and cases as rows.

A row holds the folded state (sealed content included), its things apart, and, beside it, the
columns that relations and lists speak of. The fold opens nothing: it needs no key, and destroyed
keys do not stop it. A record that ends keeps what was known of its learner at that position of the
log (AC-SHARE-3).
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import asyncpg
import msgspec

from services.cases.events import CASE_OPENED, REQUEST_DRAFTED, REQUEST_EDITED
from services.cases.evolution import ENDINGS, begun, evolve, evolve_student, follow, rewritten
from services.cases.record import Item, PlanVersion, Record, Student
from services.cases.relations import columns_of
from services.cases.terms import RecordKind
from services.kernel import states
from services.kernel.events import Event, Recorded
from services.kernel.projection import Connection

_STREAMS: Final = frozenset({"student", *RecordKind})
_record = states.decoder(Record)
_student = states.decoder(Student)

_UPSERT: Final = """
insert into cases.record (id, kind, status, student_id, school_id, provider_id, made_by, made_at,
    case_manager, primary_contact, team, submitted, notified, created_at, number, people,
    organisations, state, things)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
on conflict (id) do update set status = excluded.status, school_id = excluded.school_id,
    provider_id = excluded.provider_id, case_manager = excluded.case_manager,
    primary_contact = excluded.primary_contact, team = excluded.team,
    submitted = excluded.submitted, notified = excluded.notified, people = excluded.people,
    organisations = excluded.organisations, state = excluded.state,
    things = excluded.things
"""


class Things(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What a record holds one by one, kept apart: most who look at a record look at none."""

    plan: tuple[PlanVersion, ...]
    items: tuple[Item, ...]


_things = states.decoder(Things)


def encode_record(record: Record) -> tuple[bytes, bytes]:
    """Return ``record`` as ``record.state`` and ``record.things`` keep it."""
    head = msgspec.structs.replace(record, plan=(), items=())
    return states.encode(head), states.encode(Things(record.plan, record.items))


def decode_record(state: bytes, things: bytes) -> Record:
    """Return the record in a ``record.state`` and its ``record.things``."""
    held = _things(things)
    return msgspec.structs.replace(_record(state), plan=held.plan, items=held.items)


def decode_head(state: bytes) -> Record:
    """Return the record in a ``record.state`` as if it held no things, for who shows none."""
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
        """Apply ``batch`` in its order, so that where it was cut changes nothing."""
        facts = [_fact(recorded.event) for recorded in batch]
        folded = await _before(connection, facts)
        for fact in facts:
            folded.apply(fact)
        await _write(connection, folded)


class _Fact(NamedTuple):
    """A fact, and whose stream it is of."""

    kind: str
    subject: UUID
    event: Event


def _fact(event: Event) -> _Fact:
    kind, _, subject = (event.stream or "").partition(":")
    return _Fact(kind, UUID(subject), event)


class _Folded:
    """The learners and records that a batch concerns, fact by fact."""

    def __init__(self, students: dict[UUID, Student], records: dict[UUID, Record]) -> None:
        self.students: dict[UUID, Student | None] = {**students}
        self.records: dict[UUID, Record | None] = {**records}
        #: whose rows are to be written
        self.changed: set[UUID] = set()

    def apply(self, fact: _Fact) -> None:
        """Let one fact happen; a request goes where the case went that it became.

        A case names who reviewed that request (AC-SEE-21), and a referral that is edited once there
        is a case is the case's as well (AC-DO-6).
        """
        kind, subject, event = fact
        self.changed.add(subject)
        if kind == "student":
            self.students[subject] = evolve_student(self.students.get(subject), event)
            return
        before = self.records.get(subject)
        student = None if before is None else self.students.get(before.student_id)
        record = self.records[subject] = evolve(before, event, student)
        if record is None:
            return
        if event.type == REQUEST_EDITED and (case := self._known(record.case_id)):
            self._change(rewritten(case, record))
        if request := self._known(record.request_id):
            if event.type == CASE_OPENED:
                self._change(begun(record, request))
            self._change(follow(request, record))

    def _known(self, record_id: UUID | None) -> Record | None:
        return None if record_id is None else self.records.get(record_id)

    def _change(self, record: Record) -> None:
        self.records[record.id] = record
        self.changed.add(record.id)


async def _before(connection: Connection, facts: Sequence[_Fact]) -> _Folded:
    """Return everything that ``facts`` concern, as it stands before them."""
    changed = {fact.subject for fact in facts if fact.kind != "student"}
    records = await _records(connection, changed)
    opened = {r for fact in facts if (r := _named(fact.event, "request_id"))}
    pairs = {
        other
        for record in records.values()
        for other in (record.request_id, record.case_id)
        if other is not None
    }
    records |= await _records(connection, (opened | pairs) - changed)
    # who a record is about matters when it ends
    ending = {fact.subject for fact in facts if fact.event.type in ENDINGS}
    about = {s for f in facts if f.subject in ending and (s := _named(f.event, "student_id"))}
    about |= {records[subject].student_id for subject in ending & records.keys()}
    about |= {fact.subject for fact in facts if fact.kind == "student"}
    return _Folded(await _students(connection, about), records)


def _named(event: Event, name: str) -> UUID | None:
    """Return what a fact that begins a record names: the request it was, or its learner."""
    begins = event.type in (REQUEST_DRAFTED, CASE_OPENED)
    return UUID(event.data[name]) if begins else None


async def _records(connection: Connection, ids: Iterable[UUID]) -> dict[UUID, Record]:
    rows = await _stored(connection, "select id, state, things from cases.record", ids)
    return {row["id"]: decode_record(row["state"], row["things"]) for row in rows}


async def _students(connection: Connection, ids: Iterable[UUID]) -> dict[UUID, Student]:
    rows = await _stored(connection, "select id, state from cases.student", ids)
    return {row["id"]: decode_student(row["state"]) for row in rows}


async def _stored(
    connection: Connection, select: str, ids: Iterable[UUID]
) -> Sequence[asyncpg.Record]:
    wanted = list(ids)
    return await connection.fetch(f"{select} where id = any($1)", wanted) if wanted else ()


async def _write(connection: Connection, folded: _Folded) -> None:
    students = [s for s in folded.students.values() if s is not None and s.id in folded.changed]
    records = [r for r in folded.records.values() if r is not None and r.id in folded.changed]
    if students:
        # What they are found by is made afterwards: see services.cases.name_index.
        await connection.execute(
            "insert into cases.student (id, school_id, state)"
            " select * from unnest($1::uuid[], $2::uuid[], $3::bytea[])"
            " on conflict (id) do update set school_id = excluded.school_id,"
            " state = excluded.state, name_epoch = 0, name_tokens = '{}'",
            [student.id for student in students],
            [student.school_id for student in students],
            [states.encode(student) for student in students],
        )
    if records:
        await connection.executemany(_UPSERT, [_row(record) for record in records])


def _row(record: Record) -> tuple[Any, ...]:
    columns = columns_of(record, None)
    staff = (*record.staff, *record.team)
    organisations = {record.school_id, record.provider_id, *(s.organisation_id for s in staff)}
    return (
        record.id,
        record.kind.value,
        record.status.value,
        record.student_id,
        record.school_id,
        record.provider_id,
        columns.made_by,
        columns.made_at,
        columns.case_manager,
        columns.primary_contact,
        list(columns.team),
        columns.submitted,
        columns.notified,
        record.created_at,
        record.number,
        sorted({s.person_id for s in staff}),
        sorted(o for o in organisations if o is not None),
        *encode_record(record),
    )
