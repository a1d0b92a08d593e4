"""What the cases service answers about learners: searches, reading one, and whether one is known.

A learner is read at one's own school, or through a record one may see; whether one may is decided
before anything of theirs is loaded, and one who does not exist is refused along the same path.
"""

from uuid import UUID

from services.cases import events as e
from services.cases.acquaintance import Acquaintance, Acquaintances
from services.cases.desk import Asked, Desk
from services.cases.finding import find
from services.cases.loading import Asking
from services.cases.name_index import NameIndex
from services.cases.rendering import canonical
from services.cases.sight import grounds_of
from services.kernel.errors import NotFound, Problem, Unavailable
from services.kernel.events import ObjectRef
from services.kernel.handling import Draft
from services.kernel.sealing import Compartment, KeyRef

Reply = tuple[bytes, str]


class Students:
    """What the cases service knows of learners."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._acquaintances = Acquaintances(desk)
        self.names = NameIndex(desk.runtime.pool, desk.runtime.keys)

    async def search(self, asked: Asked, query: str) -> Draft[bytes]:
        """Draft a search for learners of the caller's school, by name or number (AC-SEE-23)."""
        return await find(self._desk, self.names, asked, query)

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
    ) -> Draft[Reply]:
        """Draft a refusal that rests on what was looked at; an event about the learner, if any."""
        object_ = ObjectRef("student", str(student_id))
        about = student_id if found.exists else None
        refused = await self._desk.refuse_plain(asked, asking, object_, problem, about)
        return Draft(self._desk.group(asking, refused.group.events, found.guards), problem)

    async def _shown(
        self, asked: Asked, asking: Asking, student_id: UUID, found: Acquaintance
    ) -> Draft[Reply]:
        desk = self._desk
        # Loaded after what was decided, and guarded by the learner's key since before it was.
        student = await desk.loader.student(student_id)
        if student is None:
            raise Unavailable
        await desk.runtime.keys.load([KeyRef(student_id, Compartment.STUDENT)])
        boxes = {
            "student_basic": student.basic,
            "demographics": student.demographics,
            "family": student.family,
        }
        opened = desk.renderer.boxes(student_id)
        content = {part: opened.json(boxes[part]) for part in found.parts}
        version = desk.version(asking, canonical(content))
        event = await desk.event(
            asked,
            asking,
            e.READ,
            grounds=grounds_of({part: (basis,) for part, basis in found.parts.items()}),
            student_id=student_id,
            object_=ObjectRef("student", str(student_id)),
            shown={part: [student_id] for part in found.parts},
        )
        body = {
            "id": student_id,
            "version": version.strip('"'),
            **(content.get("student_basic") or {}),
            "parts": content,
        }
        return Draft(desk.group(asking, [event], found.guards), (canonical(body), version))
