"""Properties of the decision about a record, on random worlds; nothing but the policy is asked."""

import random
from collections.abc import Iterator
from typing import Final

import msgspec

from services.authz import engine
from services.authz.directory import Assignment, Caller
from services.cases.basis import Basis
from services.cases.judge import Judge
from services.cases.parts import PARTS
from services.cases.record import Record, Student
from services.cases.relations import columns_of, compile_row_facts
from services.cases.terms import Label
from tests.cases.test_relations import Chance

POLICY: Final = engine.load()
#: the facts as the row of a record has them: of columns, whatever the role
FACTS: Final = compile_row_facts(POLICY)
#: what things in a part may be
POSSIBLE: Final = POLICY.bits(["shared", "cleared", "agreed", "seen_itself", "elsewhere"])


def questions(seed: int) -> Iterator[tuple[Caller, Record, Student]]:
    """Yield callers of one to three assignments, and records; half have a labelled referral."""
    chance = Chance(random.Random(seed))
    students = {student.id: student for student in chance.students}
    for number in range(4000):
        record = chance.record(number)
        if chance.draw.random() < 0.5:
            record = msgspec.structs.replace(record, referral_labels=(Label.HEALTH,))
        yield chance.caller(), record, students[record.student_id]


def part_by_part(
    caller: Caller, record: Record, student: Student
) -> dict[str, tuple[Assignment, str]]:
    """Return what is seen and by what, every part asked of the policy for every assignment."""
    found: dict[str, tuple[Assignment, str]] = {}
    of_referral = POSSIBLE & ~POLICY.facts["cleared"] if record.referral_labels else POSSIBLE
    for assignment in caller.assignments:
        facts = FACTS(columns_of(record, student), assignment)
        for part in PARTS:
            bits = facts | (of_referral if part == "referral" else POSSIBLE)
            clause = POLICY.clause(assignment.role, "read", f"{record.kind}.{part}", bits)
            if clause is not None:
                found.setdefault(part, (assignment, clause))
    return found


def test_a_decision_is_its_questions_together_whatever_was_decided_before() -> None:
    """AC-SEE: each part rests on the first assignment that gives it; nothing remembered leaks."""
    judge = Judge(POLICY)
    unions = withheld = 0
    for caller, record, student in questions(1):
        sight = judge.see(caller, record, student)
        expected = part_by_part(caller, record, student)
        bases = {part: (Basis(*by),) for part, by in expected.items()}
        assert sight.bases == bases
        assert sight.parts == {part: clause for part, (_, clause) in expected.items()}
        unions += len({assignment.id for assignment, _ in expected.values()}) > 1
        withheld += bool(record.referral_labels and expected and "referral" not in expected)
    assert unions > 10
    assert withheld > 10


def test_records_and_their_rows_have_the_same_facts() -> None:
    """A learner is judged by columns, a record by what was loaded of it: one relation."""
    judge = Judge(POLICY)
    met: set[int] = set()
    for caller, record, student in questions(2):
        for assignment in caller.assignments:
            facts = judge.facts(record, student, assignment)
            assert facts == FACTS(columns_of(record, student), assignment)
            met.add(facts)
    for name in ("on_team", "assigned_to_me", "made_at_my_school", "under_review", "closed"):
        assert any(facts & POLICY.facts[name] for facts in met), name
