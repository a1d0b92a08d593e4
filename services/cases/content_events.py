"""What happens to what a record holds one by one: its items, the versions of its plan, its labels.

A part of the catalogue of :mod:`services.cases.events`, where these are registered; how they change
a record is :mod:`services.cases.contents`.
"""

from typing import Final
from uuid import UUID

import msgspec

from services.cases.terms import Box, ItemKind, Label, PlanStatus, Staff


class ReferralLabelled(msgspec.Struct, frozen=True, kw_only=True):
    """The labels of a referral are these now; it is sealed anew where its compartment changed."""

    labels: tuple[Label, ...]
    labelled_by: UUID | None
    referral: Box


class PlanWritten(msgspec.Struct, frozen=True, kw_only=True):
    """A version of the support plan. ``content`` is the JSON of goals and actions."""

    plan_id: UUID
    status: PlanStatus
    content: Box
    author: Staff
    labels: tuple[Label, ...] = ()


class PlanLabelled(msgspec.Struct, frozen=True, kw_only=True):
    """The labels of a version of the plan are these; sealed anew where its compartment changed."""

    plan_id: UUID
    labels: tuple[Label, ...]
    labelled_by: UUID | None
    content: Box


class ItemAdded(msgspec.Struct, frozen=True, kw_only=True):
    """An item was put on the case."""

    item_id: UUID
    kind: ItemKind
    author: Staff
    text: Box
    shared_with_school: bool = False
    labels: tuple[Label, ...] = ()
    labelled_by: UUID | None = None
    summary: Box | None = None


class ItemEdited(msgspec.Struct, frozen=True, kw_only=True):
    """An item changed; what is absent stayed. New labels come with the text sealed anew."""

    item_id: UUID
    text: Box | None = None
    summary: Box | None = None
    shared_with_school: bool | None = None
    labels: tuple[Label, ...] | None = None
    labelled_by: UUID | None = None
    #: whether the text says something else, rather than being sealed anew for its labels
    rewritten: bool = False
    summary_withdrawn: bool = False


class ItemDeleted(msgspec.Struct, frozen=True, kw_only=True):
    """An item was taken off the case by its author."""

    item_id: UUID
    reason: Box


REFERRAL_LABELLED: Final = "cases.referral_labelled"
PLAN_WRITTEN: Final = "cases.plan_written"
PLAN_LABELLED: Final = "cases.plan_labelled"
ITEM_ADDED: Final = "cases.item_added"
ITEM_EDITED: Final = "cases.item_edited"
ITEM_DELETED: Final = "cases.item_deleted"

#: the payload of each
PAYLOADS: Final[dict[str, type[msgspec.Struct]]] = {
    REFERRAL_LABELLED: ReferralLabelled,
    PLAN_WRITTEN: PlanWritten,
    PLAN_LABELLED: PlanLabelled,
    ITEM_ADDED: ItemAdded,
    ITEM_EDITED: ItemEdited,
    ITEM_DELETED: ItemDeleted,
}
