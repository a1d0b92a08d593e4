"""What a sight shows of a record before anything is opened: which ids, resting on what.

Place in the flow: after the decision, before the event (which names exactly this) and before
:mod:`services.cases.rendering` (which opens exactly this). Needs no key.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple
from uuid import UUID

from services.authz.directory import Caller
from services.cases.basis import Basis, summaries_of
from services.cases.judge import Judge
from services.cases.loaded import Loaded
from services.cases.parts import PARTS
from services.cases.record import Record
from services.cases.sight import Sight
from services.cases.terms import Staff
from services.cases.views import decode_head

_SEVERAL: Final = 2
#: ids that one event has room to name
MOST_NAMED: Final = 1_200


class Outline(NamedTuple):
    """One caller's view of one record, unopened: by part what it rests on, and the ids in it."""

    loaded: Loaded
    sight: Sight
    #: the staff involved, and the authors of what the caller sees, once each
    staff: Sequence[Staff]
    #: the entries of the history that the caller sees, oldest first
    history: Sequence[Record]
    basis: Mapping[str, Sequence[Basis]]
    shown: Mapping[str, Sequence[UUID]]

    def only(self, wanted: frozenset[str] | None) -> "Outline":
        """Return the outline cut down to the parts that were asked for."""
        if wanted is None:
            return self
        return self._replace(
            basis={part: basis for part, basis in self.basis.items() if part in wanted},
            shown={part: ids for part, ids in self.shown.items() if part in wanted},
        )

    def with_item(self, wanted: frozenset[str], item_id: UUID) -> "Outline":
        """Return the outline cut down to ``wanted`` parts and, where it is seen, one item."""
        seen, entry = self.only(wanted), self.sight.find(item_id)
        if entry is None:
            return seen
        return seen._replace(
            basis={**seen.basis, "items": (entry.basis,)},
            shown={**seen.shown, "items": [item_id]},
        )

    def by_event(self) -> "Iterator[Outline]":
        """Yield the outline in as many as it takes events to name what it shows; mostly itself."""
        if sum(map(len, self.shown.values())) <= MOST_NAMED:
            yield self
            return
        left, shown = MOST_NAMED, dict[str, Sequence[UUID]]()
        for part, ids in self.shown.items():
            rest = ids
            while len(rest) > left:
                shown[part], rest = rest[:left], rest[left:]
                yield self._naming(shown)
                left, shown = MOST_NAMED, {}
            shown[part] = rest
            left -= len(rest)
        yield self._naming(shown)

    def _naming(self, shown: Mapping[str, Sequence[UUID]]) -> "Outline":
        return self._replace(basis={part: self.basis[part] for part in shown}, shown=shown)


#: leaves of an outline what was asked for
Cut = Callable[[Outline], Outline]


def apart(judge: Judge, seen: Outline, cut: Cut) -> list[Outline]:
    """Return, ``cut``, what each organisation's posts show of ``seen``: what is told for each.

    Together they show what ``seen`` does; what the posts of two show is told to both. Never empty.
    """
    sights = sights_apart(judge, seen.loaded, seen.sight)
    if len(sights) < _SEVERAL:
        return [cut(seen)]
    own = (cut(outline(judge, loaded, sight)) for loaded, sight in sights)
    return [one for one in own if one.basis] or [cut(seen)]


def summaries_in(seen: Outline) -> dict[str, object]:
    """Return the same as :func:`summaries_of` of the items that ``seen`` shows."""
    alone = [entry for entry in seen.sight.entries if not entry.whole]
    if not alone:
        return {}
    shown = frozenset(seen.shown.get("items", ()))
    return summaries_of(entry for entry in alone if entry.item.id in shown)


def sights_apart(judge: Judge, loaded: Loaded, sight: Sight) -> list[tuple[Loaded, Sight]]:
    """Return what the caller sees at each organisation by itself; all of it where that is one."""
    callers = loaded.caller.apart()
    if len(callers) < _SEVERAL:
        return [(loaded, sight)]
    return [_seen_by(judge, loaded, sight, caller) for caller in callers]


def _seen_by(judge: Judge, loaded: Loaded, sight: Sight, caller: Caller) -> tuple[Loaded, Sight]:
    """Return what is seen of the same by ``caller``, who is its caller at one organisation."""
    assert loaded.student is not None  # noqa: S101 - loaded with every record that is seen
    own = judge.see(caller, sight.record, loaded.student)
    if not sight.whole:
        own = own.limited_to(sight.parts)
    return replace(loaded, asking=replace(loaded.asking, caller=caller)), own


def outline(judge: Judge, loaded: Loaded, sight: Sight) -> Outline:
    """Return what ``sight`` shows, thing by thing.

    ``items`` appears also for somebody who sees none but their own (AC-SEE-25).
    """
    earlier = list(_earlier(judge, loaded, sight))
    history = [record for record, _ in earlier]
    staff = _visible_staff(sight)
    basis = sight.bases
    if sight.whole:
        things: dict[str, Iterable[Basis]] = {
            "plan": (one for _, one in sight.versions),
            "items": (entry.basis for entry in sight.entries),
            "history": (one for _, one in earlier),
        }
        for part, found in things.items():
            if seen := _distinct(found):
                basis[part] = seen
    ordered: dict[str, tuple[Basis, ...]] = {p: basis[p] for p in PARTS if p in basis}
    unnamed = Outline(loaded, sight, staff, history, ordered, {})
    # a part that is not kept yet holds nothing
    return unnamed._replace(shown={part: _IDS.get(part, _none)(unnamed) for part in ordered})


def _none(_: Outline) -> list[UUID]:
    return []


def _record_id(seen: Outline) -> list[UUID]:
    return [seen.sight.record.id]


def _student_id(seen: Outline) -> list[UUID]:
    return [seen.sight.record.student_id]


#: the ids that a part holds
_IDS: Final[Mapping[str, Callable[[Outline], list[UUID]]]] = {
    "overview": _record_id,
    "referral": _record_id,
    "student_basic": _student_id,
    "demographics": _student_id,
    "family": _student_id,
    "contacts": lambda seen: list({s.person_id.int: s.person_id for s in seen.staff}.values()),
    "team": lambda seen: [member.person_id for member in seen.sight.record.team],
    "plan": lambda seen: [version.id for version, _ in seen.sight.versions],
    "items": lambda seen: [entry.item.id for entry in seen.sight.entries],
    "history": lambda seen: [record.id for record in seen.history],
}


def _distinct(found: Iterable[Basis]) -> tuple[Basis, ...]:
    """Return each basis once, in order: there are few, and things alike share theirs."""
    distinct: list[Basis] = []
    last: Basis | None = None
    for basis in found:
        if basis is not last and basis not in distinct:
            distinct.append(basis)
        last = basis
    return tuple(distinct)


def _earlier(judge: Judge, loaded: Loaded, sight: Sight) -> Iterator[tuple[Record, Basis]]:
    """Yield the entries of the history that the caller sees, and by what."""
    if loaded.student is None or "history" not in sight.parts:
        return
    for record_id, state in loaded.earlier.items():
        if record_id == sight.record.request_id:
            continue
        other = judge.see(loaded.caller, decode_head(state), loaded.student)
        basis = sight.history(other)
        if basis is not None:
            yield other.record, basis


def _visible_staff(sight: Sight) -> tuple[Staff, ...]:
    record = sight.record
    named = (record.made_by, record.primary_contact, record.case_manager, record.reviewed_by)
    authors = (
        *(version.author for version, _ in sight.versions),
        *(entry.item.author for entry in sight.entries if entry.whole),
    )
    # by assignment, which names person, organisation and role
    staff = {s.assignment_id.int: s for s in (*named, *authors) if s is not None}
    return tuple(staff.values())
