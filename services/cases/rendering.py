"""Opens and lays out what an outline shows, part by part.

Nothing else is opened. A value whose key is destroyed shows as null: the person is
gone, the record's shape is not.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final
from uuid import UUID

import msgspec

from services.authz.directory import Organisation
from services.authz.events import Profile
from services.cases.basis import Entry
from services.cases.boxes import Boxes
from services.cases.kept import Particulars
from services.cases.outline import Outline
from services.cases.record import PlanVersion, Record, Student
from services.cases.terms import Staff
from services.kernel.keystore import KeyStore
from services.kernel.sealing import Compartment, KeyRef, SealBroken

_encode = msgspec.json.Encoder().encode
_profile = msgspec.json.Decoder(Profile)


class Renderer:
    """Renders records with the keys of the cases service."""

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys

    async def load(self, outline: Outline) -> None:
        """Bring into reach the keys of everything in ``outline``."""
        await self._keys.load(_refs(outline))

    async def load_item_keys(self, student_id: UUID, entry: Entry) -> None:
        """Bring into reach the keys that what is seen of one item was sealed under."""
        boxes = (entry.item.text if entry.whole else None, entry.item.summary)
        await self._keys.load(
            KeyRef(student_id, box.compartment) for box in boxes if box is not None
        )

    def boxes(self, student_id: UUID) -> Boxes:
        """Return what opens the boxes of a learner, whose keys have been loaded."""
        return Boxes(self._keys, student_id)

    def entry(self, student_id: UUID, entry: Entry) -> dict[str, Any]:
        """Return what is seen of an item: all of it, or its need-to-know summary."""
        return _entry(self.boxes(student_id), entry)

    def parts(self, outline: Outline) -> dict[str, Any]:
        """Return the content of every part of ``outline``, whose keys have been loaded.

        Of a part that is not kept yet, an empty list.
        """
        page = _Page(self._keys, outline, self.boxes(outline.loaded.student_id))
        return {part: _PARTS[part](page) if part in _PARTS else [] for part in outline.basis}


class _Page:
    """One outline as it is laid out, part by part."""

    __slots__ = ("_boxes", "_keys", "_loaded", "_outline", "_sight")

    def __init__(self, keys: KeyStore, outline: Outline, boxes: Boxes) -> None:
        self._keys = keys
        self._boxes = boxes
        self._outline = outline
        self._sight = outline.sight
        self._loaded = outline.loaded

    def overview(self) -> dict[str, Any]:
        return self._overview(self._sight.record)

    def _overview(self, record: Record) -> dict[str, Any]:
        organisations = self._loaded.organisations
        provider = organisations.get(record.provider_id) if record.provider_id else None
        school = organisations.get(record.school_id)
        return {
            "kind": record.kind,
            "number": record.number,
            "status": record.status,
            "created_at": record.created_at,
            "submitted_at": record.submitted_at,
            "reviewed_at": record.reviewed_at,
            "allocated_at": record.allocated_at,
            "closed_at": record.closed_at,
            "outcome": self._boxes.text(record.outcome),
            "decline_reason": self._boxes.text(record.decline_reason),
            "school": _named(school),
            "provider": _named(provider),
            "region": school.region if school else None,
            "prosecution_notified": record.notified,
        }

    def student_basic(self) -> dict[str, Any]:
        learner = self._learner()
        basic = learner and self._boxes.json(learner.basic)
        return {"student_id": self._loaded.student_id, **(basic or {})}

    def demographics(self) -> Any:  # noqa: ANN401 - sealed JSON
        learner = self._learner()
        return learner and self._boxes.json(learner.demographics)

    def family(self) -> Any:  # noqa: ANN401 - sealed JSON
        learner = self._learner()
        return learner and self._boxes.json(learner.family)

    def _learner(self) -> Particulars | Student | None:
        """Return the learner as they are, or as they were when the record ended (AC-SHARE-3)."""
        return self._sight.record.particulars or self._loaded.student

    def referral(self) -> dict[str, Any]:
        return self._referral(self._sight.record)

    def _referral(self, record: Record) -> dict[str, Any]:
        content = self._boxes.json(record.referral)
        return {**(content or {}), "labels": record.referral_labels}

    def contacts(self) -> list[dict[str, Any]]:
        return [self._contact(member) for member in self._outline.staff]

    def team(self) -> list[dict[str, Any]]:
        return [self._contact(member) for member in self._sight.record.team]

    def _contact(self, staff: Staff) -> dict[str, Any]:
        person = self._loaded.people.get(staff.person_id)
        organisation = self._loaded.organisations.get(staff.organisation_id)
        contact: dict[str, Any] = {
            "person_id": staff.person_id,
            "role": staff.role,
            "organisation": _named(organisation),
            "organisation_phone": organisation.phone if organisation else None,
            "name": None,
        }
        if person is not None:
            try:
                profile = _profile.decode(person.opened(self._keys))
            except SealBroken:
                return contact
            contact |= {"name": profile.name, "email": profile.email, "phone": profile.phone}
        return contact

    def plan(self) -> list[dict[str, Any]]:
        return [self._version(version) for version, _ in self._sight.versions]

    def _version(self, version: PlanVersion) -> dict[str, Any]:
        return {
            "id": version.id,
            "status": version.status,
            "author": version.author.person_id,
            "created_at": version.created_at,
            "labels": version.labels,
            **(self._boxes.json(version.content) or {}),
        }

    def items(self) -> list[dict[str, Any]]:
        return [_entry(self._boxes, entry) for entry in self._sight.entries]

    def history(self) -> list[dict[str, Any]]:
        return [self._earlier(record) for record in self._outline.history]

    def _earlier(self, record: Record) -> dict[str, Any]:
        # Nobody has an entry by a post that a label of its referral lets in; another post of theirs
        # that does shows them the record itself (0003, 3).
        entry = {"id": record.id, "overview": self._overview(record)}
        if not record.referral_labels:
            entry["referral"] = self._referral(record)
        return entry


_PARTS: Final[Mapping[str, Callable[[_Page], Any]]] = {
    "overview": _Page.overview,
    "student_basic": _Page.student_basic,
    "demographics": _Page.demographics,
    "family": _Page.family,
    "contacts": _Page.contacts,
    "referral": _Page.referral,
    "plan": _Page.plan,
    "items": _Page.items,
    "team": _Page.team,
    "history": _Page.history,
}


def _entry(boxes: Boxes, entry: Entry) -> dict[str, Any]:
    item = entry.item
    if not entry.whole:
        return {
            "id": item.id,
            "kind": item.kind,
            "created_at": item.created_at,
            "summary": boxes.text(item.summary),
        }
    return {
        "id": item.id,
        "kind": item.kind,
        "author": item.author.person_id,
        "created_at": item.created_at,
        "edited_at": item.edited_at,
        "shared_with_school": item.shared,
        "labels": item.labels,
        "text": boxes.text(item.text),
        "summary": boxes.text(item.summary),
    }


def _named(organisation: Organisation | None) -> dict[str, Any] | None:
    return None if organisation is None else {"id": organisation.id, "name": organisation.name}


_STUDENT_PARTS: Final = frozenset({"student_basic", "demographics", "family"})
_STAFF_PARTS: Final = frozenset({"contacts", "team"})


def _refs(outline: Outline) -> Iterable[KeyRef]:
    """Return the keys that open what is seen: the record's, and others where a part needs them."""
    sight, parts = outline.sight, outline.basis.keys()
    record = sight.record
    if _STUDENT_PARTS & parts:
        yield KeyRef(record.student_id, Compartment.STUDENT)
    yield KeyRef(record.student_id, Compartment.RECORD)
    labelled = (
        *(version.labels for version, _ in sight.versions),
        *(entry.item.labels for entry in sight.entries if entry.whole),
        record.referral_labels if "referral" in parts else (),
    )
    if any(labelled):
        yield KeyRef(record.student_id, Compartment.SENSITIVE)
    if _STAFF_PARTS & parts:
        people = {m.person_id.int: m.person_id for m in (*outline.staff, *record.team)}
        for person_id in people.values():
            yield KeyRef(person_id, Compartment.STAFF)


def canonical(value: object) -> bytes:
    """Return the bytes an answer is sent as, and its version is computed over."""
    return _encode(value)
