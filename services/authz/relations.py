"""What somebody's assignment has to do with an organisation, a role or a person, as named facts.

Pure. A fact holds of *one* assignment of the caller; a decision is the union of the decisions per
assignment, and names the assignment and the clause it rests on. What no row allows is refused.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final, NamedTuple
from uuid import UUID

from services.authz.directory import Assignment, Caller, Organisation, Person
from services.authz.engine import Policy
from services.authz.events import OrganisationKind, Role
from services.authz.roles import Kinds, role_facts
from services.kernel.events import Ground

FactsOf = Callable[[Assignment], Iterable[str]]


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether something is allowed, and what it rests on."""

    allowed: bool
    grounds: tuple[Ground, ...] = ()
    organisation_id: UUID | None = None

    def showing(self, seen: "Decision") -> "Decision":
        """Return this decision, and what other assignments let its answer show besides."""
        own = {ground.assignment_id for ground in self.grounds}
        besides = (ground for ground in seen.grounds if ground.assignment_id not in own)
        return replace(self, grounds=(*self.grounds, *besides))

    def besides(self, other: "Decision") -> "Decision":
        """Return this decision resting on what ``other`` does too, of the same organisation."""
        return replace(self, grounds=tuple(dict.fromkeys((*self.grounds, *other.grounds))))


REFUSED: Final = Decision(allowed=False)
#: a list is answered, empty, and not refused, where nobody's post shows anything of it
NOTHING: Final = Decision(allowed=True)


class Reach(NamedTuple):
    """Whose staff a caller knows of: that of every organisation, or of some."""

    everywhere: bool
    organisations: frozenset[UUID]

    def at(self, organisation_id: UUID) -> "Reach":
        """Return what it comes to at one organisation."""
        near = self.everywhere or organisation_id in self.organisations
        return Reach(everywhere=False, organisations=frozenset({organisation_id} if near else ()))


@dataclass(frozen=True, slots=True)
class Standing:
    """A caller with the kinds of the organisations they work at, before the policy."""

    caller: Caller
    kinds: Kinds
    policy: Policy

    def apart(self) -> list["Standing"]:
        """Return the standing at each organisation by itself, in the order of the assignments."""
        return [replace(self, caller=caller) for caller in self.caller.apart()]

    def may(self, action: str, object_: str, facts_of: FactsOf) -> Decision:
        """Decide by the first assignment of the caller that a row of the policy allows."""
        return next(self._allowed(action, object_, facts_of), REFUSED)

    def each(self, action: str, object_: str, facts_of: FactsOf) -> list[Decision]:
        """Return what :meth:`may` decides at each organisation by itself, where that allows."""
        decisions = (one.may(action, object_, facts_of) for one in self.apart())
        return [decision for decision in decisions if decision.allowed]

    def every(self, action: str, object_: str, facts_of: FactsOf) -> Decision:
        """Decide likewise, naming each assignment that allows: each shows a part of the answer."""
        decisions = tuple(self._allowed(action, object_, facts_of))
        if not decisions:
            return REFUSED
        return replace(decisions[0], grounds=tuple(g for d in decisions for g in d.grounds))

    def _allowed(self, action: str, object_: str, facts_of: FactsOf) -> Iterator[Decision]:
        for assignment in self.caller.assignments:
            clause = self._clause(assignment, action, object_, facts_of)
            if clause is not None:
                ground = Ground(assignment.id, assignment.role.value, clause)
                yield Decision(
                    allowed=True, grounds=(ground,), organisation_id=assignment.organisation_id
                )

    def _clause(
        self, assignment: Assignment, action: str, object_: str, facts_of: FactsOf
    ) -> str | None:
        known, bits = self.policy.facts, 0
        for name in facts_of(assignment):
            bits |= known.get(name, 0)
        return self.policy.clause(assignment.role, action, object_, bits)

    def knows(self, assignment: Assignment, places: Collection[UUID]) -> bool:
        """Say whether ``assignment`` by itself lets the caller know of who works at ``places``."""
        towards = self.towards(places)
        return any(
            self._clause(assignment, "read", object_, towards) is not None
            for object_ in ("staff", "person")
        )

    def reach(self) -> Reach:
        """Return whom the caller knows of, as :meth:`knows` says it of each: for lists."""
        posts = self.caller.assignments
        near = (a.organisation_id for a in posts if self.knows(a, (a.organisation_id,)))
        return Reach(any(self.knows(a, ()) for a in posts), frozenset(near))

    def knowing(self, places: Collection[UUID], facts_of: FactsOf) -> FactsOf:
        """Return ``facts_of``, without a fact for who does not know of people at ``places``.

        So that nobody is known through one assignment and acted upon through another.
        """
        return lambda a: facts_of(a) if self.knows(a, places) else ()

    def towards(self, organisation_ids: Collection[UUID]) -> FactsOf:
        """Return the facts of standing towards organisations, any one of which is enough."""
        return lambda a: [
            *self._everywhere(a),
            *(["own_organisation"] if a.organisation_id in organisation_ids else []),
        ]

    def at_the_ministry(self, assignment: Assignment) -> list[str]:
        """Return the facts of acting upon what is the Ministry's own: organisations, catchments."""
        everywhere = self._everywhere(assignment)
        return [*everywhere, "own_organisation"] if everywhere else []

    def _everywhere(self, assignment: Assignment) -> list[str]:
        """At the Ministry the back office sees all organisations; elsewhere its own."""
        ministry = self.kinds.get(assignment.organisation_id) is OrganisationKind.MINISTRY
        return ["everywhere"] if ministry else []

    def over(self, organisation_id: UUID, extra: Collection[str] = ()) -> FactsOf:
        """Return the facts of acting upon an organisation, ``extra`` ones within reach included.

        Within reach is one's own organisation and, from the Ministry, every one: who administers
        a school of theirs has no say elsewhere.
        """

        def facts(assignment: Assignment) -> list[str]:
            near = self.towards((organisation_id,))(assignment)
            return [*near, *extra] if near else []

        return facts

    def changing(
        self, organisation: Organisation, role: Role, person: Person, *, first: bool
    ) -> FactsOf:
        """Return the facts of giving ``person`` a role, taking it away, or deciding on that."""
        extra = role_facts(role, organisation.kind, first=first)
        if person.id != self.caller.person.id:
            extra.append("not_self")
        return self.over(organisation.id, extra)

    def about(
        self,
        person: Person,
        places: Collection[UUID],
        kinds: Kinds,
        extra: Collection[str] = (),
    ) -> FactsOf:
        """Return the facts of suspending, reinstating or resetting ``person``, of ``places``.

        One's own are those who work at that organisation only; who also works elsewhere is not
        one leader's to shut out. ``extra`` facts hold within reach only.
        """
        extra = [*extra, *([] if person.id == self.caller.person.id else ["not_self"])]
        if any(kinds.get(place) is OrganisationKind.MINISTRY for place in places):
            extra.append("ministry_staff")
        if len(set(places)) > 1:
            extra.append("several_organisations")

        def facts(assignment: Assignment) -> list[str]:
            own = set(places) == {assignment.organisation_id}
            near = [*self._everywhere(assignment), *(["own_organisation"] if own else [])]
            return [*near, *extra] if near else []

        return facts
