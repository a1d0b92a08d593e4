"""What may be done to the items of a case: add, edit, share, label, delete, read one.

An item whose labels come or go is sealed anew in the other compartment (SG-6). Labels are set by
provider roles only, and a label beats a share (SE).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from services.cases import content_events as e
from services.cases.change import Change, Command, Pen
from services.cases.labelling import ordered, permit_labels, resealed
from services.cases.record import Item, Status
from services.cases.requests import require_status
from services.cases.terms import Box, ItemKind, Label
from services.kernel.errors import Conflict, Forbidden, NotFound

#: of one author in one case: whoever adds many stops nobody else, and learns of nobody else's
MOST_ITEMS: Final = 1_000


@dataclass(frozen=True, slots=True)
class NewItem:
    """An item as somebody wants to add it."""

    kind: ItemKind
    text: str
    labels: Sequence[Label] = ()
    shared_with_school: bool = False
    summary: str | None = None


@dataclass(frozen=True, slots=True)
class ItemEdit:
    """What somebody wants to change of an item; ``None`` leaves a thing as it is."""

    text: str | None = None
    summary: str | None = None
    labels: Sequence[Label] | None = None
    shared_with_school: bool | None = None
    without_summary: bool = False


def add(new: NewItem) -> Command:
    """Add an item."""

    async def command(change: Change) -> None:
        change.permit("create", f"item.{new.kind}")
        if new.shared_with_school:
            change.permit("share", "item")
        if new.labels or new.summary:
            change.permit("label", "item")
        require_status(change, Status.ACTIVE)
        author, pen = change.by, change.pen()
        own = [i for i in change.record.items if i.author.assignment_id == author.assignment_id]
        if len(own) >= MOST_ITEMS:
            raise Conflict(f"one author adds at most {MOST_ITEMS} items to a case")
        item_id = change.desk.runtime.effects.new_id()
        change.made["item_id"] = item_id
        change.about("item", item_id)
        payload = e.ItemAdded(
            item_id=item_id,
            kind=new.kind,
            author=author,
            text=await pen.box("text", new.text, sensitive=bool(new.labels)),
            shared_with_school=new.shared_with_school,
            labels=ordered(new.labels),
            labelled_by=author.assignment_id if new.labels else None,
            summary=await pen.box("summary", new.summary) if new.summary else None,
        )
        change.write(payload, pen)

    return command


def edit(item_id: UUID, wanted: ItemEdit) -> Command:
    """Change an item's text, summary, sharing or labels."""

    async def command(change: Change) -> None:
        change.about("item", item_id)
        item = require_item(change, item_id)
        change.permit("update", "item")
        _permit_sharing(change, item, wanted)
        labels = _permit_labels(change, item, wanted)
        change.require_match(change.item_version(item))
        require_status(change, Status.ACTIVE)
        pen = change.pen()
        sensitive = bool(item.labels if labels is None else labels)
        payload = e.ItemEdited(
            item_id=item_id,
            text=await _text(change, item, wanted, pen, sensitive=sensitive),
            rewritten=wanted.text is not None,
            summary=await pen.box("summary", wanted.summary) if wanted.summary else None,
            summary_withdrawn=wanted.without_summary,
            shared_with_school=wanted.shared_with_school,
            labels=labels,
            labelled_by=change.by.assignment_id if labels else None,
        )
        change.write(payload, pen)

    return command


def _permit_sharing(change: Change, item: Item, wanted: ItemEdit) -> None:
    if wanted.shared_with_school not in (None, item.shared):
        change.permit("share", "item")


def _permit_labels(change: Change, item: Item, wanted: ItemEdit) -> tuple[Label, ...] | None:
    """Return the new labels when they change."""
    if wanted.labels is None or set(wanted.labels) == set(item.labels):
        return None
    permit_labels(change, item.labels, item.labelled_by, wanted.labels)
    return ordered(wanted.labels)


async def _text(
    change: Change, item: Item, wanted: ItemEdit, pen: Pen, *, sensitive: bool
) -> Box | None:
    """Return the text sealed anew when it changed, or has to move to the other compartment."""
    if wanted.text is not None:
        return await pen.box("text", wanted.text, sensitive=sensitive)
    if sensitive == bool(item.labels):
        return None
    return await resealed(change, pen, item.text, sensitive=sensitive)


def delete(item_id: UUID, reason: str) -> Command:
    """Take off an item that one wrote oneself, with a reason."""

    async def command(change: Change) -> None:
        change.about("item", item_id)
        item = require_item(change, item_id)
        change.permit("delete", "item", "authored", {item.author.assignment_id})
        change.require_match(change.item_version(item))
        require_status(change, Status.ACTIVE)
        pen = change.pen()
        change.write(e.ItemDeleted(item_id=item_id, reason=await pen.box("reason", reason)), pen)

    return command


def require_item(change: Change, item_id: UUID) -> Item:
    """Return an item that the caller sees; raise :class:`NotFound` for all others.

    Raises :class:`Forbidden` for one of which they see the need-to-know summary alone.
    """
    entry = change.sight.find(item_id)
    if entry is None:
        raise NotFound
    change.shows = entry.basis
    if not entry.whole:
        raise Forbidden
    return entry.item
