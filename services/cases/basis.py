"""What a decision about a record is made of: on which assignment, by which clause, what is seen.

Pure values. Made by :mod:`services.cases.judge` and :mod:`services.cases.sight`, written down as
the grounds of an event.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from services.authz.directory import Assignment
from services.cases.record import Item
from services.kernel.events import Ground

#: by which clause each part is given
Clauses = Mapping[str, str]


class Entitlement(msgspec.Struct, frozen=True, gc=False):
    """One assignment, the facts that hold between it and the record, and what it gives by them."""

    assignment: Assignment
    facts: int
    clauses: Clauses


class Basis(msgspec.Struct, frozen=True, gc=False):
    """On which assignment, by which clause, a part rests."""

    assignment: Assignment
    clause: str

    def __hash__(self) -> int:
        """As equal as its clause; an assignment has many fields, and this is asked very often."""
        return hash(self.clause)


class Entry(msgspec.Struct, frozen=True, gc=False):
    """What is seen of an item and by what: the item itself, or its need-to-know summary alone."""

    item: Item
    basis: Basis
    whole: bool


def summaries_of(entries: Iterable[Entry]) -> dict[str, object]:
    """Return, for the data of an event, which of the items shown are shown by their summary alone.

    Whoever read of an item no more than that is told apart for ever (SG-13, SG-23, BR-3).
    """
    alone = [entry.item.id for entry in entries if not entry.whole]
    return {"summaries": alone} if alone else {}


def ground_of(basis: Basis, parts: tuple[str, ...] = ()) -> Ground:
    """Return ``basis`` as an event writes it down; without parts where it lets do, not see."""
    return Ground(basis.assignment.id, basis.assignment.role, basis.clause, parts)


def grounds_of(parts: Mapping[str, Sequence[Basis]]) -> tuple[Ground, ...]:
    """Group ``parts`` by what they rest on; a part may rest on several bases, thing by thing."""
    grouped: dict[Basis, list[str]] = {}
    for part, bases in parts.items():
        for basis in bases:
            grouped.setdefault(basis, []).append(part)
    return tuple(ground_of(basis, tuple(names)) for basis, names in grouped.items())
