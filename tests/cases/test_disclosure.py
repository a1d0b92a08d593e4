"""Every role over every shape of record: what is shown is what the clauses say, to the id."""

from typing import Any
from uuid import UUID

import pytest

from services.kernel.events import Event
from tests.cases.atlas import Atlas
from tests.cases.oracle import Seen
from tests.cases.world import Json

pytestmark = pytest.mark.asyncio(loop_scope="module")
PEOPLE = (
    *("leader", "contact", "second_contact", "office", "lead", "manager", "colleague", "member"),
    *("other_leader", "other_contact", "other_office", "other_lead", "other_manager", "team"),
    *("administrator", "analyst", "relief", "revoked", "both", "pair", "twice", "moved"),
)


def ids(things: list[Json]) -> set[str]:
    return {thing["id"] for thing in things}


def shown_as(atlas: Atlas, body: Json) -> Seen:
    """Read an answer back into the oracle's terms."""
    parts = body["parts"]
    items = parts.get("items", [])
    return Seen(
        parts=set(parts),
        items=atlas.names(ids([i for i in items if "text" in i])),
        summaries=atlas.names(ids([i for i in items if "text" not in i])),
        plans=atlas.names(ids(parts.get("plan", []))),
        history=atlas.names(ids(parts.get("history", []))),
        contacts={contact["person_id"] for contact in parts.get("contacts", [])},
    )


def ids_recorded(atlas: Atlas, key: str, seen: Seen) -> dict[str, set[str]]:
    """Return which ids the event of an answer has to name, part by part."""
    record, student = str(atlas.ids[key]), str(atlas.ids[atlas.records[key].student])
    named = {part: {student} for part in ("student_basic", "demographics", "family")}
    named |= {part: {record} for part in ("overview", "referral")}
    named["contacts"] = atlas.person_ids(seen.contacts)
    named["team"] = atlas.person_ids(set(atlas.records[key].team))
    named["items"] = {str(atlas.ids[i]) for i in seen.items | seen.summaries}
    named["plan"] = {str(atlas.ids[i]) for i in seen.plans}
    named["history"] = {str(atlas.ids[i]) for i in seen.history}
    return {part: named.get(part, set()) for part in seen.parts}


def assert_recorded(atlas: Atlas, event: Event, person: str, key: str, seen: Seen) -> None:
    """Assert that the event names exactly the parts and ids shown, and on what they rest."""
    assert {p: set(i) for p, i in event.shown.items()} == ids_recorded(atlas, key, seen)
    assert set(event.data.get("summaries", ())) == {str(atlas.ids[i]) for i in seen.summaries}
    assert {part for ground in event.grounds for part in ground.parts} == seen.parts
    posts = {atlas.staff[post.key].assignment_id: post for post in atlas.people[person]}
    for ground in event.grounds:
        post = posts[ground.assignment_id]
        assert ground.role == post.role
        for part in ground.parts:
            assert (post.key, ground.clause, part) in seen.grounds, (person, key, ground)
    assert event.student_id == atlas.ids[atlas.records[key].student]
    assert event.actor.person_id == atlas.callers[person].id


async def test_the_atlas_holds_every_state_of_a_request_and_a_case(atlas: Atlas) -> None:
    states = {(rec.kind, rec.status) for rec in atlas.records.values()}
    requests = ["draft", "submitted", "accepted", "declined", "allocated", "assigned"]
    requests += ["withdrawn", "deleted"]
    cases = ["active", "closed", "withdrawn"]
    assert states == {("request", s) for s in requests} | {("case", s) for s in cases}


@pytest.mark.parametrize("person", PEOPLE)
async def test_a_record_shows_exactly_what_the_clauses_give(atlas: Atlas, person: str) -> None:
    """AC-SEE-1 to 6, 9, 10, 12 to 15, 21, 25, SE, SG-13; AC-USE-1 for the events."""
    atlas.world.forgive()
    for key in atlas.records:
        seen = atlas.seen(person, key)
        answer = await atlas.world.get(atlas.callers[person], atlas.path(key))
        event = await atlas.world.told()
        if not seen:
            assert answer.status_code == 404, (person, key, answer.text)
            assert (event.type, event.shown, event.grounds) == ("cases.refused", {}, ())
            continue
        assert answer.status_code == 200, (person, key, answer.text)
        found = shown_as(atlas, answer.json())
        found.grounds = seen.grounds
        expected = Seen(**{**vars(seen), "contacts": atlas.person_ids(seen.contacts)})
        assert vars(found) == vars(expected), (person, key)
        assert_recorded(atlas, event, person, key, seen)


@pytest.mark.parametrize("person", ["leader", "contact", "lead", "member", "team", "both"])
async def test_asking_for_parts_shows_and_records_just_those(atlas: Atlas, person: str) -> None:
    """The answer holds the parts asked for that one may see; so does its event (AC-USE-1)."""
    atlas.world.forgive()
    for key in ("active", "closed", "moved_on", "left"):
        seen = atlas.seen(person, key)
        for wanted in ({"overview"}, {"items", "plan"}, {"family", "contacts"}, {"history"}):
            path = f"{atlas.path(key)}?parts={','.join(sorted(wanted))}"
            answer = await atlas.world.get(atlas.callers[person], path)
            event = await atlas.world.told()
            if not seen:
                assert answer.status_code == 404
                continue
            assert set(answer.json()["parts"]) == seen.parts & wanted, (person, key)
            recorded = {p: set(i) for p, i in event.shown.items()}
            everything = ids_recorded(atlas, key, seen)
            assert recorded == {p: everything[p] for p in seen.parts & wanted}
            # by what they know of the record is said also where none of that is theirs to see
            assert event.grounds, (person, key, wanted)
            named = {part for ground in event.grounds for part in ground.parts}
            assert named == seen.parts & wanted


@pytest.mark.parametrize("person", ["leader", "lead", "manager", "twice"])
async def test_a_history_entry_is_overview_referral_and_outcome(atlas: Atlas, person: str) -> None:
    """``history`` is an entry for each record, not the file (AC-SEE-1, 10, 13)."""
    answer = await atlas.world.get(atlas.callers[person], atlas.path("active"))
    entries = {e["id"]: e for e in answer.json()["parts"]["history"]}
    entry = entries[str(atlas.ids["closed_elsewhere"])]
    assert set(entry) == {"id", "overview", "referral"}
    assert entry["overview"]["outcome"] == "Attends again."
    assert entry["overview"]["provider"]["name"] == "Harbour Attendance"
    assert "reason" in entry["referral"]


@pytest.mark.parametrize("person", ["leader", "office", "manager", "twice", "relief"])
async def test_a_list_is_the_same_page_by_page(atlas: Atlas, person: str) -> None:
    """One by one, newest first, every visible record and no other, each page recorded."""
    atlas.world.forgive()
    for kind in ("request", "case"):
        visible = listed(atlas, person, kind)
        found: list[str] = []
        cursor: str | None = ""
        while cursor is not None and len(found) <= len(visible):
            path = f"/v1/{kind}s?limit=1" + (f"&cursor={cursor}" if cursor else "")
            answer = await atlas.world.get(atlas.callers[person], path)
            assert answer.status_code == 200, answer.text
            body = answer.json()
            await assert_page_recorded(atlas, body)
            found += [row["id"] for row in body["items"]]
            cursor = body["next_cursor"]
        assert found == visible


def listed(atlas: Atlas, person: str, kind: str) -> list[str]:
    """Return the ids of the records of a kind that ``person`` sees, newest first."""
    visible = [r for k, r in atlas.records.items() if r.kind == kind and atlas.seen(person, k)]
    visible.sort(key=lambda rec: -rec.order)
    return [str(atlas.ids[rec.key]) for rec in visible]


async def assert_page_recorded(atlas: Atlas, body: Json) -> None:
    """Assert that the event of a page names the records and learners on it, part by part."""
    event = await atlas.world.told()
    expected: dict[str, list[str]] = {}
    for row in body["items"]:
        for part in row["parts"]:
            about = row["id"] if part == "overview" else row["student_id"]
            expected.setdefault(part, []).append(about)
    # what the posts of two organisations show is told to both
    recorded = {part: set(ids) for part, ids in event.shown.items()}
    assert recorded == {part: set(ids) for part, ids in expected.items()}
    assert {part for ground in event.grounds for part in ground.parts} == set(expected)


@pytest.mark.parametrize("person", PEOPLE)
async def test_a_list_holds_exactly_the_records_that_are_seen(atlas: Atlas, person: str) -> None:
    """No record more, and of each overview and student_basic where one sees them (AC-SEE)."""
    names = {str(found): name for name, found in atlas.ids.items()}
    for kind in ("request", "case"):
        answer = await atlas.world.get(atlas.callers[person], f"/v1/{kind}s?limit=100")
        await assert_page_recorded(atlas, answer.json())
        rows = answer.json()["items"]
        assert [row["id"] for row in rows] == listed(atlas, person, kind)
        for row in rows:
            seen = atlas.seen(person, names[row["id"]])
            assert set(row["parts"]) == seen.parts & {"overview", "student_basic"}


async def test_a_filter_says_nothing_about_hidden_records(atlas: Atlas) -> None:
    student = atlas.ids["busy"]
    for person in ("other_leader", "other_contact", "administrator"):
        path = f"/v1/cases?student_id={student}"
        answer = await atlas.world.get(atlas.callers[person], path)
        nobody = await atlas.world.get(atlas.callers[person], f"/v1/cases?student_id={UUID(int=7)}")
        assert answer.json() == nobody.json() == {"items": [], "next_cursor": None}


async def test_a_cursor_serves_only_who_it_was_made_for(atlas: Atlas) -> None:
    """Cursors are bound to caller and filter."""
    first = (await atlas.world.get(atlas.callers["lead"], "/v1/cases?limit=1")).json()
    cursor = first["next_cursor"]
    for person, path in (
        ("leader", f"/v1/cases?limit=1&cursor={cursor}"),
        ("lead", f"/v1/requests?limit=1&cursor={cursor}"),
        ("lead", f"/v1/cases?status=active&cursor={cursor}"),
        ("lead", "/v1/cases?cursor=AAAA"),
    ):
        answer = await atlas.world.get(atlas.callers[person], path)
        assert answer.status_code == 422


@pytest.mark.parametrize("person", PEOPLE)
async def test_items_one_by_one_are_those_of_the_record(atlas: Atlas, person: str) -> None:
    """An item is its text, its need-to-know summary, or missing (AC-SEE-2, 4, 9, 14, 25, SG-13)."""
    atlas.world.forgive()
    kinds = {item.key: item.kind for rec in atlas.records.values() for item in rec.items}
    for key in ("active", "closed", "left"):
        seen = atlas.seen(person, key)
        for item in atlas.records[key].items:
            path = f"{atlas.path(key)}/items/{atlas.ids[item.key]}"
            answer = await atlas.world.get(atlas.callers[person], path)
            event = await atlas.world.newest()
            content = await atlas.world.get(atlas.callers[person], f"{path}/content")
            whole, summary = item.key in seen.items, item.key in seen.summaries
            assert answer.status_code == (200 if whole or summary else 404), (person, item)
            readable = whole and kinds[item.key] == "document"
            assert content.status_code == (200 if readable else 404), (person, item)
            if whole:
                assert answer.json()["text"] == f"The text of {item.key}."
            if summary:
                assert set(answer.json()) == {"id", "kind", "created_at", "summary", "version"}
            if whole or summary:
                assert dict(event.shown) == {"items": [str(atlas.ids[item.key])]}
                assert event.data.get("summaries", []) == list(event.shown["items"]) * summary


@pytest.mark.parametrize("person", ["leader", "office", "lead", "member", "team", "twice"])
async def test_why_explains_exactly_what_is_seen(atlas: Atlas, person: str) -> None:
    """An explanation is given about what one sees; everything else answers as missing."""
    from services.cases.parts import PARTS

    atlas.world.forgive()
    for key in ("active", "closed", "moved_on"):
        seen = atlas.seen(person, key)
        for part in PARTS:
            path = f"{atlas.path(key)}/why?part={part}"
            answer = await atlas.world.get(atlas.callers[person], path)
            assert answer.status_code == (200 if part in seen.parts else 404), (key, part)
            if part not in seen.parts:
                continue
            named = {p.key: atlas.staff[p.key].assignment_id for p in atlas.people[person]}
            allowed = {(str(named[p]), clause) for p, clause, of in seen.grounds if of == part}
            because = {(b["assignment_id"], b["clause"]) for b in answer.json()["because"]}
            assert because <= allowed
            assert because


async def found_by(atlas: Atlas, person: str, query: str) -> Any:  # noqa: ANN401 - status or ids
    answer = await atlas.world.send(
        atlas.callers[person], "POST", "/v1/students/search", {"query": query}
    )
    if answer.status_code != 200:
        return answer.status_code
    return atlas.names({row["student_id"] for row in answer.json()["items"]})


async def test_searching_finds_learners_now_at_ones_school_and_no_others(atlas: Atlas) -> None:
    """AC-SEE-23: the former school no longer finds them, the new one does."""
    for person in ("leader", "contact", "office", "pair"):
        assert await found_by(atlas, person, "parata") == {"passed_on"}, person
        assert await found_by(atlas, person, "marama te whare") == {"student"}
        assert await found_by(atlas, person, "liam") == set()
    for person in ("other_leader", "other_contact", "other_office", "both", "moved"):
        assert await found_by(atlas, person, "Parata") == {"gone"}, person
        assert await found_by(atlas, person, "Aroha") == set()
    for person in ("lead", "manager", "team", "administrator", "relief", "revoked"):
        assert await found_by(atlas, person, "Parata") == 404, person


async def test_a_search_records_who_it_showed_and_seals_what_was_asked(atlas: Atlas) -> None:
    """AC-USE-1, SG-18: the event names the learners shown; the words are sealed."""
    assert await found_by(atlas, "leader", "Aroha") == {"busy"}
    event = await atlas.world.newest()
    assert dict(event.shown) == {"student_basic": [str(atlas.ids["busy"])]}
    assert {(g.role, g.clause) for g in event.grounds} == {("school_leader", "AC-SEE-23")}
    assert "aroha" not in str(event.data).lower()


@pytest.mark.parametrize("person", PEOPLE)
async def test_a_learner_shows_what_the_school_or_a_record_gives(atlas: Atlas, person: str) -> None:
    """AC-SEE-23, and for everybody else what their records show of the learner."""
    atlas.world.forgive()
    for student in ("student", "other_student", "busy", "gone", "nowhere", "passed_on"):
        school = next(r.now_at for r in atlas.records.values() if r.student == student)
        expected: set[str] = set()
        for post in atlas.people[person]:
            at_school = post.role in {"school_leader", "primary_contact", "school_office"}
            if at_school and post.in_force and post.organisation == school:
                expected.add("student_basic")
        for key, rec in atlas.records.items():
            if rec.student == student:
                expected |= atlas.seen(person, key).parts
        expected &= {"student_basic", "demographics", "family"}
        answer = await atlas.world.get(atlas.callers[person], f"/v1/students/{atlas.ids[student]}")
        event = await atlas.world.told()
        if not expected:
            assert answer.status_code == 404, (person, student)
            continue
        assert set(answer.json()["parts"]) == expected, (person, student)
        assert set(event.shown) == expected
