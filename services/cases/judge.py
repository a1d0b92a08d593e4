"""The decision about a record: made once per request, assignment by assignment.

Owns the policy bound to the relations of records. What the policy answers a role about a set of
facts is remembered, since it depends on nothing else; never anything about a record or a person.
Place in the flow: after loading, before the outline. Pure: no clock, no keys, no database.
"""

from typing import Final, NamedTuple

from services.authz.directory import Assignment, Caller
from services.authz.engine import Policy
from services.authz.events import Role
from services.cases import relations
from services.cases.basis import Basis, Clauses, Entitlement
from services.cases.record import Record, Student
from services.cases.sight import Sight
from services.cases.terms import RecordKind

#: facts of things that a part may have; ``authored`` is left out, since it brings no part by itself
_POSSIBLE: Final = ("shared", "cleared", "agreed", "seen_itself", "elsewhere")


class _Answers(dict[int, Clauses]):
    """What the policy gives a role of records of a kind, by the facts that hold.

    Each answer is found once, and read only. There are no more of them than sets of the few
    relations that the rows of a role name. ``cleared`` among the facts is said of the referral.
    """

    def __init__(self, policy: Policy, role: Role, kind: RecordKind) -> None:
        super().__init__()
        self._policy, self._role, self._kind = policy, role, kind
        self._possible = policy.bits(_POSSIBLE)

    def __missing__(self, facts: int) -> Clauses:
        """Ask the policy, and remember."""
        possible, sure = self._asked(facts | self._possible), self._asked(facts)
        # The referral is one thing, and loaded: of it nothing is left to be decided.
        asked = ((part, sure if part == "referral" else possible) for part in possible)
        answer = self[facts] = {part: found[part] for part, found in asked if part in found}
        return answer

    def _asked(self, facts: int) -> Clauses:
        return self._policy.parts(self._role, "read", self._kind, facts)


class _Rules(NamedTuple):
    """What the policy says of a role about records of a kind."""

    facts: relations.RecordFacts
    answers: _Answers


class Judge:
    """The policy, bound to the relations of records."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._cleared = policy.facts["cleared"]
        self._sees = policy.facts["sees_record"]
        self._rules = {kind: self._of_kind(kind) for kind in RecordKind}

    def _of_kind(self, kind: RecordKind) -> dict[Role, _Rules]:
        compiled = relations.compile_record_facts(self.policy, kind)
        return {
            role: _Rules(facts, _Answers(self.policy, role, kind))
            for role, facts in compiled.items()
        }

    def facts(self, record: Record, student: Student, assignment: Assignment) -> int:
        """Return the facts that hold between an assignment and a record of a student."""
        return self._rules[record.kind][assignment.role].facts(record, student, assignment)

    def see(self, caller: Caller, record: Record, student: Student) -> Sight:
        """Decide what ``caller`` sees of ``record``."""
        rules = self._rules[record.kind]
        # No clearance can be granted yet, so only a referral without a label is cleared (SE).
        cleared = 0 if record.referral_labels else self._cleared
        entitlements: list[Entitlement] = []
        parts: Clauses = {}
        for assignment in caller.assignments:
            facts_of, answers = rules[assignment.role]
            facts = facts_of(record, student, assignment)
            if not facts:
                continue
            clauses = answers[facts | cleared]
            if clauses:
                # Whose item it is, and that they see its record, hold of one assignment.
                facts |= self._sees
                # What an assignment before gave stays with it.
                parts = {**clauses, **parts} if parts else clauses
            entitlements.append(Entitlement(assignment, facts, clauses))
        return Sight(self.policy, record, entitlements, parts)

    def at_own_schools(self, caller: Caller, action: str, object_: str) -> list[Basis]:
        """Return by what the caller may do ``action`` for learners who are at their school now."""
        bit = self.policy.facts["now_at_my_school"]
        clauses = (
            (a, self.policy.clause(a.role, action, object_, bit)) for a in caller.assignments
        )
        return [Basis(a, clause) for a, clause in clauses if clause is not None]
