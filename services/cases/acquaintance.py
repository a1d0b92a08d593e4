"""Whether a caller may know a learner, and by what: decided from columns, nothing is opened.

A caller knows a learner of their school (AC-SEE-23), and one of whom a record they see tells. A
learner who does not exist is judged like one who may not be seen: a stand-in, drawn by a keyed
hash of the id, is loaded by the same statement and judged by the same code. Learners have few
records, or none; so that their number does not show in the time it takes, others' are judged in
the place of those that are missing up to :data:`JUDGED`, and their outcome thrown away.
"""

import hmac
from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg

from services.cases.basis import Basis
from services.cases.desk import Desk
from services.cases.loaded import Asking
from services.cases.relations import Columns, compile_row_facts
from services.cases.statements import AT
from services.cases.terms import record_key, student_key
from services.kernel.wholeness import not_behind

#: what may be known of a learner
PARTS: Final = ("student_basic", "demographics", "family")
#: records judged about any learner, there or not; of somebody with more, all of theirs
JUDGED: Final = 8
_COLUMNS: Final = """id, kind, status, school_id, provider_id, made_by, made_at, case_manager,
    primary_contact, team, submitted, notified"""
#: $1 the id asked for, $2 where by chance to draw from
_AROUND: Final = f"""
with student as (
    select * from (
        (select id, school_id, 0 as rank from cases.student where id = $1)
        union all
        (select id, school_id, 1 from cases.student where uuid_hash_extended(id, 0) >= $2
            order by uuid_hash_extended(id, 0) limit 1)
        union all
        (select id, school_id, 2 from cases.student order by uuid_hash_extended(id, 0) limit 1)
    ) known order by rank limit 1
)
select {AT}, s.id as student_id, s.school_id as now_at, r.*
from (select 1) as one left join student s on true left join lateral (
    (select true as own, {_COLUMNS} from cases.record
        where student_id = s.id and status <> 'deleted')
    union all
    (select false, * from (
        (select {_COLUMNS} from cases.record where uuid_hash_extended(id, 0) >= $2
            order by uuid_hash_extended(id, 0) limit {JUDGED})
        union all
        (select {_COLUMNS} from cases.record order by uuid_hash_extended(id, 0) limit {JUDGED})
    ) other
    limit greatest(0, {JUDGED} - (select count(*) from cases.record
        where student_id = s.id and status <> 'deleted')))
) r on true
"""


class Way(NamedTuple):
    """One way in which a caller may know a part, and what it rests on."""

    basis: Basis
    #: the record that tells of the learner; ``None`` when they are at the caller's school now
    record_id: UUID | None = None


#: by part, every way in which it may be known
Ways = dict[str, list[Way]]


class Acquaintance(NamedTuple):
    """What a caller may know of a learner; of one who does not ``exist`` nothing is to be told."""

    exists: bool
    #: where the learner, or who stands in for them, is now
    school_id: UUID | None
    #: each part that may be known, by every way that leads to it
    parts: Ways
    #: the keys of what the decision rests on
    guards: Sequence[str]

    @property
    def known(self) -> bool:
        """Whether there is such a learner and the caller may know them."""
        return self.exists and bool(self.parts)


class Acquaintances:
    """Decides it."""

    def __init__(self, desk: Desk) -> None:
        self._pool = desk.runtime.pool
        self._judge = desk.judge
        self._policy = desk.judge.policy
        self._facts = compile_row_facts(self._policy)
        self._secret = desk.runtime.installation.secret("stand-in")

    async def of(self, asking: Asking, student_id: UUID) -> Acquaintance:
        """Return what the caller may know of the learner; as many guards for a missing one."""
        drawn = hmac.digest(self._secret, student_id.bytes, "sha256")[:8]
        place = int.from_bytes(drawn, "big", signed=True)
        rows = await self._pool.fetch(_AROUND, student_id, place)
        not_behind(rows[0]["at"], asking.at)
        school_id = rows[0]["now_at"]
        parts: Ways = {}
        for basis in self._judge.at_own_schools(asking.caller, "search", "student"):
            if basis.assignment.organisation_id == school_id:
                parts.setdefault("student_basic", []).append(Way(basis))
        for row in rows:
            # judged in any case, to take the same time; only the learner's own counts
            self._by_record(asking, row, parts if row["own"] else {})
        exists = rows[0]["student_id"] == student_id
        counted = [row for row in rows if row["own"]] if exists and parts else rows
        guards = [student_key(student_id)]
        guards += [record_key(row["id"]) for row in counted if row["id"] is not None]
        return Acquaintance(exists, school_id, parts, (*asking.caller.guards, *guards))

    def _by_record(self, asking: Asking, row: asyncpg.Record, parts: Ways) -> None:
        if row["id"] is None:
            return
        columns = _columns(row)
        for assignment in asking.caller.assignments:
            facts = self._facts(columns, assignment)
            for part in PARTS:
                object_ = f"{columns.kind}.{part}"
                clause = self._policy.clause(assignment.role, "read", object_, facts)
                if clause is not None:
                    way = Way(Basis(assignment, clause), row["id"])
                    parts.setdefault(part, []).append(way)


def _columns(row: asyncpg.Record) -> Columns:
    return Columns(
        row["kind"],
        row["status"],
        row["school_id"],
        row["now_at"],
        row["provider_id"],
        row["made_by"],
        row["made_at"],
        row["case_manager"],
        row["primary_contact"],
        tuple(row["team"]),
        row["submitted"],
        row["notified"],
    )
