"""Searching for learners, in order to make a request about one (AC-SEE-23).

School roles find the learners now at their school, by name or number. What is looked through is
their own school's roll and nothing else, so neither an answer nor the time it takes says anything
about a learner elsewhere.
"""

from typing import Any, Final
from uuid import UUID

from services.cases import events as e
from services.cases.basis import Basis
from services.cases.desk import Asked, Desk
from services.cases.loaded import Asking
from services.cases.name_index import NameIndex
from services.cases.record import Student
from services.cases.rendering import canonical
from services.cases.search import matches, names_of
from services.cases.telling import Telling, Told
from services.kernel.errors import NotFound
from services.kernel.events import Event, ObjectRef
from services.kernel.handling import Draft
from services.kernel.sealing import Compartment, KeyRef, period_subject

_FOUND: Final = 100
#: more than any school's roll; who may be called so is opened and compared
_CANDIDATES: Final = 5_000
_PART: Final = "student_basic"
_SEARCH: Final = ObjectRef("student_search", "students")
Hit = tuple[Student, dict[str, Any]]


async def find(desk: Desk, names: NameIndex, asked: Asked, query: str) -> Draft[bytes]:
    """Draft a search for learners of the caller's schools, by name or number."""
    asking = await desk.loader.asking(asked.claims, desk.now())
    schools = _schools(desk, asking)
    if not schools:
        return await desk.refuse_plain(asked, asking, _SEARCH, NotFound())
    hits = await _hits(desk, names, list(schools), query)
    ids = [student.id for student, _ in hits]
    events = [
        await _event(desk, asked, asking, told, query) for told in _told(schools, hits).told()
    ]
    guards = [*asking.caller.guards, *(e.student_key(i) for i in ids)]
    items = [{"student_id": student.id, **basic} for student, basic in hits]
    group = desk.group(asking, events, guards)
    return Draft(group, canonical({"items": items, "next_cursor": None}))


def _schools(desk: Desk, asking: Asking) -> dict[UUID, Basis]:
    """Return the schools whose learners the caller may look up, and by what."""
    policy, bit = desk.judge.policy, desk.judge.policy.facts["now_at_my_school"]
    return {
        a.organisation_id: Basis(a, clause)
        for a in asking.caller.assignments
        if (clause := policy.clause(a.role, "search", "student", bit))
    }


async def _hits(desk: Desk, names: NameIndex, schools: list[UUID], query: str) -> list[Hit]:
    candidates = await names.candidates(schools, query, _CANDIDATES)
    opened = ((s, desk.renderer.boxes(s.id).json(s.basic)) for s in candidates)
    return [(s, b) for s, b in opened if b and matches(query, names_of(b))][:_FOUND]


def _told(schools: dict[UUID, Basis], hits: list[Hit]) -> Telling:
    telling = Telling()
    for student, _ in hits:
        if student.school_id is not None:
            basis = {_PART: (schools[student.school_id],)}
            telling.add(basis, {_PART: [student.id]}, student.id)
    return telling


async def _event(desk: Desk, asked: Asked, asking: Asking, told: Told, query: str) -> Event:
    """Return the event of what was found for one organisation, or of having found nothing."""
    event_id = desk.runtime.effects.new_id()
    ids = told.shown.get(_PART, [])
    return await desk.event(
        asked,
        asking,
        e.READ,
        grounds=told.grounds,
        object_=_SEARCH,
        shown={_PART: ids},
        data={"students": [str(i) for i in ids], "query": await _sealed(desk, event_id, query)},
        event_id=event_id,
    )


async def _sealed(desk: Desk, event_id: UUID, query: str) -> str:
    """Seal what was searched for under the month's key: it may name a child (SG-18)."""
    ref = KeyRef(period_subject("search", desk.now()), Compartment.SEARCH)
    await desk.runtime.keys.load([ref], create=True)
    return desk.runtime.keys.seal(ref, event_id, "query", query)
