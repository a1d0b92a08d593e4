"""What a caller sees of a record, as :mod:`services.cases.judge` decides.

A :class:`Sight` is the union of what each assignment in force gives, never the role of one with
the relation of another. Things inside a part (items, plan versions, entries of the history) are
decided one by one by the same rows, with the facts of the thing added. Pure: no clock, no keys, no
database.
"""

from collections.abc import Collection, Iterable, Sequence
from uuid import UUID

import msgspec

from services.authz.directory import Assignment
from services.authz.engine import Policy
from services.cases.basis import Basis, Clauses, Entitlement, Entry
from services.cases.record import Item, PlanVersion, Record, Status
from services.cases.terms import Label, RecordKind, Staff


class Sight(msgspec.Struct, eq=False, gc=False):
    """What one caller sees of one record: all that ``entitlements`` give, and nothing besides.

    A part whose things are all hidden is still there, empty: the caller may see it, and it has
    nothing for them. ``items`` also appears for somebody who only sees their own (AC-SEE-25).
    """

    policy: Policy
    record: Record
    entitlements: Sequence[Entitlement]
    #: each part that is seen, and the clause by which the first assignment that gives it does
    parts: Clauses
    #: whether nothing was left out that the caller sees
    whole: bool = True
    #: what was decided of things already: by part, facts, and the entitlement that wrote it
    _known: dict[tuple[str, int, int | None], Basis | None] = {}
    _mine: dict[int, int] | None = None
    _entries: list[Entry] | None = None
    _versions: list[tuple[PlanVersion, Basis]] | None = None

    def __bool__(self) -> bool:
        """Whether there is anything to see."""
        return bool(self.parts)

    @property
    def bases(self) -> dict[str, tuple[Basis, ...]]:
        """On what each part rests; parts of one assignment and clause share their basis."""
        bases: dict[str, tuple[Basis, ...]] = {}
        for entitlement in reversed(self.entitlements):
            given = entitlement.clauses
            by = {
                clause: (Basis(entitlement.assignment, clause),) for clause in set(given.values())
            }
            bases |= {part: by[clause] for part, clause in given.items()}
        return bases if self.whole else {part: bases[part] for part in self.parts}

    @property
    def first(self) -> Basis | None:
        """On what the first part rests."""
        return next(iter(self.bases.values()))[0] if self.parts else None

    def limited_to(self, parts: Iterable[str]) -> "Sight":
        """Return the same sight of fewer parts."""
        left = {part: self.parts[part] for part in parts if part in self.parts}
        return Sight(self.policy, self.record, self.entitlements, left, whole=False)

    def ways(
        self, action: str, object_: str, thing: str = "", owners: Collection[UUID] = ()
    ) -> list[Basis]:
        """Return by what the caller may do ``action``, in each assignment that lets them.

        ``thing`` is a fact of the thing acted upon that holds of the assignments ``owners`` only.
        """
        policy, found = self.policy, []
        for entitlement in self.entitlements:
            assignment = entitlement.assignment
            extra = policy.bits((thing,)) if assignment.id in owners else 0
            clause = policy.clause(assignment.role, action, object_, entitlement.facts | extra)
            if clause is not None:
                found.append(Basis(assignment, clause))
        return found

    def _places(self) -> dict[int, int]:
        """Return where among the entitlements each assignment stands; most sights never ask."""
        if self._mine is None:
            self._mine = {s.assignment.id.int: place for place, s in enumerate(self.entitlements)}
        return self._mine

    def _thing(self, part: str, facts: int, author: Staff | None = None) -> Basis | None:
        mine = None if author is None else self._places().get(author.assignment_id.int)
        key = (part, facts, mine)
        if key not in self._known:
            self._known[key] = self._decide(part, facts, mine)
        return self._known[key]

    def _decide(self, part: str, facts: int, mine: int | None) -> Basis | None:
        policy, object_ = self.policy, f"{self.record.kind}.{part}"
        for place, entitlement in enumerate(self.entitlements):
            bits = entitlement.facts | facts
            if place == mine:
                bits |= self.policy.facts["authored"]
            clause = policy.clause(entitlement.assignment.role, "read", object_, bits)
            if clause is not None:
                return Basis(entitlement.assignment, clause)
        return None

    def _cleared(self, labels: Sequence[Label]) -> int:
        """No clearance can be granted yet, so only what carries no label is cleared (SE)."""
        return 0 if labels else self.policy.facts["cleared"]

    @property
    def entries(self) -> list[Entry]:
        """What the caller sees of the items, in order; decided once."""
        if self._entries is None:
            self._entries = list(self._decided()) if self.entitlements else []
        return self._entries

    def _decided(self) -> Iterable[Entry]:
        """Decide the items, those alike in all that decides them once."""
        decided: dict[tuple[bool, bool, bool, int | None], Entry | None] = {}
        mine = self._places().get
        for item in self.record.items:
            place = mine(item.author.assignment_id.int)
            key = (item.shared, not item.labels, item.summary is None, place)
            try:
                alike = decided[key]
            except KeyError:
                alike = decided[key] = self._entry(item)
            if alike is not None:
                yield Entry(item, alike.basis, alike.whole)

    @property
    def versions(self) -> list[tuple[PlanVersion, Basis]]:
        """The versions of the plan the caller sees, in order, each with by what; decided once."""
        if self._versions is None:
            alike: dict[tuple[bool, bool], Basis | None] = {}
            self._versions = found = []
            for version in self.record.plan:
                key = (version.status == "agreed", not version.labels)
                if key not in alike:
                    alike[key] = self.plan(version)
                basis = alike[key]
                if basis is not None:
                    found.append((version, basis))
        return self._versions

    def find(self, item_id: UUID) -> Entry | None:
        """Return what the caller sees of the item called ``item_id``.

        For one that is missing another is decided in its place, as for one that is hidden.
        """
        item = self.record.item(item_id)
        judged = next(iter(self.record.items), None) if item is None else item
        entry = None if judged is None else self._entry(judged)
        return None if item is None else entry

    def _entry(self, item: Item) -> Entry | None:
        basis = self.item(item)
        if basis is not None:
            return Entry(item, basis, True)
        basis = self.summary(item)
        return None if basis is None else Entry(item, basis, False)

    def item(self, item: Item) -> Basis | None:
        """Return by what the caller sees ``item`` itself."""
        return self._thing("items", self._facts_of(item), item.author)

    def _facts_of(self, item: Item) -> int:
        shared = self.policy.facts["shared"] if item.shared else 0
        return shared | self._cleared(item.labels)

    def summary(self, item: Item) -> Basis | None:
        """Return by what the caller sees the need-to-know summary of an item hidden by its label.

        It is for those who would see the item were it not labelled (SG-13).
        """
        if item.summary is None or not item.labels or self.item(item) is not None:
            return None
        shared = self.policy.facts["shared"] if item.shared else 0
        return self._thing("items", shared | self.policy.facts["cleared"], item.author)

    def plan(self, version: PlanVersion) -> Basis | None:
        """Return by what the caller sees a version of the plan."""
        agreed = self.policy.facts["agreed"] if version.status == "agreed" else 0
        return self._thing("plan", agreed | self._cleared(version.labels))

    def history(self, other: "Sight") -> Basis | None:
        """Return by what the caller sees ``other`` as an entry of this record's history.

        An entry is an earlier request or a closed case of the same learner. It is seen by who sees
        all of it in that record itself, in the same assignment, or by who works with the learner
        now when another provider closed it.
        """
        record, policy = other.record, self.policy
        if record.kind is RecordKind.CASE and record.status is not Status.CLOSED:
            return None
        closed = record.kind is RecordKind.CASE
        elsewhere = closed and record.provider_id != self.record.provider_id
        for entitlement in self.entitlements:
            assignment = entitlement.assignment
            bits = entitlement.facts | (self.policy.facts["elsewhere"] if elsewhere else 0)
            if other._shows_entry_to(assignment):  # noqa: SLF001 - a sight like this one
                bits |= self.policy.facts["seen_itself"]
            object_ = f"{self.record.kind}.history"
            clause = policy.clause(assignment.role, "read", object_, bits)
            if clause is not None:
                return Basis(assignment, clause)
        return None

    def _shows_entry_to(self, assignment: Assignment) -> bool:
        """Say whether ``assignment`` by itself sees what an entry in a history holds."""
        facts = next((s.facts for s in self.entitlements if s.assignment == assignment), 0)
        bits = facts | self._cleared(())
        return all(
            self.policy.clause(assignment.role, "read", f"{self.record.kind}.{part}", bits)
            for part in ("overview", "referral")
        )
