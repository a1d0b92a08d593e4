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
from services.cases.models import StudentQuery
from services.cases.name_index import NameIndex
from services.cases.record import Student
from services.cases.rendering import canonical
from services.cases.search import matches, names_of
from services.cases.telling import Telling, Told
from services.cases.terms import student_key
from services.kernel.cursors import Cursors
from services.kernel.errors import NotFound
from services.kernel.events import Event, ObjectRef
from services.kernel.handling import Draft
from services.kernel.sealing import Compartment, KeyRef, period_subject

_BEFORE_ALL: Final = UUID(int=0)
#: learners who may be called so, opened and compared between two turns of the event loop
_AT_ONCE: Final = 250
_PART: Final = "student_basic"
_SEARCH: Final = ObjectRef("student_search", "students")
Hit = tuple[Student, dict[str, Any]]


class Finding:
    """Searches, a page at a time: by id, which says when a learner became known here."""

    def __init__(self, desk: Desk, names: NameIndex, cursors: Cursors) -> None:
        self._desk = desk
        self._names = names
        self._cursors = cursors

    async def find(self, asked: Asked, wanted: StudentQuery) -> Draft[bytes]:
        """Draft a page of the learners of the caller's schools, by name or number.

        What fills it is learners who are shown, and there is a next one when there is one more to
        show. Raises :class:`services.kernel.errors.Malformed` for a cursor of another caller's, or
        of another query.
        """
        desk = self._desk
        asking = await desk.loader.asking(asked.claims, desk.now())
        bound = (asking.caller.person.id, f"{_SEARCH.type}|{wanted.query}")
        after = _BEFORE_ALL
        if wanted.cursor is not None:
            after = self._cursors.open(*bound, wanted.cursor, UUID)
        own = desk.judge.at_own_schools(asking.caller, "search", "student")
        schools = {basis.assignment.organisation_id: basis for basis in own}
        if not schools:
            return await desk.refuse_plain(asked, asking, _SEARCH, NotFound())
        found = await self._hits(asking, list(schools), wanted.query, after, wanted.limit + 1)
        hits = found[: wanted.limit]
        more = self._cursors.seal(*bound, hits[-1][0].id) if len(found) > len(hits) else None
        told = _told(schools, hits).told()
        looked = next(iter(schools))
        events = [await _event(desk, asked, asking, one, wanted.query, looked) for one in told]
        guards = [*asking.caller.guards, *(student_key(student.id) for student, _ in found)]
        items = [{"student_id": student.id, **basic} for student, basic in hits]
        group = desk.group(asking, events, guards)
        return Draft(group, canonical({"items": items, "next_cursor": more}))

    async def _hits(
        self, asking: Asking, schools: list[UUID], query: str, after: UUID, most: int
    ) -> list[Hit]:
        """Return the first ``most`` learners behind ``after`` who are called so."""
        hits: list[Hit] = []
        while len(hits) < most:
            candidates = await self._names.candidates(asking, schools, query, after, _AT_ONCE)
            opened = ((s, self._desk.renderer.boxes(s.id).json(s.basic)) for s in candidates)
            hits += [(s, b) for s, b in opened if b and matches(query, names_of(b))]
            if len(candidates) < _AT_ONCE:
                break
            after = candidates[-1].id
        return hits[:most]


def _told(schools: dict[UUID, Basis], hits: list[Hit]) -> Telling:
    telling = Telling()
    for student, _ in hits:
        if student.school_id is not None:
            basis = {_PART: (schools[student.school_id],)}
            telling.add(basis, {_PART: [student.id]}, student.id)
    return telling


async def _event(
    desk: Desk, asked: Asked, asking: Asking, told: Told, query: str, looked: UUID
) -> Event:
    """Return the event of what was found for one organisation, or of ``looked`` at in vain."""
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
        organisation_id=None if told.grounds else looked,
    )


async def _sealed(desk: Desk, event_id: UUID, query: str) -> str:
    """Seal what was searched for under the month's key: it may name a child (SG-18)."""
    ref = KeyRef(period_subject("search", desk.now()), Compartment.SEARCH)
    await desk.runtime.keys.load([ref], create=True)
    return desk.runtime.keys.seal(ref, event_id, "query", query)
