"""Outside the Ministry the audit log never says whether what own staff tried is there (SG-8).

Each claim asks about two things that own staff were refused: one is hidden (it is another
organisation's, and was looked at there), one was never there. Everything the organisation's own
analyst can ask is asked about both, and must come out the same but for the ids that were typed.
"""

import json
from typing import Any
from uuid import UUID

import pytest

from services.authz.events import Role
from services.kernel.events import Outcome
from tests.audit.given import Answer, Caller, Staff, World

OWN_TO_AN_EVENT = ("position", "id", "occurred_at")


def alike(answer: Answer, *typed: UUID) -> Any:  # noqa: ANN401 - JSON
    """Return an answer without what differs between any two events, and without what was typed.

    The ids of requests and of events are drawn at random; how many there are is kept.
    """
    cursor = answer.get("next_cursor")
    bare = [_bare(item) for item in answer.get("items", [answer])]
    text = json.dumps([bare, len(cursor) if cursor else None])
    for number, id_ in enumerate(typed):
        text = text.replace(str(id_), f"typed {number}")
    return json.loads(text)


def _bare(item: Answer) -> Answer:
    bare = {name: value for name, value in item.items() if name not in OWN_TO_AN_EVENT}
    bare["origin"] = {**item["origin"], "request_id": None}
    bare["shown"] = {kind: len(ids) for kind, ids in item["shown"].items()}
    return bare


async def seen(analyst: Caller, refusal: UUID, object_: UUID, student: UUID) -> list[Any]:
    """Ask all there is to ask about something refused; return status and answer of each."""
    questions: list[tuple[str, dict[str, object]]] = [
        (f"/v1/events/{refusal}", {}),
        ("/v1/events", {"object_": object_}),
        ("/v1/events", {"object_": student}),
        ("/v1/events", {"student": student}),
        ("/v1/events", {"student": student, "outcome": "denied"}),
        ("/v1/events", {"student": student, "type_": "cases.refused"}),
        ("/v1/events", {"student": student, "limit": 1}),
        (f"/v1/students/{student}/accesses", {}),
        (f"/v1/students/{student}/accesses", {"limit": 1}),
    ]
    answers = []
    for path, filters in questions:
        answer = await analyst.ask(path, **filters)
        answers.append((answer.status_code, alike(answer.json(), refusal, object_, student)))
    return answers


async def looked_at_elsewhere(world: World, student: UUID, case: UUID) -> None:
    """Let another provider work with a learner."""
    other = await world.staff("asp_case_manager", await world.organisation("asp"))
    for _ in range(3):
        await world.saw(other, student, case_id=case)
    await world.saw(other, action="list", students=(student, world.id()))


async def refused(world: World, staff: Staff, kind: str, object_: UUID, known: UUID | None) -> UUID:
    """Let own staff be refused, as the service records it: it knows the learner, or there is none.

    The learner of a record that is not there is nobody, in the log as in the world.
    """
    denied = Outcome.DENIED
    return await world.saw(staff, known, case_id=object_, kind=kind, outcome=denied)


@pytest.mark.parametrize(
    ("kind", "role"),
    [
        ("case", Role.SECURITY_ANALYST),
        ("request", Role.PRIVACY_OFFICER),
        ("item", Role.SECURITY_ANALYST),
        ("student", Role.PRIVACY_OFFICER),
    ],
)
async def test_refused_hidden_and_refused_missing_look_the_same_to_own_auditors(
    world: World, kind: str, role: Role
) -> None:
    """A record of which they may see nothing answers as if it did not exist; so does its learner.

    A learner is refused under their own id, a record under its own; own staff typed either.
    """
    asp = await world.organisation("asp")
    auditor, staff = await world.caller(role, asp), await world.staff("asp_case_manager", asp)
    hidden, case = world.id(), world.id()
    missing, nothing = world.id(), world.id()
    await looked_at_elsewhere(world, hidden, case)
    there = hidden if kind == "student" else case
    absent = missing if kind == "student" else nothing
    of_hidden = await refused(world, staff, kind, there, hidden)
    of_missing = await refused(world, staff, kind, absent, None)

    one = await seen(auditor, of_hidden, there, hidden)
    other = await seen(auditor, of_missing, absent, missing)

    assert one == other
    event = (await auditor.ask(f"/v1/events/{of_hidden}")).json()
    assert (event["outcome"], event["student_id"]) == ("denied", None)
    assert event["object"] == {"type": kind, "id": str(there)}


async def test_walk_of_own_refusals_says_nothing_of_which_of_them_were_there(world: World) -> None:
    """Counts, order and cursors: one page after another, hidden and missing in turn."""
    asp = await world.organisation("asp")
    auditor = await world.caller("security_analyst", asp)
    staff = await world.staff("asp_case_manager", asp)
    hidden, case = world.id(), world.id()
    await looked_at_elsewhere(world, hidden, case)
    tried = [(case, hidden), (world.id(), None), (case, hidden), (world.id(), None)]
    for object_, known in tried:
        await refused(world, staff, "case", object_, known)
    asked: dict[str, object] = {"actor": staff.id, "limit": 1}
    met: list[Any] = []
    while len(met) < len(tried):
        page = (await auditor.ask("/v1/events", **asked)).json()
        met.append(alike({**page, "next_cursor": None}, UUID(page["items"][0]["object"]["id"])))
        asked["cursor"] = page["next_cursor"]
    assert met == met[:1] * len(tried)
    assert asked["cursor"] is None


async def test_alert_evidence_and_activity_name_no_learner_who_was_refused(world: World) -> None:
    """Whichever way leads to an event, it is shown alike."""
    asp = await world.organisation("asp")
    auditor = await world.caller("security_analyst", asp)
    staff, hidden = await world.staff("asp_case_manager", asp), world.id()
    await refused(world, staff, "case", world.id(), hidden)
    for path in (f"/v1/people/{staff.id}/activity", "/v1/events"):
        answer = await auditor.ask(path)
        assert answer.status_code == 200
        assert "cases.refused" in answer.text
        assert str(hidden) not in answer.text


async def test_ministry_still_sees_whom_a_refusal_was_about(world: World) -> None:
    """BR-3: who tried to see a learner is known where all organisations are seen."""
    analyst, student = await world.analyst(), world.id()
    staff = await world.staff("asp_case_manager", await world.organisation("asp"))
    event = await refused(world, staff, "case", world.id(), student)
    (found,) = await analyst.items("/v1/events", student=student, outcome="denied")
    assert (found["id"], found["student_id"]) == (str(event), str(student))


async def test_what_own_staff_saw_or_could_not_finish_is_still_found_by_learner(
    world: World,
) -> None:
    """AC-USE-1: only a refusal says nothing of whom it was about; a failed change was of theirs."""
    asp = await world.organisation("asp")
    auditor = await world.caller("security_analyst", asp)
    staff, student = await world.staff("asp_case_manager", asp), world.id()
    read = await world.saw(staff, student)
    failed = await world.saw(staff, student, action="update", outcome=Outcome.FAILED)
    await refused(world, staff, "case", world.id(), student)
    listed = await world.saw(staff, action="list", students=(student,))
    accesses = await auditor.items(f"/v1/students/{student}/accesses")
    assert [UUID(item["id"]) for item in accesses] == [listed, failed, read]
    assert [item["student_id"] for item in accesses] == [None, str(student), str(student)]


async def test_a_list_in_vain_is_a_look_at_the_learner_at_the_ministry_alone(world: World) -> None:
    """Who looked for this learner is known; an own auditor learns of no other learner."""
    asp = await world.organisation("asp")
    auditor = await world.caller("security_analyst", asp)
    analyst = await world.caller("security_analyst", await world.organisation("ministry"))
    staff, student = await world.staff("asp_case_manager", asp), world.id()
    sought = await world.saw(staff, student, action="list", in_vain=True)
    (found,) = await analyst.items(f"/v1/students/{student}/accesses")
    assert (found["id"], found["student_id"], found["shown"]) == (str(sought), str(student), {})
    assert await auditor.items(f"/v1/students/{student}/accesses") == []
    (own,) = await auditor.items("/v1/events", actor=staff.id, action="list")
    assert (own["id"], own["student_id"]) == (str(sought), None)
