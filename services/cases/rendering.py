"""Opens and lays out what an outline shows, part by part.

Only what the sight grants is opened. A value whose key is destroyed shows as null: the person is
gone, the record's shape is not.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final
from uuid import UUID

import msgspec

from services.authz.directory import Organisation
from services.authz.events import Profile
from services.cases.events import Box, Staff
from services.cases.loading import Loaded
from services.cases.outline import Outline
from services.cases.record import PlanVersion, Record
from services.cases.sight import Entry, Sight
from services.kernel.keystore import KeyStore
from services.kernel.sealing import Compartment, KeyRef, SealBroken

_encode = msgspec.json.Encoder().encode
_profile = msgspec.json.Decoder(Profile)
_json = msgspec.json.Decoder()


class Renderer:
    """Renders records with the keys of the cases service."""

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys
        self._parts: dict[str, Callable[[Outline], Any]] = {
            "overview": lambda outline: self._overview(outline.loaded, outline.sight),
            "student_basic": self._student_basic,
            "demographics": self._demographics,
            "family": self._family,
            "contacts": self._contacts,
            "referral": lambda outline: self._referral(outline.sight),
            "plan": self._plan,
            "items": self._items,
            "team": self._team,
            "history": self._history,
        }

    async def load(self, outline: Outline) -> None:
        """Bring into reach the keys of everything in ``outline``."""
        await self._keys.load(_refs(outline))

    def parts(self, outline: Outline) -> dict[str, Any]:
        """Return the content of every part of ``outline``, whose keys have been loaded.

        Of a part that is not kept yet, an empty list.
        """
        renderers = self._parts
        return {
            part: renderers[part](outline) if part in renderers else [] for part in outline.basis
        }

    async def load_item_keys(self, student_id: UUID, entry: Entry) -> None:
        """Bring into reach the keys that what is seen of one item was sealed under."""
        boxes = (entry.item.text if entry.whole else None, entry.item.summary)
        await self._keys.load(
            KeyRef(student_id, box.compartment) for box in boxes if box is not None
        )

    def open(self, student_id: UUID, box: Box | None) -> str | None:
        """Return the text in ``box``, or ``None`` when there is none or its key is destroyed."""
        if box is None:
            return None
        try:
            return self._keys.open(
                KeyRef(student_id, box.compartment), box.event, box.field, box.text
            )
        except SealBroken:
            return None

    def open_json(self, student_id: UUID, box: Box | None) -> Any:  # noqa: ANN401 - sealed JSON
        """Return the JSON in ``box``."""
        text = self.open(student_id, box)
        return None if text is None else _json.decode(text)

    def _overview(self, loaded: Loaded, sight: Sight) -> dict[str, Any]:
        record = sight.record
        provider = record.provider_id and loaded.organisations.get(record.provider_id)
        school = loaded.organisations.get(record.school_id)
        return {
            "kind": record.kind,
            "number": record.number,
            "status": record.status,
            "created_at": record.created_at,
            "submitted_at": record.submitted_at,
            "reviewed_at": record.reviewed_at,
            "allocated_at": record.allocated_at,
            "closed_at": record.closed_at,
            "outcome": self.open(record.student_id, record.outcome),
            "decline_reason": self.open(record.student_id, record.decline_reason),
            "school": _named(school),
            "provider": _named(provider or None),
            "region": school.region if school else None,
            "prosecution_notified": record.notified,
        }

    def _student_basic(self, outline: Outline) -> dict[str, Any]:
        student, student_id = outline.loaded.student, outline.loaded.student_id
        basic = student and self.open_json(student_id, student.basic)
        return {"student_id": student_id, **(basic or {})}

    def _demographics(self, outline: Outline) -> Any:  # noqa: ANN401 - sealed JSON
        student, student_id = outline.loaded.student, outline.loaded.student_id
        return student and self.open_json(student_id, student.demographics)

    def _family(self, outline: Outline) -> Any:  # noqa: ANN401 - sealed JSON
        student, student_id = outline.loaded.student, outline.loaded.student_id
        return student and self.open_json(student_id, student.family)

    def _referral(self, sight: Sight) -> dict[str, Any]:
        record = sight.record
        content = self.open_json(record.student_id, record.referral)
        return {**(content or {}), "labels": record.referral_labels}

    def _contacts(self, outline: Outline) -> list[dict[str, Any]]:
        return [self._contact(outline.loaded, member) for member in outline.staff]

    def _team(self, outline: Outline) -> list[dict[str, Any]]:
        team = outline.sight.record.team
        return [self._contact(outline.loaded, member) for member in team]

    def _contact(self, loaded: Loaded, staff: Staff) -> dict[str, Any]:
        person = loaded.people.get(staff.person_id)
        organisation = loaded.organisations.get(staff.organisation_id)
        contact: dict[str, Any] = {
            "person_id": staff.person_id,
            "role": staff.role,
            "organisation": _named(organisation),
            "organisation_phone": organisation.phone if organisation else None,
            "name": None,
        }
        if person is not None:
            try:
                profile = _profile.decode(self._keys.open_sealed(person.sealed_profile()))
            except SealBroken:
                return contact
            contact |= {"name": profile.name, "email": profile.email, "phone": profile.phone}
        return contact

    def _plan(self, outline: Outline) -> list[dict[str, Any]]:
        sight = outline.sight
        return [self._version(sight.record, version) for version, _ in sight.versions]

    def _version(self, record: Record, version: PlanVersion) -> dict[str, Any]:
        return {
            "id": version.id,
            "status": version.status,
            "author": version.author.person_id,
            "created_at": version.created_at,
            "labels": version.labels,
            **(self.open_json(record.student_id, version.content) or {}),
        }

    def _items(self, outline: Outline) -> list[dict[str, Any]]:
        student_id = outline.sight.record.student_id
        return [self.entry(student_id, entry) for entry in outline.sight.entries]

    def entry(self, student_id: UUID, entry: Entry) -> dict[str, Any]:
        """Return what is seen of an item: all of it, or its need-to-know summary."""
        item = entry.item
        if not entry.whole:
            return {
                "id": item.id,
                "kind": item.kind,
                "created_at": item.created_at,
                "summary": self.open(student_id, item.summary),
            }
        return {
            "id": item.id,
            "kind": item.kind,
            "author": item.author.person_id,
            "created_at": item.created_at,
            "edited_at": item.edited_at,
            "shared_with_school": item.shared,
            "labels": item.labels,
            "text": self.open(student_id, item.text),
            "summary": self.open(student_id, item.summary),
        }

    def _history(self, outline: Outline) -> list[dict[str, Any]]:
        return [self._earlier(outline.loaded, other) for other in outline.history]

    def _earlier(self, loaded: Loaded, other: Sight) -> dict[str, Any]:
        # Whoever has an entry from another provider is no one whom a label of its lets in.
        shut = other.record.referral_labels and "referral" not in other.parts
        referral = None if shut else self._referral(other)
        overview = self._overview(loaded, other)
        return {"id": other.record.id, "overview": overview, "referral": referral}


def _named(organisation: Organisation | None) -> dict[str, Any] | None:
    return None if organisation is None else {"id": organisation.id, "name": organisation.name}


_STUDENT_PARTS: Final = frozenset({"student_basic", "demographics", "family"})
_STAFF_PARTS: Final = frozenset({"contacts", "team"})


def _refs(outline: Outline) -> Iterable[KeyRef]:
    """Return the keys that what is seen was sealed under, and no others."""
    sight, parts = outline.sight, outline.basis.keys()
    record = sight.record
    if _STUDENT_PARTS & parts:
        yield KeyRef(record.student_id, Compartment.STUDENT)
    yield KeyRef(record.student_id, Compartment.RECORD)
    labelled = (
        *(version.labels for version, _ in sight.versions),
        *(entry.item.labels for entry in sight.entries if entry.whole),
        record.referral_labels if "referral" in parts else (),
        *(o.record.referral_labels for o in outline.history if "referral" in o.parts),
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
