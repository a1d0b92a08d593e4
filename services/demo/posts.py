"""Who held which role where, as the events of the demonstration's history name them.

A region names people; an event names a person *in an assignment*. This finds the assignment that a
step of the history rested on: in force on its day where there is one, else the nearest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.cases.terms import Staff

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date, datetime
    from uuid import UUID

    from services.demo.records import Assignment, Person


class Posts:
    """The staff of a region, found by assignment or by person and place."""

    def __init__(self, people: Iterable[Person]) -> None:
        self._by_assignment: dict[UUID, Staff] = {}
        self._held: dict[UUID, list[tuple[Assignment, Staff]]] = {}
        self._at: dict[tuple[UUID, str], list[tuple[Assignment, Staff]]] = {}
        for person in people:
            for held in person.assignments:
                staff = Staff(held.assignment_id, person.person_id, held.organisation_id, held.role)
                self._by_assignment[held.assignment_id] = staff
                self._held.setdefault(person.person_id, []).append((held, staff))
                self._at.setdefault((held.organisation_id, held.role), []).append((held, staff))

    def of(self, assignment_id: UUID) -> Staff:
        """Return the holder of an assignment."""
        return self._by_assignment[assignment_id]

    def person(self, person_id: UUID, moment: datetime, *, at: UUID | None = None) -> Staff:
        """Return a person in the role they held at ``moment``, at organisation ``at`` if given."""
        held = [pair for pair in self._held[person_id] if at in (None, pair[0].organisation_id)]
        return _on(held or self._held[person_id], moment.date())

    def holder(self, organisation_id: UUID, role: str, moment: datetime) -> Staff | None:
        """Return somebody who held ``role`` at an organisation at ``moment``."""
        held = self._at.get((organisation_id, role))
        return _on(held, moment.date()) if held else None


def _on(held: list[tuple[Assignment, Staff]], day: date) -> Staff:
    for assignment, staff in held:
        if assignment.in_force(day):
            return staff
    return held[0][1]
