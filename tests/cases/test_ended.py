"""What a record that has ended shows of its learner: what was known when it ended, to everybody."""

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg
import httpx
import msgspec
import pytest

from services.authz.events import Role
from services.cases import events as e
from services.cases.kept import Particulars, kept
from services.cases.record import stream_of
from services.cases.terms import Box, RecordKind, Staff
from services.cases.views import Records, decode_head
from services.kernel.events import Event, Recorded
from services.kernel.runtime import Installation
from tests.cases import world as people
from tests.cases.world import Json, Region

ANY: Final = {"if_match": "*"}
#: what is known of the learner after each move: given name, address, caregiver
LIVES: Final = (
    ("Mārama", "1 Kauri Road", "Mere"),
    ("Rangimārie", "77 Pōhutukawa Street", "Hinewai"),
    ("Te Rangi", "5 Mānuka Lane", "Wiremu"),
)


async def lives(place: Region, student: UUID | None, life: int, school: UUID) -> UUID:
    """Let a learner be at a school and live this life from now on."""
    given, address, caregiver = LIVES[life]
    place.world.clock.advance(timedelta(minutes=1))
    return await place.world.student(
        school,
        given,
        "Te Whare",
        student_id=student,
        version=life + 1,
        address=address,
        caregiver=caregiver,
    )


def life_in(parts: Json) -> tuple[Any, Any, Any]:
    """Return what parts tell of the learner's life."""
    return (
        parts["student_basic"].get("given_name"),
        parts.get("demographics", {}).get("address"),
        parts["family"]["caregivers"][0]["name"] if "family" in parts else None,
    )


async def close(place: Region, case: UUID, who: people.Staff) -> Json:
    """Close a case."""
    return await place.world.must(
        who, "POST", f"/v1/cases/{case}/close", {"outcome": "Attends again."}, **ANY
    )


async def request_of(place: Region, who: people.Staff, student: UUID) -> UUID:
    """Return the newest request of a learner."""
    found = await place.world.get(who, f"/v1/requests?student_id={student}")
    return UUID(found.json()["items"][0]["id"])


async def moved_on(place: Region) -> tuple[UUID, UUID, UUID, UUID]:
    """Close a case, let its learner move away, and open one elsewhere.

    Return the learner, the former case, the request that it was, and the new case.
    """
    student = await lives(place, None, 0, place.school)
    case = await place.case(student)
    request = await request_of(place, place.lead, student)
    await close(place, case, place.manager)
    await lives(place, student, 1, place.other_school)
    new = await place.world.case(
        place.other_leader, student, place.team, place.other_lead, place.other_manager
    )
    return student, case, request, new


def ways_to(student: UUID, case: UUID, request: UUID) -> tuple[str, ...]:
    """Return every place where the learner of a case can be read."""
    return (
        f"/v1/cases/{case}",
        f"/v1/requests/{request}",
        f"/v1/cases?student_id={student}",
        f"/v1/requests?student_id={student}",
        "/v1/cases?status=closed",
        f"/v1/students/{student}",
    )


async def test_the_former_asp_sees_the_learner_as_they_were_when_it_closed_the_case(
    region: Region,
) -> None:
    """AC-SHARE-3: as they were then; no new school, no new address, anywhere in any answer."""
    student, case, request, new = await moved_on(region)
    asked = region.world.get
    for who in (region.lead, region.manager):
        answers = [await asked(who, way) for way in ways_to(student, case, request)]
        assert {answer.status_code for answer in answers} == {200}
        for answer in answers:
            assert LIVES[0][0] in answer.text
            for told in (*LIVES[1], region.other_school, "Rātā College", region.other_asp, new):
                assert str(told) not in answer.text, answer.url
        for whole in (answers[0], answers[1], answers[-1]):
            assert life_in(whole.json()["parts"]) == LIVES[0]
        assert answers[0].json()["parts"]["overview"]["school"]["id"] == str(region.school)


async def test_the_new_asp_sees_the_learner_as_they_are(region: Region) -> None:
    """AC-SHARE-3: an open record shows today's, and so does the learner through it."""
    student, _, _, new = await moved_on(region)
    request = await request_of(region, region.other_lead, student)
    for way in (f"/v1/cases/{new}", f"/v1/requests/{request}", f"/v1/students/{student}"):
        answer = await region.world.get(region.other_manager, way)
        assert life_in(answer.json()["parts"]) == LIVES[1]
    await lives(region, student, 2, region.other_school)
    answer = await region.world.get(region.other_manager, f"/v1/cases/{new}")
    assert life_in(answer.json()["parts"]) == LIVES[2]


async def test_no_version_of_what_the_former_asp_sees_tells_that_the_learner_has_moved(
    region: Region,
) -> None:
    """AC-SHARE-3, and what is hidden shows in no ETag."""
    student = await lives(region, None, 0, region.school)
    case = await region.case(student)
    request = await request_of(region, region.lead, student)
    closed = await close(region, case, region.manager)
    wholes = [way for way in ways_to(student, case, request) if "?" not in way]
    before = [await region.world.version(region.manager, way) for way in wholes]
    assert closed["version"] == before[0].strip('"')
    await lives(region, student, 1, region.other_school)
    assert [await region.world.version(region.manager, way) for way in wholes] == before


async def test_a_learner_is_as_of_today_where_any_open_record_tells_of_them(
    region: Region,
) -> None:
    """AC-SHARE-3: by a closed and an open record; by closed ones alone, the newest."""
    world, manager = region.world, region.manager
    student = await lives(region, None, 0, region.school)
    way = f"/v1/students/{student}"

    async def told() -> tuple[Any, Any, Any]:
        return life_in((await world.get(manager, way)).json()["parts"])

    first = await region.case(student)
    await close(region, first, manager)
    await lives(region, student, 1, region.school)
    assert await told() == LIVES[0]
    second = await region.case(student)
    assert await told() == LIVES[1]
    closed = await world.get(manager, f"/v1/cases/{first}")
    assert life_in(closed.json()["parts"]) == LIVES[0]
    await close(region, second, manager)
    version = await world.version(manager, way)
    await lives(region, student, 2, region.other_school)
    assert await told() == LIVES[1]
    assert await world.version(manager, way) == version


async def test_each_part_of_a_learner_rests_on_its_own_records(region: Region) -> None:
    """AC-SEE-23 gives a school the name of today; only an ended record gives it the address."""
    world, leader = region.world, region.leader
    student = await lives(region, None, 0, region.school)
    request = await world.request(leader, student)
    reason = {"reason": "Not met."}
    await world.must(region.team, "POST", f"/v1/requests/{request}/decline", reason)
    await lives(region, student, 1, region.school)
    answer = await world.get(leader, f"/v1/students/{student}")
    assert life_in(answer.json()["parts"])[:2] == (LIVES[1][0], LIVES[0][1])
    read = await world.last(e.READ)
    clauses = {ground.clause: ground.parts for ground in read.grounds}
    assert clauses == {"AC-SEE-23": ("student_basic",), "AC-SEE-1": ("demographics",)}
    draft = await world.request(leader, student, submit=False)
    answer = await world.get(leader, f"/v1/students/{student}")
    assert life_in(answer.json()["parts"])[:2] == LIVES[1][:2]
    await world.must(leader, "POST", f"/v1/requests/{draft}/withdraw")
    await lives(region, student, 2, region.school)
    shown: list[httpx.Response] = [
        await world.get(leader, f"/v1/requests/{one}") for one in (request, draft)
    ]
    assert [life_in(one.json()["parts"])[:2] for one in shown] == [LIVES[0][:2], LIVES[1][:2]]
    found = await world.must(leader, "POST", "/v1/students/search", {"query": "Te Rangi"})
    assert [one["given_name"] for one in found["items"]] == [LIVES[2][0]]


async def test_who_works_for_both_asps_sees_in_each_record_its_own_time(region: Region) -> None:
    """AC-SHARE-3: what is kept is kept from everybody, also from who sees today's elsewhere."""
    student, case, _, new = await moved_on(region)
    both = await region.world.also(region.lead, Role.ASP_WORKFLOW_LEAD, region.other_asp)
    ways = (f"/v1/cases/{case}", f"/v1/cases/{new}", f"/v1/students/{student}")
    answers = [await region.world.get(both, way) for way in ways]
    told = [life_in(answer.json()["parts"]) for answer in answers]
    assert told == [LIVES[0], LIVES[1], LIVES[1]]


# -- the fold --------------------------------------------------------------------------------------

NOW: Final = datetime(2026, 3, 2, tzinfo=UTC)
BY: Final = Staff(UUID(int=91), UUID(int=92), UUID(int=93), "asp_case_manager")
TEXT: Final = Box(UUID(int=90), "text", "never sealed")
STUDENTS: Final = [UUID(int=n) for n in (1, 2, 3)]
TABLES: Final = ("cases.student", "cases.record")
_Told = tuple[str, msgspec.Struct]


def reviewer_of(request: UUID) -> Staff:
    """Return who reviews a request, where anybody does: another one for each."""
    return Staff(UUID(int=request.int + 700), UUID(int=96), UUID(int=97), "central_investigation")


def _life(draw: random.Random, request: UUID, case: UUID, student: UUID) -> Iterator[_Told]:
    """Yield what happens to a request, and to the case it may become: stream, and fact."""
    of_request, of_case = stream_of(request, RecordKind.REQUEST), stream_of(case, RecordKind.CASE)
    drafted = e.RequestDrafted(
        request_id=request,
        number=str(request),
        student_id=student,
        school_id=UUID(int=94),
        made_by=BY,
        referral=TEXT,
    )
    yield of_request, drafted
    end = draw.choice(("open", "deleted", "withdrawn", "declined", "case", "case", "case"))
    if end in ("deleted", "withdrawn"):
        yield of_request, e.RequestDeleted() if end == "deleted" else e.RequestWithdrawn()
    if end == "declined":
        yield of_request, e.RequestDeclined(by=BY, reason=TEXT)
    if end != "case":
        return
    if draw.random() < 0.8:
        yield of_request, e.RequestAccepted(by=reviewer_of(request))
    yield of_request, e.RequestAssigned(case_manager=BY, case_id=case)
    opened = e.CaseOpened(
        case_id=case,
        number=str(case),
        request_id=request,
        student_id=student,
        school_id=UUID(int=94),
        provider_id=UUID(int=93),
        made_by=BY,
        case_manager=BY,
        referral=TEXT,
    )
    yield of_case, opened
    if draw.random() < 0.5:
        yield of_case, e.CaseMoved(provider_id=UUID(int=95), by=BY)
    if draw.random() < 0.8:
        yield of_case, e.CaseClosed(outcome=TEXT)
    if draw.random() < 0.2:
        yield of_case, e.CaseWithdrawn(reason=TEXT)


def _known(draw: random.Random, student: UUID) -> Iterator[_Told]:
    """Yield what becomes known of a learner, each time something else."""
    for number in range(draw.randrange(5)):
        boxes = {
            name: Box(UUID(int=900 + number), name, f"{name} {number}")
            for name in ("basic", "demographics", "family")
        }
        school = UUID(int=94 + number % 2)
        yield (
            f"student:{student}",
            e.StudentRegistered(student_id=student, school_id=school, **boxes),
        )


def _log(draw: random.Random) -> list[Recorded]:
    """Return a log: what happened to each learner and record in its order, mixed at random."""
    told = [list(_known(draw, student)) for student in STUDENTS]
    for number in range(6):
        ids = UUID(int=100 + number), UUID(int=200 + number)
        told.append(list(_life(draw, *ids, draw.choice(STUDENTS))))
    turns = [place for place, facts in enumerate(told) for _ in facts]
    draw.shuffle(turns)
    versions: dict[str, int] = {}
    log = []
    for position, place in enumerate(turns):
        stream, payload = told[place].pop(0)
        version = versions[stream] = versions.get(stream, 0) + 1
        event = Event(
            id=UUID(int=5_000 + position),
            type=e.TYPE_OF[type(payload)],
            stream=stream,
            version=version,
            recorded_at=NOW + timedelta(minutes=position),
            data=msgspec.to_builtins(payload),
        )
        log.append(Recorded(position, event, b""))
    return log


def _expected(log: Sequence[Recorded]) -> dict[UUID, Particulars | None]:
    """Return what each record keeps, from reading the log alone."""
    known: dict[str, Particulars] = {}
    about: dict[str, str] = {}
    was: dict[str, str] = {}
    found: dict[UUID, Particulars | None] = {}
    for one in log:
        data, (kind, _, subject) = one.event.data, (one.event.stream or "").partition(":")
        if kind == "student":
            boxes = [msgspec.convert(data[n], Box) for n in ("basic", "demographics", "family")]
            known[subject] = Particulars(*map(kept, boxes))
        elif "student_id" in data:
            about[subject] = data["student_id"]
            found[UUID(subject)] = None
            was[subject] = data["request_id"]
        ends = one.event.type.rpartition("_")[2] in ("closed", "withdrawn", "declined", "deleted")
        if ends and found[UUID(subject)] is None:
            for ended in (subject, was[subject]):
                found[UUID(ended)] = known.get(about[subject], Particulars())
    return found


async def _rows(connection: asyncpg.Connection, batches: list[list[Recorded]]) -> Json:
    """Return the rows after these batches, leaving none behind."""
    transaction = connection.transaction()
    await transaction.start()
    for batch in batches:
        await Records().fold(connection, batch)
    rows = {t: await connection.fetch(f"select * from {t} order by id") for t in TABLES}
    await transaction.rollback()
    return rows


async def test_the_end_of_a_record_changes_no_row_of_its_learner(
    installation: Installation,
) -> None:
    """Who could be found by their name still can, without their names being opened again."""
    connection = await asyncpg.connect(installation.server.url)
    found = "select * from cases.student"
    try:
        for seed in range(20):
            log = _log(random.Random(seed))
            streams = [(one.event.stream or "").partition(":")[0] for one in log]
            last = len(streams) - streams[::-1].index("student") if "student" in streams else 0
            transaction = connection.transaction()
            await transaction.start()
            await Records().fold(connection, log[:last])
            await connection.execute("update cases.student set name_epoch = 7")
            before = await connection.fetch(found)
            await Records().fold(connection, log[last:])
            assert await connection.fetch(found) == before
            await transaction.rollback()
    finally:
        await connection.close()


def _cut(draw: random.Random, log: list[Recorded]) -> list[list[Recorded]]:
    places = sorted(draw.sample(range(1, len(log)), draw.randrange(min(6, len(log)))))
    return [log[a:b] for a, b in zip([0, *places], [*places, len(log)], strict=True)]


@pytest.mark.parametrize("seed", range(4))
async def test_a_record_keeps_the_learner_of_its_last_moment_however_the_log_was_cut(
    installation: Installation, seed: int
) -> None:
    """AC-SHARE-3: by position, not by batch; what is known later, in the same batch too, is not."""
    draw = random.Random(seed)
    connection = await asyncpg.connect(installation.server.url)
    met: set[bool] = set()
    try:
        for _ in range(8):
            log = _log(draw)
            rows = await _rows(connection, [[one] for one in log])
            keeps = {r["id"]: decode_head(r["state"]).particulars for r in rows[TABLES[1]]}
            assert keeps == _expected(log)
            met |= {kept_ == Particulars() for kept_ in keeps.values() if kept_ is not None}
            assert await _rows(connection, [log]) == rows
            for _ in range(2):
                assert await _rows(connection, _cut(draw, log)) == rows
    finally:
        await connection.close()
    assert met == {True, False}


async def test_a_case_names_who_reviewed_the_request_it_was_however_the_log_was_cut(
    installation: Installation,
) -> None:
    """AC-SEE-21: whatever becomes of the case; they and their organisation are loaded beside it."""
    connection = await asyncpg.connect(installation.server.url)
    met: set[bool] = set()
    try:
        for seed in range(12):
            draw = random.Random(seed)
            log = _log(draw)
            accepted = {
                UUID((one.event.stream or "").partition(":")[2])
                for one in log
                if one.event.type == e.REQUEST_ACCEPTED
            }
            for row in (await _rows(connection, _cut(draw, log)))[TABLES[1]]:
                case = decode_head(row["state"])
                if case.request_id is None:
                    continue
                by = reviewer_of(case.request_id) if case.request_id in accepted else None
                assert case.reviewed_by == by
                met.add(by is not None)
                if by is not None:
                    assert by.person_id in row["people"]
                    assert by.organisation_id in row["organisations"]
    finally:
        await connection.close()
    assert met == {True, False}
