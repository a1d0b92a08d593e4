"""What the cases service answers about learners: searches, reading one, and whether one is known.

A learner is read at one's own school, or through a record one may see; whether one may is decided
before anything of theirs is loaded, and one who does not exist is refused along the same path. What
only records that have ended tell of a learner is told as it was when they ended (AC-SHARE-3).
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Final, NamedTuple
from uuid import UUID

from services.cases import events as e
from services.cases.acquaintance import Acquaintance, Acquaintances, Way
from services.cases.basis import Basis
from services.cases.desk import Asked, Desk
from services.cases.finding import Finding
from services.cases.kept import Kept, Particulars
from services.cases.loaded import Asking
from services.cases.models import StudentQuery
from services.cases.name_index import NameIndex
from services.cases.record import Record, Student
from services.cases.rendering import canonical
from services.cases.telling import Telling
from services.kernel.cursors import Cursors
from services.kernel.errors import NotFound, Problem, Unavailable
from services.kernel.events import ObjectRef
from services.kernel.handling import Draft
from services.kernel.sealing import Compartment, KeyRef

Reply = tuple[bytes, str]
_BOXES: Final[Mapping[str, Callable[[Particulars], Kept | None]]] = {
    "student_basic": lambda learner: learner.basic,
    "demographics": lambda learner: learner.demographics,
    "family": lambda learner: learner.family,
}


class _Told(NamedTuple):
    """What a part tells from, as the learner is or as they were, and by what it is known."""

    learner: Particulars
    basis: Basis


def _told(ways: Sequence[Way], student: Student, records: Mapping[UUID, Record]) -> _Told:
    """Return what a part known in ``ways`` tells: of today, unless all their records have ended.

    Then it is what the newest of these kept.
    """
    ended: list[tuple[datetime, UUID, _Told]] = []
    for way in ways:
        record = None if way.record_id is None else records[way.record_id]
        if record is None or record.particulars is None:
            return _Told(student.particulars, way.basis)
        ended.append((record.created_at, record.id, _Told(record.particulars, way.basis)))
    return max(ended, key=itemgetter(0, 1))[2]


def _shown_by(told: _Told, ways: Sequence[Way]) -> list[Basis]:
    """Return by what each organisation's posts show a part: as it is told, else their first."""
    found: dict[UUID, Basis] = {}
    for basis in (told.basis, *(way.basis for way in ways)):
        found.setdefault(basis.assignment.organisation_id, basis)
    return list(found.values())


class Students:
    """What the cases service knows of learners."""

    def __init__(self, desk: Desk, cursors: Cursors) -> None:
        self._desk = desk
        self._acquaintances = Acquaintances(desk)
        self.names = NameIndex(desk.runtime.pool, desk.runtime.keys)
        self._finding = Finding(desk, self.names, cursors)

    async def search(self, asked: Asked, wanted: StudentQuery) -> Draft[bytes]:
        """Draft a page of the learners of the caller's school called so (AC-SEE-23)."""
        return await self._finding.find(asked, wanted)

    async def acquaintance(self, asking: Asking, student_id: UUID) -> Acquaintance:
        """Return what the caller may know of a learner, who need not exist."""
        return await self._acquaintances.of(asking, student_id)

    async def read(self, asked: Asked, student_id: UUID) -> Draft[Reply]:
        """Draft what the caller may see of one learner: at their school, or through a record."""
        asking = await self._desk.loader.asking(asked.claims, self._desk.now())
        found = await self.acquaintance(asking, student_id)
        if not found.known:
            return await self.refuse(asked, asking, student_id, found, NotFound())
        return await self._shown(asked, asking, student_id, found)

    async def refuse(
        self,
        asked: Asked,
        asking: Asking,
        student_id: UUID,
        found: Acquaintance,
        problem: Problem,
        organisation_id: UUID | None = None,
    ) -> Draft[Reply]:
        """Draft a refusal that rests on what was looked at; an event about the learner, if any.

        It was asked for ``organisation_id``, else for who shows the caller the learner.
        """
        object_ = ObjectRef("student", str(student_id))
        about = student_id if found.exists else None
        shows = next((way.basis for ways in found.parts.values() for way in ways), None)
        if organisation_id is None and found.known and shows is not None:
            organisation_id = shows.assignment.organisation_id
        refused = await self._desk.refuse_plain(
            asked, asking, object_, problem, about, organisation_id
        )
        return Draft(self._desk.group(asking, refused.group.events, found.guards), problem)

    async def _shown(
        self, asked: Asked, asking: Asking, student_id: UUID, found: Acquaintance
    ) -> Draft[Reply]:
        desk = self._desk
        # Loaded after what was decided, and guarded since before it was by the learner's key and
        # those of their records.
        ways = [way for ways in found.parts.values() for way in ways]
        told_by = {way.record_id for way in ways if way.record_id is not None}
        student, records = await desk.loader.student(asking, student_id, told_by)
        if student is None or records.keys() != told_by:
            raise Unavailable
        await desk.runtime.keys.load([KeyRef(student_id, Compartment.STUDENT)])
        told = {part: _told(ways, student, records) for part, ways in found.parts.items()}
        opened = desk.renderer.boxes(student_id)
        content = {part: opened.json(_BOXES[part](one.learner)) for part, one in told.items()}
        version = desk.version(asking, canonical(content))
        telling = Telling()
        ids = {part: [student_id] for part in told}
        shown_by = {part: _shown_by(one, found.parts[part]) for part, one in told.items()}
        telling.add(shown_by, ids, student_id)
        events = [
            await desk.event(
                asked,
                asking,
                e.READ,
                grounds=one.grounds,
                student_id=student_id,
                object_=ObjectRef("student", str(student_id)),
                shown=one.shown,
            )
            for one in telling.told()
        ]
        body = {
            "id": student_id,
            "version": version.strip('"'),
            **(content.get("student_basic") or {}),
            "parts": content,
        }
        return Draft(desk.group(asking, events, found.guards), (canonical(body), version))
