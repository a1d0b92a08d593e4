"""What a request, a case and a learner are once their facts are folded.

States only: how a fact changes them is :mod:`services.cases.evolution`. Content stays sealed.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from services.cases.kept import Kept, Particulars
from services.cases.terms import ItemKind, Label, PlanStatus, RecordKind, Staff
from services.kernel.codes import Code


class Status(Code):
    """Where a record is in its life. Requests end ``assigned``, ``declined`` or ``withdrawn``."""

    DRAFT = "draft"
    SUBMITTED = "submitted"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    ALLOCATED = "allocated"
    ASSIGNED = "assigned"
    ACTIVE = "active"
    CLOSED = "closed"
    WITHDRAWN = "withdrawn"
    DELETED = "deleted"


#: a request is one of these until it becomes a case, or ends
UNDER_WAY: Final = (Status.DRAFT, Status.SUBMITTED, Status.ACCEPTED, Status.ALLOCATED)


class Item(msgspec.Struct, frozen=True, gc=False):
    """One thing on a case."""

    id: UUID
    kind: ItemKind
    author: Staff
    created_at: datetime
    text: Kept
    shared: bool = False
    labels: tuple[Label, ...] = ()
    #: the assignment that set each label: who set it may remove it (AC-DO-6)
    labelled_by: Mapping[Label, UUID] = {}
    summary: Kept | None = None
    edited_at: datetime | None = None


class PlanVersion(msgspec.Struct, frozen=True, gc=False):
    """One version of the support plan."""

    id: UUID
    status: PlanStatus
    author: Staff
    created_at: datetime
    content: Kept
    labels: tuple[Label, ...] = ()
    labelled_by: dict[Label, UUID] = {}


class Record(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A request or a case. The fields down to ``notified`` are the facts that decisions use."""

    id: UUID
    kind: RecordKind
    status: Status
    student_id: UUID
    school_id: UUID
    provider_id: UUID | None = None
    made_by: Staff
    case_manager: Staff | None = None
    primary_contact: Staff | None = None
    team: tuple[Staff, ...] = ()
    submitted_at: datetime | None = None
    notified: bool = False

    number: str
    created_at: datetime
    version: int
    referral: Kept
    referral_labels: tuple[Label, ...] = ()
    referral_labelled_by: dict[Label, UUID] = {}
    reviewed_by: Staff | None = None
    reviewed_at: datetime | None = None
    decline_reason: Kept | None = None
    allocated_at: datetime | None = None
    case_id: UUID | None = None
    request_id: UUID | None = None
    closed_at: datetime | None = None
    outcome: Kept | None = None
    plan: tuple[PlanVersion, ...] = ()
    items: tuple[Item, ...] = ()
    #: the learner's as they stood when the record ended (AC-SHARE-3); ``None`` while it is open
    particulars: Particulars | None = None

    def item(self, item_id: UUID) -> Item | None:
        """Return the item called ``item_id``; where it stands makes no difference in time."""
        return {item.id.int: item for item in self.items}.get(item_id.int)

    @property
    def staff(self) -> tuple[Staff, ...]:
        """Everybody the record names but for its team, once each, in order of appearance."""
        named = (self.made_by, self.primary_contact, self.case_manager, self.reviewed_by)
        authors = (*(v.author for v in self.plan), *(i.author for i in self.items))
        return tuple(dict.fromkeys(s for s in (*named, *authors) if s is not None))


def stream_of(record_id: UUID, kind: RecordKind) -> str:
    """Return the stream of a record."""
    return f"{kind}:{record_id}"


class Student(msgspec.Struct, frozen=True, gc=False):
    """A learner as decisions and parts need them; all that is personal stays sealed."""

    id: UUID
    school_id: UUID | None
    basic: Kept
    demographics: Kept
    family: Kept
    version: int = 1

    @property
    def particulars(self) -> Particulars:
        """What is known of them."""
        return Particulars(self.basic, self.demographics, self.family)
