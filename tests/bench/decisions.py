"""A complete decision about a record in process, against Casbin and Cedar deciding the same.

Complete: every part, each item and each version of the plan, for a caller with all assignments in
force. Ours begins at the loaded record and computes the facts; the peers are handed the facts.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Final
from uuid import UUID

import asyncpg
import cedarpy

from services.authz import engine
from services.authz.directory import Caller, Person, decode_person
from services.authz.engine import Policy, Row
from services.cases.judge import Judge
from services.cases.parts import PARTS
from services.cases.record import Record, Student
from services.cases.sight import Sight
from services.cases.views import decode_record, decode_student
from services.kernel.runtime import Installation
from tests.bench.results import Results, middle

Decided = tuple[frozenset[str], tuple[bool, ...]]
_POSSIBLE: Final = ("shared", "cleared", "agreed", "seen_itself", "elsewhere")


@dataclass(frozen=True)
class Pair:
    """A caller and a loaded record with its learner."""

    caller: Caller
    record: Record
    student: Student


@dataclass(frozen=True)
class Question:
    """One question to a peer: role, object and the facts that hold."""

    role: str
    object: str
    facts: tuple[str, ...]


def measure(results: Results, installation: Installation, *, quick: bool) -> None:
    """Measure ours and both peers into ``results``; raise when any two of them differ."""
    pairs = asyncio.run(_pairs(installation, 300))
    policy = engine.load()
    judge = Judge(policy)
    some = pairs[: 20 if quick else 60]
    asked = [_questions(judge, policy, pair) for pair in some]
    casbin, cedar = _casbin(), _cedar(policy)
    _agree(judge, some, asked, casbin, cedar)
    print(f"decision: {len(pairs)} pairs, {middle([float(len(q)) for q in asked])} questions each")
    count = 3_000 if quick else 30_000
    for name, decide in (("decision", _record), ("decision_with_things", _ours)):
        taken = _times(lambda pair, decide=decide: decide(judge, pair), pairs, count)  # type: ignore[misc]
        results.figure(f"{name}_p50_us", taken[len(taken) // 2] / 1000, "µs")
        results.figure(f"{name}_p99_us", taken[len(taken) * 99 // 100] / 1000, "µs")
    rounds = 3 if quick else 7
    ours = [_rate(lambda: [_ours(judge, p) for p in some * 20], 20 * len(some))]
    theirs: dict[str, list[float]] = {"pycasbin": [], "cedarpy": []}
    for _ in range(rounds):
        ours.append(_rate(lambda: [_ours(judge, p) for p in some * 20], 20 * len(some)))
        for name, ask in (("pycasbin", casbin), ("cedarpy", cedar)):
            theirs[name].append(_rate(lambda ask=ask: [ask(q) for q in asked], len(asked)))  # type: ignore[misc]
    for name, rates in theirs.items():
        results.ratio(f"decision_vs_{name}", middle(ours), middle(rates), "decisions/s")


async def _pairs(installation: Installation, count: int) -> list[Pair]:
    """Draw records with callers: half of them somebody the record names, half anybody."""
    owner = await asyncpg.connect(installation.server.url)
    try:
        rows = await owner.fetch(
            "select r.state, r.things, s.state as student from cases.record r"
            " join cases.student s on s.id = r.student_id where r.kind = 'case' order by r.id"
        )
        states = await owner.fetch("select state from cases.person order by id")
    finally:
        await owner.close()
    people = {p.id: p for p in (decode_person(row["state"]) for row in states)}
    draw, pairs = random.Random(20), []
    for _ in range(count):
        row = draw.choice(rows)
        record = decode_record(row["state"], row["things"])
        named = [s.person_id for s in (*record.staff, *record.team) if s.person_id in people]
        anybody = draw.random() < 0.5 or not named
        person = people[draw.choice(list(people) if anybody else named)]
        pairs.append(Pair(_caller(person, record), record, decode_student(row["student"])))
    return pairs


def _caller(person: Person, record: Record) -> Caller:
    return Caller(person, UUID(int=0), record.created_at, person.assignments)


def _ours(judge: Judge, pair: Pair) -> Sight:
    """Decide everything about a record."""
    sight = judge.see(pair.caller, pair.record, pair.student)
    _ = sight.entries, sight.versions
    return sight


def _record(judge: Judge, pair: Pair) -> Sight:
    """Decide about the record: facts, every part, on which grounds; not thing by thing."""
    return judge.see(pair.caller, pair.record, pair.student)


def _times(decide: Callable[[Pair], Sight], pairs: list[Pair], count: int) -> list[int]:
    draw, taken = random.Random(7), []
    for pair in draw.choices(pairs, k=count // 10):
        decide(pair)
    for pair in draw.choices(pairs, k=count):
        began = perf_counter_ns()
        decide(pair)
        taken.append(perf_counter_ns() - began)
    taken.sort()
    return taken


def _rate(work: Callable[[], object], count: int) -> float:
    began = perf_counter_ns()
    work()
    return count / (perf_counter_ns() - began) * 1e9


Asked = list[tuple[str, list[Question]]]


def _questions(judge: Judge, policy: Policy, pair: Pair) -> Asked:
    """Return what a peer is asked for the same decision: by part, by item, by version."""
    held = [
        (assignment, tuple(name for name, bit in policy.facts.items() if bits & bit))
        for assignment in pair.caller.assignments
        if (bits := judge.facts(pair.record, pair.student, assignment))
    ]
    asked: Asked = [
        (part, [Question(a.role, f"case.{part}", (*names, *_POSSIBLE)) for a, names in held])
        for part in PARTS
    ]
    sight = judge.see(pair.caller, pair.record, pair.student)
    sees = ("sees_record",) if sight else ()
    for item in pair.record.items:
        own = {"shared": item.shared, "cleared": not item.labels}
        things = tuple(name for name, holds in own.items() if holds)
        asked.append(
            (
                "",
                [
                    Question(
                        a.role,
                        "case.items",
                        (*names, *sees, *things)
                        + (("authored",) if item.author.assignment_id == a.id else ()),
                    )
                    for a, names in held
                ],
            )
        )
    for version in pair.record.plan:
        own = {"agreed": version.status == "agreed", "cleared": not version.labels}
        things = tuple(name for name, holds in own.items() if holds)
        asked.append(
            ("", [Question(a.role, "case.plan", (*names, *sees, *things)) for a, names in held])
        )
    return asked


Peer = Callable[[Asked], Decided]


def _casbin() -> Peer:
    enforcer = engine.enforcer()

    def decide(asked: Asked) -> Decided:
        def any_of(questions: list[Question]) -> bool:
            return any(
                enforcer.enforce(q.role, "read", q.object, " ".join(q.facts)) for q in questions
            )

        answers = [(name, any_of(questions)) for name, questions in asked]
        return _decided(answers)

    return decide


def _decided(answers: list[tuple[str, bool]]) -> Decided:
    parts = frozenset(name for name, allowed in answers if name and allowed)
    return parts, tuple(allowed for name, allowed in answers if not name)


def _cedar(policy: Policy) -> Peer:
    rows = "\n".join(_permit(row) for row in policy.rows if row.action == "read")
    parsed = cedarpy.PolicySet.from_str(rows)
    entities = cedarpy.Entities.from_json_str("[]")
    every = dict.fromkeys(policy.facts, False)

    def decide(asked: Asked) -> Decided:
        requests = [
            {
                "principal": f'Role::"{q.role}"',
                "action": 'Action::"read"',
                "resource": f'Part::"{q.object}"',
                "context": {**every, **dict.fromkeys(q.facts, True)},
            }
            for _, questions in asked
            for q in questions
        ]
        found = iter(cedarpy.is_authorized_batch(requests, parsed, entities))
        groups = [(name, [next(found).allowed for _ in questions]) for name, questions in asked]
        answers = [(name, any(allowed)) for name, allowed in groups]
        return _decided(answers)

    return decide


def _permit(row: Row) -> str:
    """Return a row of the policy as Cedar says it."""
    principal = "principal" if row.role == "*" else f'principal == Role::"{row.role}"'
    needs = " && ".join(f"context.{name}" for name in row.needs)
    return (
        f'permit({principal}, action == Action::"read", resource == Part::"{row.object}")'
        f" when {{ {needs} }};"
    )


def _agree(judge: Judge, pairs: list[Pair], asked: list[Asked], casbin: Peer, cedar: Peer) -> None:
    for pair, questions in zip(pairs, asked, strict=True):
        sight = _ours(judge, pair)
        record = pair.record
        ours = (
            frozenset(sight.parts),
            (
                *(sight.item(i) is not None for i in record.items),
                *(sight.plan(v) is not None for v in record.plan),
            ),
        )
        if not ours == casbin(questions) == cedar(questions):
            raise RuntimeError(f"the three differ about record {record.id}")
