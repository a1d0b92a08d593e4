"""Why a caller sees a part: the assignment and the clause it rests on, and no more than that."""

from uuid import UUID

from services.cases import events as e
from services.cases.basis import Basis
from services.cases.desk import Asked, Desk
from services.cases.loaded import Loaded
from services.cases.outline import apart, outline
from services.cases.rendering import canonical
from services.cases.sight import Sight
from services.cases.telling import Telling
from services.cases.terms import RecordKind
from services.kernel.errors import NotFound
from services.kernel.events import ObjectRef
from services.kernel.handling import Draft


async def explain(
    desk: Desk, asked: Asked, kind: RecordKind, record_id: UUID, part: str
) -> Draft[bytes]:
    """Draft the explanation of a part that is seen; anything else answers as missing."""
    loaded = await desk.load(asked, kind, record_id)
    object_ = ObjectRef(kind, str(record_id))
    sight = desk.see(loaded)
    bases = _bases(desk, loaded, sight, part) if sight else []
    if sight is None or not bases:
        first = sight.first if sight else None
        return await desk.refuse(asked, loaded, object_, NotFound(), basis=first)
    telling = Telling()
    telling.add({part: bases}, {}, sight.record.student_id)
    events = [
        await desk.event(
            asked,
            loaded.asking,
            e.READ,
            grounds=told.grounds,
            student_id=sight.record.student_id,
            object_=object_,
        )
        for told in telling.told()
    ]
    body = {
        "part": part,
        "allowed": True,
        "because": [
            {
                "clause": basis.clause,
                "role": basis.assignment.role,
                "assignment_id": basis.assignment.id,
                "organisation_id": basis.assignment.organisation_id,
            }
            for basis in bases
        ],
        "policy_version": desk.judge.policy.version,
        "valid_until": loaded.caller.valid_until,
    }
    return Draft(desk.group(loaded.asking, events, loaded.guards), canonical(body))


def _bases(desk: Desk, loaded: Loaded, sight: Sight, part: str) -> list[Basis]:
    """Return what a part rests on, at each organisation whose posts show it by themselves."""
    seen = outline(desk.judge, loaded, sight)
    own = apart(desk.judge, seen, lambda one: one.only(frozenset({part})))
    return [basis for one in own for basis in one.basis.get(part, ())]
