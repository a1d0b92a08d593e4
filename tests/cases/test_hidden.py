"""What is hidden answers like what is missing, and nothing hidden shows through a version."""

from typing import Final
from uuid import UUID, uuid4

import httpx
import pytest

from tests.cases.world import Json, Region, Staff

pytestmark = pytest.mark.asyncio(loop_scope="module")
WORDS: Final = {"reason": "For a good reason."}
ANY: Final = {"if_match": "*"}


def like(answer: httpx.Response) -> tuple[int, dict[str, str], Json]:
    """Return an answer without what differs between any two: request id, date."""
    headers = {k: v for k, v in answer.headers.items() if k not in {"x-request-id", "date"}}
    body = {k: v for k, v in answer.json().items() if k != "request_id"}
    return answer.status_code, headers, body


async def pair_of_cases(place: Region) -> tuple[UUID, UUID]:
    """Return a case nobody of the other school may see, and an id that is no case."""
    return await place.case(), uuid4()


ROUTES: Final[list[tuple[str, str, Json | None]]] = [
    ("GET", "", None),
    ("GET", "?parts=overview", None),
    ("GET", "/why?part=overview", None),
    ("DELETE", "", WORDS),
    ("PUT", "/primary-contact", {"person_id": str(UUID(int=1))}),
    ("POST", "/team", {"person_id": str(UUID(int=1))}),
    ("DELETE", "/team", {"person_id": str(UUID(int=1))}),
    ("PUT", "/plan", {"goals": "a", "actions": "b"}),
    ("PUT", "/prosecution-notice", None),
    ("DELETE", "/prosecution-notice", None),
    ("POST", "/move", {"organisation_id": str(UUID(int=1))}),
    ("POST", "/assign", {"person_id": str(UUID(int=1))}),
    ("POST", "/close", {"outcome": "x"}),
    ("POST", "/items", {"kind": "note", "text": "x"}),
]


async def test_a_hidden_case_answers_every_route_as_a_missing_one(place: Region) -> None:
    """Status, headers and body are the same, and no ``If-Match`` makes a difference."""
    hidden, missing = await pair_of_cases(place)
    request = await place.world.request(place.leader, place.student)
    for who in (place.other_leader, place.other_lead, place.colleague, place.second_contact):
        for method, rest, body in ROUTES:
            for record in (hidden, request):
                answers = [
                    await place.world.send(who, method, f"/v1/cases/{one}{rest}", body)
                    for one in (record, missing)
                ]
                assert like(answers[0]) == like(answers[1]), (who.name, method, rest)
                assert answers[0].status_code == 404


async def test_a_hidden_request_answers_every_route_as_a_missing_one(place: Region) -> None:
    """Drafts are unknown to Central Investigation and to providers (AC-SEE-15, AC-SEE-9)."""
    hidden = await place.world.request(place.leader, place.student, submit=False)
    routes = [("GET", "", None), ("PATCH", "", {"reason": "x"}), ("DELETE", "", None)]
    routes += [("POST", f"/{verb}", None) for verb in ("submit", "accept", "withdraw")]
    routes += [("POST", "/decline", WORDS)]
    routes += [("POST", "/allocate", {"organisation_id": str(place.asp)})]
    routes += [("POST", "/assign", {"person_id": str(place.manager.id)})]
    for who in (place.team, place.lead, place.contact, place.other_leader):
        for method, rest, body in routes:
            answers = [
                await place.world.send(who, method, f"/v1/requests/{one}{rest}", body)
                for one in (hidden, uuid4())
            ]
            assert like(answers[0]) == like(answers[1]), (who.name, method, rest)


async def test_a_hidden_item_answers_every_route_as_a_missing_one(place: Region) -> None:
    """Items not shared with the school, and labelled ones, are missing for the school."""
    case, world = await place.case(), place.world
    items = f"/v1/cases/{case}/items"
    note = {"kind": "document", "text": "Not for the school."}
    plain = (await world.must(place.manager, "POST", items, note))["id"]
    sealed = {**note, "labels": ["health"], "shared_with_school": True}
    labelled = (await world.must(place.manager, "POST", items, sealed))["id"]
    for hidden in (plain, labelled):
        for method, rest, body in (
            ("GET", "", None),
            ("GET", "/content", None),
            ("PATCH", "", {"text": "x"}),
            ("DELETE", "", WORDS),
        ):
            answers = [
                await world.send(place.leader, method, f"{items}/{one}{rest}", body, **ANY)
                for one in (hidden, uuid4())
            ]
            assert like(answers[0]) == like(answers[1]), (method, rest)
            assert answers[0].status_code == 404


async def test_hidden_people_and_learners_count_as_unknown(place: Region) -> None:
    """A person, organisation or learner the caller may not see is as unknown as no one."""
    case, world = await place.case(), place.world
    pairs: list[tuple[Staff, str, str, str, UUID]] = [
        (place.leader, "PUT", f"/v1/cases/{case}/primary-contact", "person_id", place.manager.id),
        (place.lead, "POST", f"/v1/cases/{case}/team", "person_id", place.other_manager.id),
        (place.lead, "POST", f"/v1/cases/{case}/assign", "person_id", place.leader.id),
        (place.team, "POST", f"/v1/cases/{case}/move", "organisation_id", place.school),
    ]
    for who, method, path, name, hidden in pairs:
        answers = [
            await world.send(who, method, path, {name: str(one)}, **ANY)
            for one in (hidden, uuid4())
        ]
        assert like(answers[0]) == like(answers[1]), path
    for one in (place.other_student, uuid4()):
        body = {"student_id": str(one), "reason": "Away."}
        made = await world.send(place.leader, "POST", "/v1/requests", body)
        read = await world.get(place.leader, f"/v1/students/{one}")
        assert (made.status_code, read.status_code) == (404, 404)


async def test_hidden_and_missing_are_recorded_under_one_type(place: Region) -> None:
    """Every refusal is an event, and only the log knows which of the two it was (AC-USE-1)."""
    hidden, missing = await pair_of_cases(place)
    for one in (hidden, missing):
        await place.world.get(place.other_leader, f"/v1/cases/{one}")
        event = await place.world.newest()
        assert (event.type, event.outcome, event.shown) == ("cases.refused", "denied", {})
        assert event.object is not None
        assert event.object.id == str(one)
        assert event.student_id == (place.student if one == hidden else None)


async def version(place: Region, who: Staff, path: str) -> str:
    return await place.world.version(who, path)


async def test_a_version_ignores_what_its_reader_cannot_see(place: Region) -> None:
    """Hidden items, labels, team and drafts change nothing for those they are hidden from."""
    case, world = await place.case(), place.world
    path, items = f"/v1/cases/{case}", f"/v1/cases/{case}/items"
    named = {"person_id": str(place.contact.id)}
    await world.must(place.leader, "PUT", f"{path}/primary-contact", named, **ANY)
    readers = [place.leader, place.contact, place.office, place.team]
    before = [await version(place, who, path) for who in readers]
    lists = [(await world.get(who, "/v1/cases")).content for who in readers]
    note = {"kind": "note", "text": "For the provider."}
    item = (await world.must(place.manager, "POST", items, note))["id"]
    one = f"{items}/{item}"
    await world.must(place.manager, "PATCH", one, {"text": "Said better."}, **ANY)
    await world.must(place.manager, "PATCH", one, {"labels": ["health"]}, **ANY)
    await world.must(place.manager, "PATCH", one, {"shared_with_school": True}, **ANY)
    await world.must(place.manager, "PATCH", one, {"labels": ["health", "finance"]}, **ANY)
    draft = {"goals": "g", "actions": "a"}
    await world.must(place.manager, "PUT", f"{path}/plan", draft, **ANY)
    sealed = {**draft, "status": "agreed", "labels": ["health"]}
    await world.must(place.manager, "PUT", f"{path}/plan", sealed, **ANY)
    assert [await version(place, who, path) for who in readers] == before
    assert [(await world.get(who, "/v1/cases")).content for who in readers] == lists
    member = {"person_id": str(place.member.id)}
    await world.must(place.lead, "POST", f"{path}/team", member)
    after = [await version(place, who, path) for who in readers]
    assert after[0] != before[0]  # the leader sees the team (AC-SEE-1); nobody else of these does
    assert after[1:] == before[1:]


async def test_a_version_changes_with_what_its_reader_sees(place: Region) -> None:
    case, world = await place.case(), place.world
    path, items = f"/v1/cases/{case}", f"/v1/cases/{case}/items"
    note = {"kind": "note", "text": "For the school.", "shared_with_school": True}
    seen = [await version(place, place.leader, path)]
    item = (await world.must(place.manager, "POST", items, note))["id"]
    seen.append(await version(place, place.leader, path))
    await world.must(place.manager, "PATCH", f"{items}/{item}", {"text": "Better."}, **ANY)
    seen.append(await version(place, place.leader, path))
    agreed = {"goals": "g", "actions": "a", "status": "agreed"}
    await world.must(place.manager, "PUT", f"{path}/plan", agreed, **ANY)
    seen.append(await version(place, place.leader, path))
    await world.must(place.manager, "PATCH", f"{items}/{item}", {"labels": ["health"]}, **ANY)
    seen.append(await version(place, place.leader, path))
    await world.must(place.lead, "POST", f"{path}/close", {"outcome": "Attends."})
    seen.append(await version(place, place.leader, path))
    assert len(set(seen)) == len(seen)


async def test_two_readers_never_share_a_version(place: Region) -> None:
    """Comparing tags tells nobody that they see the same."""
    case = await place.case()
    tags = {await version(place, who, f"/v1/cases/{case}") for who in (place.lead, place.manager)}
    assert len(tags) == 2


async def test_a_record_before_and_after_somebody_elses_is_no_way_to_count(place: Region) -> None:
    """Numbers are random and of one length; a list's cursor is of one length too."""
    one, two = await place.case(), await place.case()
    answers = [(await place.world.get(place.lead, f"/v1/cases/{c}")).json() for c in (one, two)]
    numbers = [answer["number"] for answer in answers]
    assert len({len(number) for number in numbers}) == 1
    assert len(set(numbers)) == 2
