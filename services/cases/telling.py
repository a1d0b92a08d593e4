"""What a request tells, apart by the organisation that it is told for: an event for each.

Whoever works at two organisations is audited by each for what they saw there, and neither learns
of the other's records, learners and assignments (docs/decisions/0003, 36).
"""

from collections.abc import Mapping, Sequence
from uuid import UUID

import msgspec

from services.authz import directory
from services.cases.basis import Basis, grounds_of
from services.kernel.events import Ground

Bases = Mapping[str, Sequence[Basis]]
Ids = Mapping[str, Sequence[UUID]]


class Told:
    """What one event tells: on what it rests, the ids by part, and the learners it is about."""

    __slots__ = ("_grounds", "shown", "students")

    def __init__(self) -> None:
        self._grounds: dict[tuple[UUID, str], Ground] = {}
        self.shown: dict[str, list[UUID]] = {}
        self.students: set[UUID] = set()

    @property
    def grounds(self) -> tuple[Ground, ...]:
        """One ground for each assignment and clause."""
        return tuple(self._grounds.values())

    def add(self, basis: Bases, shown: Ids, student_id: UUID) -> None:
        """Add what is shown of one learner."""
        self.students.add(student_id)
        for part, ids in shown.items():
            self.shown.setdefault(part, []).extend(ids)
        for ground in grounds_of(basis):
            key = (ground.assignment_id, ground.clause)
            known = self._grounds.get(key)
            parts = dict.fromkeys((*(known.parts if known else ()), *ground.parts))
            self._grounds[key] = msgspec.structs.replace(ground, parts=tuple(parts))


class Telling:
    """What a request tells, as it is put together."""

    def __init__(self) -> None:
        self._told: dict[UUID, Told] = {}

    def add(self, basis: Bases, shown: Ids, student_id: UUID) -> None:
        """Add what is shown of one learner; each part's ids rest on every basis of the part."""
        for organisation_id in organisations_of(basis):
            own = limited(basis, organisation_id)
            told = self._told.setdefault(organisation_id, Told())
            told.add(own, {part: shown[part] for part in own if part in shown}, student_id)

    def told(self) -> list[Told]:
        """Return what each event tells, by organisation; one that tells nothing when none does."""
        return list(self._told.values()) or [Told()]


def organisations_of(basis: Bases) -> list[UUID]:
    """Return the organisations that ``basis`` rests on, once each."""
    return directory.organisations_of(b.assignment for bases in basis.values() for b in bases)


def limited(basis: Bases, organisation_id: UUID) -> dict[str, tuple[Basis, ...]]:
    """Return of ``basis`` what rests on assignments at one organisation."""
    own = {
        part: tuple(b for b in bases if b.assignment.organisation_id == organisation_id)
        for part, bases in basis.items()
    }
    return {part: bases for part, bases in own.items() if bases}
