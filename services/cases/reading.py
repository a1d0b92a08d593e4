"""Reading: a record, one item of a case, or the content of a document."""

import asyncio
from collections.abc import Callable
from uuid import UUID

from services.cases import events as e
from services.cases.basis import grounds_of, summaries_of
from services.cases.desk import Asked, Desk, View, record_of
from services.cases.meanwhile import meanwhile
from services.cases.outline import sights_apart
from services.cases.rendering import canonical
from services.cases.terms import ItemKind, RecordKind
from services.kernel.errors import NotFound
from services.kernel.events import ObjectRef
from services.kernel.handling import Draft

Reply = tuple[bytes, str]


async def disclose(
    desk: Desk,
    asked: Asked,
    kind: RecordKind,
    record_id: UUID,
    wanted: frozenset[str] | None,
    answer: Callable[[View], bytes],
) -> Draft[asyncio.Future[tuple[bytes, str]]]:
    """Draft the disclosure of a record, or its refusal.

    What is shown is opened and rendered while the event of it is on its way to the log; nobody
    gets it before that is durable, and nobody gets it when the log refuses.
    """
    loaded = await desk.load(asked, kind, record_id)
    object_ = ObjectRef(kind, str(record_id))
    sight = desk.see(loaded)
    if sight is None:
        refused = await desk.refuse(asked, loaded, object_, NotFound())
        return Draft(refused.group, NotFound())
    seen = await desk.outline(loaded, sight)
    group = await desk.told(asked, seen, object_, lambda one: one.only(wanted))

    def reply() -> tuple[bytes, str]:
        view = desk.opened(seen)
        return answer(view), view.version

    return Draft(group, meanwhile(reply))


async def read_item(desk: Desk, asked: Asked, case_id: UUID, item_id: UUID) -> Draft[Reply]:
    """Draft the disclosure of one item: all of it, or its need-to-know summary."""
    return await _read(desk, asked, case_id, item_id, document=False)


async def document_of(desk: Desk, asked: Asked, case_id: UUID, item_id: UUID) -> Draft[Reply]:
    """Draft the disclosure of a document's content; other kinds have none."""
    return await _read(desk, asked, case_id, item_id, document=True)


async def _read(
    desk: Desk, asked: Asked, case_id: UUID, item_id: UUID, *, document: bool
) -> Draft[Reply]:
    loaded = await desk.load(asked, RecordKind.CASE, case_id)
    object_ = ObjectRef("item", str(item_id))
    sight = desk.see(loaded)
    entry = sight.find(item_id) if sight else None
    shows = entry.basis if entry else sight.first if sight else None
    if document and entry and not (entry.whole and entry.item.kind is ItemKind.DOCUMENT):
        entry = None
    if sight is None or entry is None:
        refused = await desk.refuse(asked, loaded, object_, NotFound(), basis=shows)
        return Draft(refused.group, NotFound())
    await desk.renderer.load_item_keys(loaded.student_id, entry)
    rendered = desk.renderer.entry(loaded.student_id, entry)
    version = desk.version(loaded.asking, canonical(rendered))
    body = (
        str(rendered.get("text") or "").encode()
        if document
        else canonical({**rendered, "version": version.strip('"')})
    )
    sights = sights_apart(desk.judge, loaded, sight)
    found = (one.find(item_id) for _, one in sights)
    entries = [own for own in found if own and (own.whole or not document)]
    events = [
        await desk.event(
            asked,
            loaded.asking,
            e.READ,
            grounds=grounds_of({"items": (one.basis,)}),
            student_id=loaded.student_id,
            object_=object_,
            shown={"items": [item_id]},
            data={**record_of(object_, case_id), **summaries_of([one])},
        )
        for one in entries or [entry]
    ]
    return Draft(desk.group(loaded.asking, events, loaded.guards), (body, version))
