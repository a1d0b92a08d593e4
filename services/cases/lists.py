"""Lists of requests and cases, and finding learners: what was shown is named in one event.

A list is filtered in SQL by the same relations that decide one record, page by page along an
index, and each row is then decided like a single read. What a caller may not see is neither
counted nor skipped visibly.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

import msgspec

from services.authz.directory import decode_organisation
from services.authz.engine import Policy
from services.cases import events as e
from services.cases.desk import Asked, Desk
from services.cases.events import RecordKind
from services.cases.loading import Asking, Loaded
from services.cases.record import Record, Student
from services.cases.relations import EXISTS, RELATIONS, THING_FACTS
from services.cases.rendering import canonical
from services.cases.search import matches, query_tokens
from services.cases.sight import Basis, Sight, grounds_of
from services.cases.views import decode_record, decode_student
from services.kernel.cursors import Cursors
from services.kernel.errors import NotFound, Unavailable
from services.kernel.events import Ground, ObjectRef
from services.kernel.handling import Draft
from services.kernel.sealing import Compartment, KeyRef, period_subject

MAX_LIMIT: Final = 100
#: the parts of a record that a list shows, where the caller sees them
LISTED: Final = ("overview", "student_basic")
_FOUND: Final = 50


class Place(msgspec.Struct, frozen=True):
    """Where the next page begins."""

    created_at: datetime
    id: UUID


@lru_cache(maxsize=8)
def _query(policy: Policy, kind: str) -> str:
    """Return the paged list: one indexed branch for each row of the policy that shows something.

    $1 to $3: ids, roles and organisations of the caller's assignments; $4, $5: where to begin;
    $6: how many; $7: a status or null; $8: a learner or null.
    """
    branches = []
    for role in sorted({row.role for row in policy.rows} - {"*"}):
        for needs in sorted(policy.needs(role, "read", kind), key=sorted):
            if "authored" in needs:
                continue
            conditions = " and ".join(RELATIONS[n].sql for n in sorted(needs - THING_FACTS))
            branches.append(
                "(select r.id, r.created_at from cases.record r"
                " join cases.student s on s.id = r.student_id"
                f" where a.role = '{role}' and r.kind = '{kind}' and {conditions}"
                f" and {EXISTS.sql} and (r.created_at, r.id) < ($4, $5)"
                " and ($7::text is null or r.status = $7)"
                " and ($8::uuid is null or r.student_id = $8)"
                " order by r.created_at desc, r.id desc limit $6)"
            )
    unique = " union all ".join(sorted(set(branches)))
    return f"""
        select r.id, r.state, st.state as student_state,
            (select array_agg(o.state) from cases.organisation o
                where o.id = any(r.organisations)) as organisations
        from (
            select distinct c.id, c.created_at
            from unnest($1::uuid[], $2::text[], $3::uuid[]) a(id, role, organisation_id)
            cross join lateral ({unique}) c
            order by c.created_at desc, c.id desc limit $6
        ) page
        join cases.record r on r.id = page.id
        join cases.student st on st.id = r.student_id
        order by r.created_at desc, r.id desc
    """


_LAST_ID: Final = UUID(int=(1 << 128) - 1)


class Lists:
    """Lists and searches of the cases service."""

    def __init__(self, desk: Desk, cursors: Cursors, search_secret: bytes) -> None:
        self._desk = desk
        self._cursors = cursors
        self._search_secret = search_secret

    async def records(
        self,
        asked: Asked,
        kind: RecordKind,
        *,
        status: str | None,
        student_id: UUID | None,
        limit: int,
        cursor: str | None,
    ) -> Draft[bytes]:
        """Draft a page of the records of ``kind`` that the caller sees, newest first."""
        desk = self._desk
        asking = await desk.loader.asking(asked.claims, desk.now())
        caller = asking.caller
        filter_text = f"{kind}|{status}|{student_id}"
        place = None
        if cursor is not None:
            place = self._cursors.open(caller.person.id, filter_text, cursor, Place)
        rows = await self._page(asking, kind, status, student_id, place, limit + 1)
        loaded = [_loaded(asking, row) for row in rows[:limit]]
        seen = [(one, sight) for one in loaded if (sight := desk.see(one))]
        items, shown, basis = await self._render(seen)
        following = None
        if len(rows) > limit:
            last = decode_record(rows[limit - 1]["state"])
            following = self._cursors.seal(
                caller.person.id, filter_text, Place(last.created_at, last.id)
            )
        event = await desk.event(
            asked,
            asking,
            e.READ,
            grounds=basis,
            object_=ObjectRef(f"{kind}_list", str(kind)),
            student_id=student_id if seen else None,
            shown=shown,
            data={"students": sorted({str(sight.record.student_id) for _, sight in seen})},
        )
        guards = dict.fromkeys(guard for one, _ in seen for guard in one.guards)
        group = desk.group(asking, [event], [*dict.fromkeys((*caller.guards, *guards))])
        return Draft(group, canonical({"items": items, "next_cursor": following}))

    async def _page(
        self,
        asking: Asking,
        kind: RecordKind,
        status: str | None,
        student_id: UUID | None,
        place: Place | None,
        limit: int,
    ) -> Sequence[Any]:
        held = asking.caller.assignments
        infinity = datetime.max.replace(tzinfo=asking.caller.valid_until.tzinfo)
        rows: Sequence[Any] = await self._desk.runtime.pool.fetch(
            _query(self._desk.judge.policy, kind),
            [a.id for a in held],
            [a.role.value for a in held],
            [a.organisation_id for a in held],
            place.created_at if place else infinity,
            place.id if place else _LAST_ID,
            limit,
            status,
            student_id,
        )
        return rows

    async def _render(
        self, seen: Sequence[tuple[Loaded, Sight]]
    ) -> tuple[list[dict[str, Any]], dict[str, list[UUID]], tuple[Ground, ...]]:
        await self._desk.runtime.keys.load(
            KeyRef(sight.record.student_id, compartment)
            for _, sight in seen
            for compartment in (Compartment.STUDENT, Compartment.RECORD)
        )
        items: list[dict[str, Any]] = []
        shown: dict[str, list[UUID]] = {}
        grounds: dict[tuple[UUID, str], Ground] = {}
        for one, sight in seen:
            page = await self._desk.renderer.page(one, sight.limited_to(LISTED))
            record = sight.record
            items.append(
                {
                    "id": record.id,
                    "number": record.number,
                    "status": record.status,
                    "student_id": record.student_id,
                    "parts": page.parts,
                }
            )
            for part, ids in page.shown.items():
                shown.setdefault(part, []).extend(ids)
            _merge(grounds, page.basis)
        return items, shown, tuple(grounds.values())

    async def students(self, asked: Asked, query: str) -> Draft[bytes]:
        """Draft a search for learners of the caller's school, by name or number (AC-SEE-23)."""
        desk = self._desk
        asking = await desk.loader.asking(asked.claims, desk.now())
        policy, bit = desk.judge.policy, desk.judge.policy.facts["now_at_my_school"]
        schools = {
            a.organisation_id: Basis(a, clause)
            for a in asking.caller.assignments
            if (clause := policy.clause(a.role, "search", "student", bit))
        }
        object_ = ObjectRef("student_search", "students")
        if not schools:
            return await desk.refuse_plain(asked, asking, object_, NotFound())
        found = await self._find(list(schools), query)
        basics = [(student, self._basic(student)) for student in found]
        hits = [(s, b) for s, b in basics if b and matches(query, _names(b))][:_FOUND]
        grounds: dict[tuple[UUID, str], Ground] = {}
        for student, _ in hits:
            if student.school_id is not None:
                _merge(grounds, {"student_basic": (schools[student.school_id],)})
        ids = [student.id for student, _ in hits]
        event_id = desk.runtime.effects.new_id()
        event = await desk.event(
            asked,
            asking,
            e.READ,
            grounds=tuple(grounds.values()),
            object_=object_,
            shown={"student_basic": ids},
            data={
                "students": [str(i) for i in ids],
                "query": await self._sealed(event_id, query),
            },
            event_id=event_id,
        )
        guards = [*asking.caller.guards, *(e.student_key(i) for i in ids)]
        items = [{"student_id": student.id, **basic} for student, basic in hits]
        group = desk.group(asking, [event], guards)
        return Draft(group, canonical({"items": items, "next_cursor": None}))

    async def _find(self, schools: list[UUID], query: str) -> list[Student]:
        tokens = query_tokens(self._search_secret, query)
        if not tokens:
            return []
        rows = await self._desk.runtime.pool.fetch(
            "select s.state from cases.student s where s.school_id = any($1) and s.id in ("
            " select student_id from cases.student_token where token = any($2)"
            " group by student_id having count(distinct token) = $3) order by s.id limit 500",
            schools,
            tokens,
            len(set(tokens)),
        )
        students = [decode_student(row["state"]) for row in rows]
        await self._desk.runtime.keys.load(KeyRef(s.id, Compartment.STUDENT) for s in students)
        return students

    def _basic(self, student: Student) -> dict[str, Any] | None:
        basic: dict[str, Any] | None = self._desk.renderer.open_json(student.id, student.basic)
        return basic

    async def _sealed(self, event_id: UUID, query: str) -> str:
        """Seal what was searched for under the month's key: it may name a child (SG-18)."""
        ref = KeyRef(period_subject("search", self._desk.now()), Compartment.SEARCH)
        await self._desk.runtime.keys.load([ref], create=True)
        return self._desk.runtime.keys.seal(ref, event_id, "query", query)

    async def student(self, asked: Asked, student_id: UUID) -> Draft[tuple[bytes, str]]:
        """Draft what the caller may see of one learner: at their school, or through a record."""
        desk = self._desk
        asking = await desk.loader.asking(asked.claims, desk.now())
        object_ = ObjectRef("student", str(student_id))
        student, records = await self._around(student_id)
        parts = self._student_parts(asking, student, records) if student else {}
        guards = [
            *asking.caller.guards,
            e.student_key(student_id),
            *(e.record_key(record.id) for record in records),
        ]
        if student is None or not parts:
            draft = await desk.refuse_plain(asked, asking, object_, NotFound())
            event = msgspec.structs.replace(
                draft.group.events[0], student_id=student.id if student else None
            )
            return Draft(desk.group(asking, [event], guards), NotFound())
        await desk.runtime.keys.load([KeyRef(student_id, Compartment.STUDENT)])
        boxes = {
            "student_basic": student.basic,
            "demographics": student.demographics,
            "family": student.family,
        }
        content = {p: desk.renderer.open_json(student_id, boxes[p]) for p in parts}
        version = desk.version(asking, canonical(content))
        event = await desk.event(
            asked,
            asking,
            e.READ,
            grounds=grounds_of({part: (basis,) for part, basis in parts.items()}),
            student_id=student_id,
            object_=object_,
            shown={part: [student_id] for part in parts},
        )
        body = {
            "id": student_id,
            "version": version.strip('"'),
            **(content.get("student_basic") or {}),
            "parts": content,
        }
        return Draft(desk.group(asking, [event], guards), (canonical(body), version))

    async def known(self, asking: Asking, student_id: UUID) -> tuple[Student | None, bool]:
        """Return a learner, and whether the caller may know them."""
        student, records = await self._around(student_id)
        sees = student is not None and bool(self._student_parts(asking, student, records))
        return student, sees

    async def _around(self, student_id: UUID) -> tuple[Student | None, list[Record]]:
        row = await self._desk.runtime.pool.fetchrow(
            "select (select state from cases.student where id = $1) as student,"
            " (select array_agg(state) from cases.record where student_id = $1) as records",
            student_id,
        )
        if row is None:
            raise Unavailable
        student = decode_student(row["student"]) if row["student"] else None
        return student, [decode_record(state) for state in row["records"] or ()]

    def _student_parts(
        self, asking: Asking, student: Student, records: Sequence[Record]
    ) -> dict[str, Basis]:
        policy, bit = self._desk.judge.policy, self._desk.judge.policy.facts["now_at_my_school"]
        parts: dict[str, Basis] = {}
        for assignment in asking.caller.assignments:
            clause = policy.clause(assignment.role, "search", "student", bit)
            if clause and student.school_id == assignment.organisation_id:
                parts.setdefault("student_basic", Basis(assignment, clause))
        for record in records:
            sight = self._desk.judge.see(asking.caller, record, student)
            for part in ("student_basic", "demographics", "family"):
                if part in sight.parts:
                    parts.setdefault(part, sight.parts[part])
        return parts


def _loaded(asking: Asking, row: Any) -> Loaded:  # noqa: ANN401 - a database row
    record = decode_record(row["state"])
    organisations = [decode_organisation(state) for state in row["organisations"] or ()]
    return Loaded(
        asking=asking,
        exists=True,
        record_id=record.id,
        record=record,
        student=decode_student(row["student_state"]),
        people={},
        organisations={o.id: o for o in organisations},
        earlier=(),
    )


def _merge(grounds: dict[tuple[UUID, str], Ground], basis: Mapping[str, Sequence[Basis]]) -> None:
    """Add ``basis`` to ``grounds``, one ground for each assignment and clause."""
    for ground in grounds_of(basis):
        key = (ground.assignment_id, ground.clause)
        known = grounds.get(key)
        parts = dict.fromkeys((*(known.parts if known else ()), *ground.parts))
        grounds[key] = msgspec.structs.replace(ground, parts=tuple(parts))


def _names(basic: dict[str, Any]) -> list[str]:
    fields = ("given_name", "family_name", "preferred_name", "student_number")
    return [str(basic[field]) for field in fields if basic.get(field)]
