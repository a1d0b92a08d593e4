"""Opens and lays out what a sight shows, part by part, and says which ids it showed.

Only what the sight grants is opened. A value whose key is destroyed shows as null: the person is
gone, the record's shape is not.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from services.authz.directory import Organisation
from services.authz.events import Profile
from services.cases.events import Box, Staff
from services.cases.loading import Loaded
from services.cases.parts import PARTS
from services.cases.record import Item, PlanVersion, Record
from services.cases.sight import Basis, Entry, Judge, Sight
from services.kernel.sealing import Compartment, KeyRef, KeyStore, SealBroken

_encode = msgspec.json.Encoder().encode
_profile = msgspec.json.Decoder(Profile)
_json = msgspec.json.Decoder()

Part = tuple[Any, list[UUID]]


class Page(NamedTuple):
    """What one caller sees of one record: content and shown ids by part, and the basis of each."""

    parts: dict[str, Any]
    shown: dict[str, list[UUID]]
    basis: Mapping[str, Sequence[Basis]]

    def only(self, wanted: frozenset[str] | None) -> "Page":
        """Return the page cut down to the parts that were asked for."""
        if wanted is None:
            return self
        return Page(
            {part: content for part, content in self.parts.items() if part in wanted},
            {part: ids for part, ids in self.shown.items() if part in wanted},
            {part: basis for part, basis in self.basis.items() if part in wanted},
        )


class Renderer:
    """Renders records with the keys of the cases service."""

    def __init__(self, keys: KeyStore, judge: Judge) -> None:
        self._keys = keys
        self._judge = judge
        self._parts: dict[str, Callable[[Loaded, Sight], Part]] = {
            "overview": self._overview,
            "student_basic": self._student_basic,
            "demographics": self._demographics,
            "family": self._family,
            "contacts": self._contacts,
            "referral": self._referral,
            "plan": self._plan,
            "items": self._items,
            "team": self._team,
            "history": self._history,
        }

    async def page(self, loaded: Loaded, sight: Sight) -> Page:
        """Return everything ``sight`` shows."""
        await self._keys.load(_refs(sight))
        parts: dict[str, Any] = {}
        shown: dict[str, list[UUID]] = {}
        basis = self.basis(loaded, sight)
        for part, render in self._parts.items():
            if part in basis:
                parts[part], shown[part] = render(loaded, sight)
        for part in PARTS:
            if part in basis and part not in parts:
                parts[part], shown[part] = [], []
        return Page(parts, shown, basis)

    def basis(self, loaded: Loaded, sight: Sight) -> dict[str, tuple[Basis, ...]]:
        """Return on what each part that ``sight`` shows rests, thing by thing; opens nothing.

        ``items`` appears also for somebody who sees none but their own (AC-SEE-25).
        """
        bases: dict[str, tuple[Basis, ...]] = {p: (basis,) for p, basis in sight.parts.items()}
        if not sight.whole:
            return bases
        things: dict[str, Iterable[Basis | None]] = {
            "plan": (basis for _, basis in sight.versions),
            "items": (entry.basis for entry in sight.entries),
            "history": (basis for _, basis in self._earlier(loaded, sight)),
        }
        for part, found in things.items():
            if seen := tuple(dict.fromkeys(basis for basis in found if basis)):
                bases[part] = seen
        return bases

    async def load_item_keys(self, sight: Sight, item: Item) -> None:
        """Bring into reach the keys that one item was sealed under."""
        boxes = (item.text, item.summary)
        await self._keys.load(
            KeyRef(sight.record.student_id, box.compartment) for box in boxes if box is not None
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

    def _overview(self, loaded: Loaded, sight: Sight) -> Part:
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
        }, [record.id]

    def _student_basic(self, loaded: Loaded, sight: Sight) -> Part:
        student_id = sight.record.student_id
        basic = loaded.student and self.open_json(student_id, loaded.student.basic)
        return {"student_id": student_id, **(basic or {})}, [student_id]

    def _demographics(self, loaded: Loaded, sight: Sight) -> Part:
        student_id = sight.record.student_id
        return (
            loaded.student and self.open_json(student_id, loaded.student.demographics),
            [student_id],
        )

    def _family(self, loaded: Loaded, sight: Sight) -> Part:
        student_id = sight.record.student_id
        return (
            loaded.student and self.open_json(student_id, loaded.student.family),
            [student_id],
        )

    def _referral(self, _loaded: Loaded, sight: Sight) -> Part:
        record = sight.record
        content = self.open_json(record.student_id, record.referral)
        return {**(content or {}), "labels": record.referral_labels}, [record.id]

    def _contacts(self, loaded: Loaded, sight: Sight) -> Part:
        staff = _visible_staff(sight)
        contacts = [self._contact(loaded, member) for member in staff]
        return contacts, list(dict.fromkeys(member.person_id for member in staff))

    def _team(self, loaded: Loaded, sight: Sight) -> Part:
        team = sight.record.team
        return [self._contact(loaded, m) for m in team], [m.person_id for m in team]

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

    def _plan(self, _loaded: Loaded, sight: Sight) -> Part:
        versions = [version for version, _ in sight.versions]
        return [self._version(sight.record, v) for v in versions], [v.id for v in versions]

    def _version(self, record: Record, version: PlanVersion) -> dict[str, Any]:
        return {
            "id": version.id,
            "status": version.status,
            "author": version.author.person_id,
            "created_at": version.created_at,
            "labels": version.labels,
            **(self.open_json(record.student_id, version.content) or {}),
        }

    def _items(self, _loaded: Loaded, sight: Sight) -> Part:
        student_id = sight.record.student_id
        return (
            [self._entry_of(student_id, entry) for entry in sight.entries],
            [entry.item.id for entry in sight.entries],
        )

    def item(self, sight: Sight, item: Item) -> dict[str, Any] | None:
        """Return what ``sight`` shows of ``item``: all, its need-to-know summary, or nothing."""
        if (basis := sight.item(item)) is not None:
            return self._entry_of(sight.record.student_id, Entry(item, basis, True))
        if (basis := sight.summary(item)) is not None:
            return self._entry_of(sight.record.student_id, Entry(item, basis, False))
        return None

    def _entry_of(self, student_id: UUID, entry: Entry) -> dict[str, Any]:
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

    def _history(self, loaded: Loaded, sight: Sight) -> Part:
        seen = [other for other, _ in self._earlier(loaded, sight)]
        return [self._entry(loaded, other) for other in seen], [other.record.id for other in seen]

    def _earlier(self, loaded: Loaded, sight: Sight) -> Iterable[tuple[Sight, Basis]]:
        """Yield the entries of the history that the caller sees, oldest first, and by what."""
        if loaded.student is None or "history" not in sight.parts:
            return
        for record in loaded.earlier:
            if record.id == sight.record.request_id:
                continue
            other = self._judge.see(loaded.caller, record, loaded.student)
            basis = sight.history(other)
            if basis is not None:
                yield other, basis

    def _entry(self, loaded: Loaded, other: Sight) -> dict[str, Any]:
        overview, _ = self._overview(loaded, other)
        # Whoever has an entry from another provider is no one whom a label of its lets in.
        shut = other.record.referral_labels and "referral" not in other.parts
        referral = None if shut else self._referral(loaded, other)[0]
        return {"id": other.record.id, "overview": overview, "referral": referral}


def _visible_staff(sight: Sight) -> tuple[Staff, ...]:
    """Return the staff involved, and the authors of what the caller may see, once each."""
    record = sight.record
    named = (record.made_by, record.primary_contact, record.case_manager, record.reviewed_by)
    authors = (
        *(version.author for version, _ in sight.versions),
        *(item.author for item in sight.items),
    )
    # by assignment, which names person, organisation and role
    staff = {s.assignment_id.int: s for s in (*named, *authors) if s is not None}
    return tuple(staff.values())


def _named(organisation: Organisation | None) -> dict[str, Any] | None:
    return None if organisation is None else {"id": organisation.id, "name": organisation.name}


_STUDENT_PARTS: Final = frozenset({"student_basic", "demographics", "family"})
_STAFF_PARTS: Final = frozenset({"contacts", "team"})


def _refs(sight: Sight) -> Iterable[KeyRef]:
    """Return the keys that what is seen was sealed under, and no others."""
    student_id = sight.record.student_id
    if _STUDENT_PARTS & sight.parts.keys():
        yield KeyRef(student_id, Compartment.STUDENT)
    yield KeyRef(student_id, Compartment.RECORD)
    if sight.record.referral_labels and "referral" in sight.parts:
        yield KeyRef(student_id, Compartment.SENSITIVE)
    if any(item.labels for item in sight.items) or any(v.labels for v, _ in sight.versions):
        yield KeyRef(student_id, Compartment.SENSITIVE)
    if _STAFF_PARTS & sight.parts.keys():
        for member in (*_visible_staff(sight), *sight.record.team):
            yield KeyRef(member.person_id, Compartment.STAFF)


def canonical(value: object) -> bytes:
    """Return the bytes an answer is sent as, and its version is computed over."""
    return _encode(value)
