"""How each fact changes what a record holds one by one: labels of its referral, plan and items.

A part of the pure fold of :mod:`services.cases.evolution`. A label keeps the assignment that set it
first, for as long as it stays (AC-DO-6).
"""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

import msgspec

from services.cases import content_events as e
from services.cases.kept import kept, kept_if
from services.cases.record import Item, PlanVersion, Record
from services.cases.terms import Label

_replace = msgspec.structs.replace


def evolve_content(record: Record, payload: msgspec.Struct, moment: datetime) -> Record:
    """Return a case after a fact about what it holds, which happened at ``moment``.

    Raises :class:`AssertionError` for a fact of another kind.
    """
    match payload:
        case e.PlanWritten():
            version = PlanVersion(
                payload.plan_id,
                payload.status,
                payload.author,
                moment,
                kept(payload.content),
                payload.labels,
                _setters({}, payload.labels, payload.author.assignment_id),
            )
            return _replace(record, plan=(*record.plan, version))
        case e.ReferralLabelled():
            return labelled(record, payload)
        case e.PlanLabelled():
            plan = tuple(
                _replace(
                    v,
                    content=kept(payload.content),
                    labels=payload.labels,
                    labelled_by=_setters(v.labelled_by, payload.labels, payload.labelled_by),
                )
                if v.id == payload.plan_id
                else v
                for v in record.plan
            )
            return _replace(record, plan=plan)
        case e.ItemAdded():
            item = Item(
                payload.item_id,
                payload.kind,
                payload.author,
                moment,
                kept(payload.text),
                payload.shared_with_school,
                payload.labels,
                _setters({}, payload.labels, payload.labelled_by),
                kept_if(payload.summary),
            )
            return _replace(record, items=(*record.items, item))
        case e.ItemEdited():
            items = tuple(
                _edited(i, payload, moment) if i.id == payload.item_id else i for i in record.items
            )
            return _replace(record, items=items)
        case e.ItemDeleted():
            return _replace(record, items=tuple(i for i in record.items if i.id != payload.item_id))
        case _:
            raise AssertionError(payload)


def labelled(record: Record, payload: e.ReferralLabelled) -> Record:
    """Return a request or a case whose referral now carries exactly these labels."""
    setters = _setters(record.referral_labelled_by, payload.labels, payload.labelled_by)
    return _replace(
        record,
        referral=kept(payload.referral),
        referral_labels=payload.labels,
        referral_labelled_by=setters,
    )


def _edited(item: Item, edit: e.ItemEdited, moment: datetime) -> Item:
    return _replace(
        item,
        text=kept_if(edit.text) or item.text,
        summary=None if edit.summary_withdrawn else kept_if(edit.summary) or item.summary,
        shared=item.shared if edit.shared_with_school is None else edit.shared_with_school,
        labels=item.labels if edit.labels is None else edit.labels,
        labelled_by=item.labelled_by
        if edit.labels is None
        else _setters(item.labelled_by, edit.labels, edit.labelled_by),
        edited_at=moment if edit.rewritten else item.edited_at,
    )


def _setters(
    known: Mapping[Label, UUID], labels: tuple[Label, ...], by: UUID | None
) -> dict[Label, UUID]:
    """Return who set each of ``labels``: whoever did before, else ``by``."""
    found = ((label, known.get(label, by)) for label in labels)
    return {label: setter for label, setter in found if setter is not None}
