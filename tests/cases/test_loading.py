"""What is read before anything is decided: nothing of what the caller sees nothing of."""

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg
import pytest

from services.authz.directory import Assignment, Caller, Person
from services.authz.engine import Policy
from services.authz.events import Role
from services.cases import loading, outline
from services.cases.record import Record
from services.cases.views import decode_head, decode_record
from services.kernel.errors import Unavailable
from services.kernel.groups import Group
from tests.cases.test_relations import NOW, Chance, fill
from tests.cases.world import Json, Region, Staff, World

_PERSON: Final = UUID(int=9)
_CONTENT: Final = (
    "record",
    "things",
    "student",
    "around",
    "earlier_ids",
    "earlier",
    "people",
    "organisations",
)
_LONG: Final = {"kind": "note", "text": "A visit. " * 400}


async def hold(owner: asyncpg.Connection, held: tuple[Assignment, ...]) -> None:
    """Let the person of these worlds hold exactly these assignments."""
    await owner.execute("delete from cases.assignment")
    await owner.executemany(
        "insert into cases.assignment values ($1, $2, $3, $4, $5, $6, $7)",
        [
            (a.id, _PERSON, a.role.value, a.organisation_id, a.starts_at, a.ends_at, a.revoked)
            for a in held
        ],
    )


def out_of_force(draw: random.Random, a: Assignment) -> Assignment:
    """Return ``a`` as it would be ended, not begun or revoked."""
    past, future = NOW - timedelta(days=1), NOW + timedelta(days=1)
    return draw.choice(
        [
            Assignment(a.id, a.role, a.organisation_id, past, NOW),
            Assignment(a.id, a.role, a.organisation_id, future),
            Assignment(a.id, a.role, a.organisation_id, past, future, revoked=True),
        ]
    )


@pytest.mark.parametrize("seed", range(2))
async def test_a_record_is_read_for_whom_the_policy_lets_see_some_of_it(
    world: World, seed: int
) -> None:
    """The statement's own condition is the decision: SG-1, on random worlds."""
    chance = Chance(random.Random(seed))
    records = await fill(world, chance, 150)
    students = {student.id: student for student in chance.students}
    desk, met = world.cases.front.desk, set[bool]()
    owner = await asyncpg.connect(world.installation.server.url)
    try:
        for _ in range(25):
            held = chance.caller().assignments
            over = {out_of_force(chance.draw, a) for a in held[1:]}
            current = held[:1] if over else held
            await hold(owner, (*current, *over))
            caller = Caller(Person(_PERSON, b"", _PERSON, held), _PERSON, NOW, current)
            ask = desk.loader._records.ask
            rows = await asyncio.gather(*(ask(_PERSON, _PERSON, r.id, NOW) for r in records))
            for record, row in zip(records, rows, strict=True):
                sees = bool(desk.judge.see(caller, record, students[record.student_id]))
                assert (row["record"] is not None) == sees, (record, caller)
                assert sees or all(row[column] is None for column in _CONTENT)
                met.add(sees)
    finally:
        await owner.close()
    assert met == {True, False}


@dataclass
class Work:
    """What answering one request took, as far as it could depend on a record."""

    rows: list[int] = field(default_factory=list)
    decoded: int = 0
    clauses: int = 0
    guards: list[int] = field(default_factory=list)
    events: int = 0


@contextmanager
def counted(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Work]:
    """Count the bytes fetched, records decoded, clauses asked for, and guards appended."""
    work, desk = Work(), world.cases.front.desk
    ask, append, clause = desk.loader._records.ask, world.cases.runtime.log.append, Policy.clause

    async def asked(*arguments: object) -> asyncpg.Record:
        row = await ask(*arguments)
        content = [row[column] for column in _CONTENT]
        work.rows.append(sum(len(str(value)) for value in content if value is not None))
        return row

    async def appended(group: Group) -> int:
        work.guards.append(len(group.guards))
        work.events += len(group.events)
        return await append(group)

    def counting(decode: Callable[..., Record]) -> Callable[..., Record]:
        def decoded(*state: bytes) -> Record:
            work.decoded += 1
            return decode(*state)

        return decoded

    def found(policy: Policy, role: str, action: str, object_: str, facts: int) -> str | None:
        work.clauses += 1
        return clause(policy, role, action, object_, facts)

    with monkeypatch.context() as patch:
        patch.setattr(desk.loader._records, "ask", asked)
        patch.setattr(world.cases.runtime.log, "append", appended)
        patch.setattr(Policy, "clause", found)
        patch.setattr(loading, "decode_record", counting(decode_record))
        for module in (loading, outline):
            patch.setattr(module, "decode_head", counting(decode_head))
        yield work


async def costs(
    region: Region,
    monkeypatch: pytest.MonkeyPatch,
    who: Staff,
    method: str,
    path: str,
    body: Json | None,
) -> Work:
    """Return what it took to answer ``who`` with 404."""
    with counted(region.world, monkeypatch) as work:
        answer = await region.world.send(who, method, path, body, if_match="*")
    assert answer.status_code == 404, answer.text
    return work


ROUTES: Final[list[tuple[str, str, Json | None]]] = [
    ("GET", "", None),
    ("GET", "/why?part=overview", None),
    ("GET", f"/items/{UUID(int=1)}", None),
    ("GET", f"/items/{UUID(int=1)}/content", None),
    ("PATCH", f"/items/{UUID(int=1)}", {"text": "x"}),
    ("POST", "/items", {"kind": "note", "text": "x"}),
    ("POST", "/close", {"outcome": "x"}),
]


async def test_a_hidden_record_costs_what_a_missing_one_costs_however_large_it_is(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that depends on a record is fetched, decoded or decided for who sees none of it."""
    world, who = region.world, region.other_leader
    large, _ = await region.case(), await region.case()
    for _ in range(12):
        await world.must(region.manager, "POST", f"/v1/cases/{large}/items", _LONG)
    for method, rest, body in ROUTES:
        works = [
            await costs(region, monkeypatch, who, method, f"/v1/cases/{one}{rest}", body)
            for one in (large, uuid4(), UUID(int=large.int ^ 1))
        ]
        assert works[0] == Work([0], 0, 0, [4], 1), (method, rest)
        assert works == [works[0]] * 3, (method, rest)
    with counted(world, monkeypatch) as seen:
        assert (await world.get(region.lead, f"/v1/cases/{large}")).status_code == 200
    assert seen.rows[0] > 12 * len(_LONG["text"])
    assert seen.decoded > 0


async def test_a_hidden_item_costs_what_a_missing_one_costs(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is missing is decided like an item that is there."""
    world, case = region.world, await region.case()
    made = [
        (await world.must(region.manager, "POST", f"/v1/cases/{case}/items", _LONG))["id"]
        for _ in range(3)
    ]
    for rest in ("", "/content"):
        works = [
            await costs(
                region, monkeypatch, region.leader, "GET", f"/v1/cases/{case}/items/{one}{rest}", {}
            )
            for one in (*made, uuid4())
        ]
        assert works[0].clauses > 0
        assert works == [works[0]] * 4


async def test_nothing_is_sent_before_its_event_is_durable_though_it_is_rendered_by_then(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rendering goes on while the event is on its way; the answer waits for the log."""
    world, case = region.world, await region.case()
    log, renderer = world.cases.runtime.log, world.cases.front.desk.renderer
    append, parts = log.append, renderer.parts
    durable, rendered = asyncio.Event(), asyncio.Event()

    async def held_up(group: Group) -> int:
        await durable.wait()
        return await append(group)

    def told(seen: outline.Outline) -> dict[str, Any]:
        rendered.set()
        return parts(seen)

    monkeypatch.setattr(log, "append", held_up)
    monkeypatch.setattr(renderer, "parts", told)
    answer = asyncio.create_task(world.get(region.lead, f"/v1/cases/{case}"))
    await asyncio.wait_for(rendered.wait(), 5)
    for _ in range(50):
        await asyncio.sleep(0)
    assert not answer.done()
    durable.set()
    assert (await answer).json()["id"] == str(case)


async def test_what_was_rendered_is_thrown_away_when_its_event_is_not_taken(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log cannot be written: 503, and nothing is shown."""
    world, case = region.world, await region.case()

    async def away(_group: Group) -> int:
        for _ in range(50):
            await asyncio.sleep(0)
        raise Unavailable

    monkeypatch.setattr(world.cases.runtime.log, "append", away)
    answer = await world.get(region.lead, f"/v1/cases/{case}")
    assert answer.status_code == 503
    assert str(region.student) not in answer.text


@pytest.mark.parametrize("both", ["providers", "school and provider"])
async def test_a_labelled_referral_of_an_earlier_case_stands_in_no_history(
    region: Region, both: str
) -> None:
    """SE, 0003 (3): the post that shows the referral is not the one that shows the entry."""
    world, lead, leader = region.world, region.lead, region.leader
    earlier = await region.case()
    labels = {"labels": ["health"]}
    path = f"/v1/cases/{earlier}"
    await world.must(lead, "PUT", f"{path}/referral/labels", labels, if_match="*")
    await world.must(lead, "POST", f"{path}/close", {"outcome": "Attends."}, if_match="*")
    team, lead_of_later, manager = region.team, region.lead, region.manager
    if both == "providers":
        await world.also(lead, Role.ASP_WORKFLOW_LEAD, region.other_asp)
        lead_of_later, manager = region.other_lead, region.other_manager
    else:
        await world.also(lead, Role.SCHOOL_LEADER, region.school)
    later = await world.case(leader, region.student, team, lead_of_later, manager)
    answer = await world.get(lead, f"/v1/cases/{later}")
    assert answer.status_code == 200, answer.text
    (entry,) = [h for h in answer.json()["parts"]["history"] if h["id"] == str(earlier)]
    assert entry["overview"]["status"] == "closed"
    assert "referral" not in entry
    itself = await world.get(lead, path)
    assert itself.json()["parts"]["referral"]["labels"] == ["health"]


async def test_what_is_loaded_of_a_hidden_record_is_all_but_nothing(region: Region) -> None:
    """For the log it is known to exist, and whom it is about; nothing else is in hand."""
    world, case = region.world, await region.case()
    desk, who = world.cases.front.desk, region.other_leader
    row = await desk.loader._records.ask(who.id, who.session_id, case, world.now())
    assert (row["record_id"], row["student_id"]) == (case, region.student)
    assert [row[column] for column in _CONTENT] == [None] * len(_CONTENT)
    assert set(row.keys()) == {"at", "person_state", "session_expires_at", "record_id", "kind"} | {
        "student_id",
        *_CONTENT,
    }


async def test_earlier_records_are_read_for_who_finds_them_in_the_history_only(
    region: Region,
) -> None:
    """SG-1: however many drafts a school keeps, nobody else's reads grow with them."""
    world, case = region.world, await region.case()
    await world.must(region.lead, "POST", f"/v1/cases/{case}/close", {"outcome": "Attends."})
    later = await region.case()
    draft = await world.request(region.leader, region.student, submit=False)
    last = await region.case()
    gone = await world.request(region.leader, region.student, submit=False)
    await world.must(region.leader, "DELETE", f"/v1/requests/{gone}", None, if_match="*")
    newest = await world.request(region.leader, region.student, submit=False)

    async def read_for(who: Staff, record: UUID) -> set[UUID]:
        ask = world.cases.front.desk.loader._records.ask
        return {*((await ask(who.id, who.session_id, record, world.now()))["earlier_ids"] or ())}

    assert {draft, case} <= await read_for(region.leader, last)
    assert gone not in await read_for(region.leader, newest)
    assert draft not in await read_for(region.lead, last)
    assert case in await read_for(region.lead, last)
    assert {later, draft, gone}.isdisjoint(await read_for(region.lead, later))
    assert await read_for(region.other_leader, last) == set()
