"""Finding learners and reading one: at one's own school, or through records one may see.

School roles search the learners now at their school in order to make a request (AC-SEE-23);
everybody else finds a learner only through a record. A learner who does not exist is looked for
like one who may not be seen: their neighbour is loaded and judged in their place.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from services.cases import events as e
from services.cases.desk import Asked, Desk
from services.cases.lists import merge
from services.cases.loading import Asking
from services.cases.record import Record, Student
from services.cases.rendering import canonical
from services.cases.search import matches, query_tokens
from services.cases.sight import Basis, grounds_of
from services.cases.views import decode_record, decode_student
from services.kernel.errors import NotFound, Unavailable
from services.kernel.events import Ground, ObjectRef
from services.kernel.handling import Draft
from services.kernel.sealing import Compartment, KeyRef, period_subject

_FOUND: Final = 100
_AROUND: Final = """
select st.id, st.state,
    (select array_agg(state) from cases.record where student_id = st.id) as records
from (select 1) as one
    left join lateral (
        (select * from cases.student where id >= $1 order by id limit 1)
        union all
        (select * from cases.student where id < $1 order by id desc limit 1)
        limit 1
    ) st on true
"""


class Around(NamedTuple):
    """A learner with their records; not to be shown unless ``exists``."""

    exists: bool
    student: Student | None
    records: Sequence[Record]

    def guards(self, student_id: UUID) -> list[str]:
        """Return the guard keys of the learner asked for and of every record loaded."""
        return [e.student_key(student_id), *(e.record_key(record.id) for record in self.records)]


class Students:
    """What the cases service knows of learners."""

    def __init__(self, desk: Desk, search_secret: bytes) -> None:
        self._desk = desk
        self._search_secret = search_secret

    async def search(self, asked: Asked, query: str) -> Draft[bytes]:
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
                merge(grounds, {"student_basic": (schools[student.school_id],)})
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
            " group by student_id having count(distinct token) = $3) order by s.id limit 2000",
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

    async def read(self, asked: Asked, student_id: UUID) -> Draft[tuple[bytes, str]]:
        """Draft what the caller may see of one learner: at their school, or through a record."""
        desk = self._desk
        asking = await desk.loader.asking(asked.claims, desk.now())
        object_ = ObjectRef("student", str(student_id))
        around = await self._around(student_id)
        student, parts = around.student, self._parts(asking, around)
        guards = [*asking.caller.guards, *around.guards(student_id)]
        if student is None or not parts or not around.exists:
            known = student_id if around.exists else None
            refused = await desk.refuse_plain(asked, asking, object_, NotFound(), known)
            return Draft(desk.group(asking, refused.group.events, guards), NotFound())
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
        around = await self._around(student_id)
        sees = bool(self._parts(asking, around))
        return (around.student, sees) if around.exists else (None, False)

    async def _around(self, student_id: UUID) -> Around:
        row = await self._desk.runtime.pool.fetchrow(_AROUND, student_id)
        if row is None:
            raise Unavailable
        if row["state"] is None:
            return Around(exists=False, student=None, records=())
        records = [decode_record(state) for state in row["records"] or ()]
        return Around(row["id"] == student_id, decode_student(row["state"]), records)

    def _parts(self, asking: Asking, around: Around) -> dict[str, Basis]:
        parts: dict[str, Basis] = {}
        if around.student is None:
            return parts
        policy, bit = self._desk.judge.policy, self._desk.judge.policy.facts["now_at_my_school"]
        for assignment in asking.caller.assignments:
            clause = policy.clause(assignment.role, "search", "student", bit)
            if clause and around.student.school_id == assignment.organisation_id:
                parts.setdefault("student_basic", Basis(assignment, clause))
        for record in around.records:
            sight = self._desk.judge.see(asking.caller, record, around.student)
            for part in ("student_basic", "demographics", "family"):
                if part in sight.parts:
                    parts.setdefault(part, sight.parts[part])
        return parts


def _names(basic: dict[str, Any]) -> list[str]:
    fields = ("given_name", "family_name", "preferred_name", "student_number")
    return [str(basic[field]) for field in fields if basic.get(field)]
