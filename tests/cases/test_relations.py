"""Properties: lists equal decisions, folds are total and repeatable, guards cover decisions."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.authz.directory import Assignment, Caller, Person
from services.authz.events import Role
from services.cases import content_events
from services.cases import events as e
from services.cases.evolution import evolve
from services.cases.kept import kept
from services.cases.lists import Place, Wanted
from services.cases.loaded import Asking
from services.cases.record import Record, Status, Student
from services.cases.terms import Box, Label, RecordKind, Staff
from services.cases.views import _UPSERT, _row, decode_head, decode_record, encode_record
from services.kernel import states
from services.kernel.events import Event
from tests.cases.world import World

NOW: Final = datetime(2026, 3, 2, 9, tzinfo=UTC)
ROLES: Final = (
    *(Role.SCHOOL_LEADER, Role.PRIMARY_CONTACT, Role.SCHOOL_OFFICE, Role.ASP_WORKFLOW_LEAD),
    *(Role.ASP_CASE_MANAGER, Role.CENTRAL_INVESTIGATION, Role.ADMINISTRATOR),
)
#: more than there is, in one page
EVERYTHING: Final = Wanted.model_construct(limit=1000)
CONTENT: Final = kept(Box(UUID(int=1), "x", "A256GCM.1.AAAA"))


@dataclass
class Chance:
    """A small random world: few organisations and assignments, so that they meet often."""

    draw: random.Random

    def __post_init__(self) -> None:
        self.places = [UUID(int=100 + n) for n in range(4)]
        self.posts = [self.post(n) for n in range(12)]
        self.students = [
            Student(
                UUID(int=500 + n), self.draw.choice([*self.places, None]), CONTENT, CONTENT, CONTENT
            )
            for n in range(20)
        ]

    def post(self, number: int) -> Staff:
        role = self.draw.choice(ROLES)
        return Staff(UUID(int=200 + number), UUID(int=9), self.draw.choice(self.places), role)

    def maybe(self, post: bool = True) -> Any:  # noqa: ANN401, FBT001, FBT002 - a post or a place
        found = self.draw.choice(self.posts if post else self.places)
        return found if self.draw.random() < 0.7 else None

    def record(self, number: int) -> Record:
        kind = self.draw.choice(list(RecordKind))
        case = kind is RecordKind.CASE
        ends = [Status.ACTIVE, Status.CLOSED, Status.WITHDRAWN]
        statuses = ends if case else [s for s in Status if s not in ends[:2]]
        submitted = NOW if case or self.draw.random() < 0.6 else None
        return Record(
            id=UUID(int=1000 + number),
            kind=kind,
            status=self.draw.choice(statuses),
            student_id=self.draw.choice(self.students).id,
            school_id=self.draw.choice(self.places),
            provider_id=self.maybe(post=False),
            made_by=self.draw.choice(self.posts),
            case_manager=self.maybe(),
            primary_contact=self.maybe(),
            team=tuple(self.draw.sample(self.posts, self.draw.randrange(3))),
            submitted_at=submitted,
            notified=self.draw.random() < 0.3,
            number=f"N{number}",
            created_at=NOW + timedelta(minutes=self.draw.randrange(40)),
            version=1,
            referral=CONTENT,
        )

    def caller(self) -> Caller:
        held = self.draw.sample(self.posts, self.draw.randrange(1, 4))
        assignments = tuple(
            Assignment(s.assignment_id, Role(s.role), s.organisation_id, NOW) for s in held
        )
        person = Person(UUID(int=9), b"", UUID(int=9), assignments)
        return Caller(person, UUID(int=8), NOW + timedelta(hours=1), assignments)


async def fill(world: World, chance: Chance, count: int) -> list[Record]:
    """Put rows straight into the tables of cases."""
    records = [chance.record(number) for number in range(count)]
    connection = await asyncpg.connect(world.installation.server.url)
    try:
        await connection.executemany(
            "insert into cases.student (id, school_id, state) values ($1, $2, $3)",
            [(s.id, s.school_id, states.encode(s)) for s in chance.students],
        )
        await connection.executemany(_UPSERT, [_row(record) for record in records])
    finally:
        await connection.close()
    return records


@pytest.mark.parametrize("seed", range(2))
async def test_a_list_holds_what_single_decisions_allow(world: World, seed: int) -> None:
    """The SQL of lists and the predicate of decisions are one relation, on random worlds."""
    chance = Chance(random.Random(seed))
    records = await fill(world, chance, 400)
    students = {student.id: student for student in chance.students}
    lists, judge = world.cases.front.lists, world.cases.front.desk.judge
    met: set[bool] = set()
    for _ in range(30):
        asking = Asking(chance.caller(), 0)
        for kind in RecordKind:
            rows = await lists._page(asking, kind, EVERYTHING, None)
            decided = [
                r
                for r in records
                if r.kind is kind and judge.see(asking.caller, r, students[r.student_id])
            ]
            decided.sort(key=lambda r: (r.created_at, r.id), reverse=True)
            assert [row["id"] for row in rows] == [r.id for r in decided]
            met.add(bool(decided))
    assert met == {True, False}


async def test_pages_put_together_are_the_list(world: World) -> None:
    """Equal times included, no row is skipped or shown twice between two pages."""
    chance = Chance(random.Random(7))
    await fill(world, chance, 200)
    lists = world.cases.front.lists
    for _ in range(8):
        asking = Asking(chance.caller(), 0)
        whole = await lists._page(asking, RecordKind.CASE, EVERYTHING, None)
        found: list[UUID] = []
        place: Place | None = None
        while page := await lists._page(asking, RecordKind.CASE, Wanted(limit=6), place):
            found += [row["id"] for row in page]
            last = decode_head(page[-1]["state"])
            place = Place(last.created_at, last.id)
        assert found == [row["id"] for row in whole]


# -- folds -----------------------------------------------------------------------------------------

uuids = st.integers(1, 6).map(lambda n: UUID(int=n))
staff = st.builds(Staff, uuids, uuids, uuids, st.sampled_from([str(r) for r in ROLES]))
boxes = st.sampled_from(["A256GCM.1.AAAA", "A256GCM.1.A", "never sealed"]).map(
    lambda text: Box(UUID(int=1), "x", text)
)
labels = st.lists(st.sampled_from(list(Label)), max_size=3, unique=True).map(tuple)
text = st.sampled_from(["N1", "N2"])
#: by the type of a payload's field; all others hypothesis knows
FIELDS: Final[dict[Any, st.SearchStrategy[Any]]] = {
    UUID: uuids,
    UUID | None: st.none() | uuids,
    str: text,
    Box: boxes,
    Box | None: st.none() | boxes,
    Staff: staff,
    tuple[Label, ...]: labels,
    tuple[Label, ...] | None: st.none() | labels,
}
OF_REQUESTS: Final = [p for n, p in e.PAYLOADS.items() if n.startswith("cases.request_")]
OF_CASES: Final = [p for p in e.PAYLOADS.values() if p not in (*OF_REQUESTS, e.StudentRegistered)]


def payloads(kinds: list[type[msgspec.Struct]]) -> st.SearchStrategy[list[msgspec.Struct]]:
    return st.lists(st.one_of(*(payload(kind) for kind in kinds)), max_size=12)


def payload(kind: type[msgspec.Struct]) -> st.SearchStrategy[msgspec.Struct]:
    fields = {f.name: f.type for f in msgspec.structs.fields(kind)}
    drawn = {name: FIELDS.get(type_, st.from_type(type_)) for name, type_ in fields.items()}
    return st.builds(kind, **drawn)


def facts(found: list[msgspec.Struct]) -> Iterator[Event]:
    for number, payload in enumerate(found, 1):
        yield Event(
            id=UUID(int=number),
            type=e.TYPE_OF[type(payload)],
            stream="s",
            version=number,
            recorded_at=NOW + timedelta(minutes=number),
            data=msgspec.to_builtins(payload),
        )


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.one_of(payloads(OF_REQUESTS), payloads(OF_CASES)))
def test_folding_is_total(found: list[msgspec.Struct]) -> None:
    """Any facts of a stream, in any order, give a record or none, and one that can be stored."""
    record: Record | None = None
    for event in facts(found):
        record = evolve(record, event)
        if record is not None:
            assert record.version == event.version
            assert decode_record(*encode_record(record)) == record


@settings(max_examples=80, deadline=None, derandomize=True)
@given(payloads(OF_CASES), st.integers(0, 12))
def test_folding_on_from_what_was_stored_is_folding_all(
    found: list[msgspec.Struct], cut: int
) -> None:
    """A fold may stop anywhere and go on from its rows."""
    straight: Record | None = None
    resumed: Record | None = None
    for number, event in enumerate(facts(found)):
        straight = evolve(straight, event)
        if number == cut and resumed is not None:
            resumed = decode_record(*encode_record(resumed))
        resumed = evolve(resumed, event)
    assert straight == resumed


def test_every_name_and_every_payload_of_the_catalogue_is_registered() -> None:
    """What is left out could be neither appended nor folded."""
    declared = [value for module in (e, content_events) for value in vars(module).values()]
    names = {v for v in declared if isinstance(v, str) and v.startswith("cases.")}
    assert names == {type_.name for type_ in e.TYPES}
    here = (e.__name__, content_events.__name__)
    kinds = {v for v in declared if isinstance(v, type) and v.__module__ in here}
    assert kinds == set(e.PAYLOADS.values())


def test_rows_need_what_relations_define_and_every_relation_is_needed() -> None:
    """A fact that no relation computes never holds; a relation that no row needs is dead."""
    from services.authz import engine
    from services.cases.relations import RELATIONS, THING_FACTS

    policy = engine.load()
    needed = {n for row in policy.rows if row.action == "read" for n in row.needs}
    of_records = {
        n
        for row in policy.rows
        if row.object.partition(".")[0] in ("request", "case")
        for n in row.needs
    }
    assert of_records - THING_FACTS <= set(RELATIONS)
    assert set(RELATIONS) <= needed
    assert policy.bits(THING_FACTS)
