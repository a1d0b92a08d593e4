"""Asking for events: filters, walks, what an event shows, and that asking is an event."""

from datetime import timedelta
from uuid import UUID

import pytest

from services.kernel.events import Outcome
from tests.audit.given import World

SHAPE = {
    "position", "id", "type", "occurred_at", "effective_at", "actor", "origin", "action",
    "outcome", "grounds", "policy_version", "purpose", "student_id", "object", "shown",
}  # fmt: skip


async def test_event_shows_exactly_the_fields_of_the_contract_and_where_it_came_from(
    world: World,
) -> None:
    """AC-USE-1: address, device, session, object and clause; never ``data``."""
    analyst = await world.analyst()
    asp = await world.organisation("asp")
    manager, student, case = await world.staff("asp_case_manager", asp), world.id(), world.id()
    seen = await world.saw(manager, student, case_id=case, session_id=world.id())
    event = (await analyst.ask(f"/v1/events/{seen}")).json()
    assert set(event) == SHAPE
    assert event["actor"] == {
        "person_id": str(manager.id),
        "client_id": None,
        "organisation_id": str(asp),
    }
    assert set(event["origin"]) == {"ip", "device", "user_agent", "request_id", "session_id"}
    assert event["origin"]["ip"] == "203.0.113.7"
    assert event["origin"]["device"].startswith("Firefox")
    assert event["grounds"] == [
        {
            "assignment_id": str(manager.assignment_id),
            "role": "asp_case_manager",
            "clause": "AC-SEE-12",
            "parts": ["overview"],
        }
    ]
    assert event["shown"] == {"overview": [str(case)]}
    assert event["object"] == {"type": "case", "id": str(case)}
    assert event["student_id"] == str(student)


async def test_each_filter_keeps_what_it_names_and_nothing_else(world: World) -> None:
    """Contract, audit: actor, student, object, type, action, outcome, from, to."""
    analyst = await world.analyst()
    asp = await world.organisation("asp")
    one, two = [await world.staff("asp_case_manager", asp) for _ in range(2)]
    student, case, now = world.id(), world.id(), world.clock.now()
    wanted = await world.saw(one, student, case_id=case, action="export", at=now)
    await world.saw(two, world.id(), at=now - timedelta(hours=2))
    refused = await world.saw(two, world.id(), outcome=Outcome.DENIED, at=now - timedelta(hours=2))
    ids = analyst.ids
    assert await ids("/v1/events", actor=one.id, type_="cases.read") == [wanted]
    assert await ids("/v1/events", student=student) == [wanted]
    assert await ids("/v1/events", object_=case) == [wanted]
    assert await ids("/v1/events", object_=f"case:{case}") == [wanted]
    assert await ids("/v1/events", object_=str(case).upper(), type_="cases.read") == [wanted]
    assert await ids("/v1/events", object_=f"request:{case}") == []
    assert await ids("/v1/events", action="export") == [wanted]
    assert await ids("/v1/events", type_="cases.refused") == [refused]
    assert await ids("/v1/events", outcome="denied") == [refused]
    recent = await ids("/v1/events", from_=now.isoformat(), type_="cases.read")
    assert recent == [wanted]
    earlier = await ids("/v1/events", to=now.isoformat(), actor=two.id)
    assert wanted not in earlier
    assert refused in earlier


LISTS = (
    "/v1/events",
    "/v1/sessions",
    "/v1/alerts",
    f"/v1/students/{UUID(int=1)}/accesses",
    f"/v1/people/{UUID(int=1)}/activity",
)
NOON, ONE = "2026-03-02T12:00:00Z", "2026-03-02T13:00:00+00:00"
OF_A_LIST: tuple[dict[str, str], ...] = (
    {"limit": "0"},
    {"limit": "201"},
    {"limit": "-1"},
    {"limit": "1.5"},
    {"limit": ""},
    {"cursor": ""},
    {"cursor": "AAAA"},
    {"cursor": "a\x00b"},
    {"cursor": "é" * 40},
    {"cursor": "A" * 1025},
    {"actro": "1"},
    {"a\x00b": "1"},
)
OF_A_WINDOW: tuple[dict[str, str], ...] = (
    {"from": "2026-03-02T10:00:00"},
    {"to": "2026-03-02T10:00:00"},
    {"from": "2026-03-02"},
    {"from": "1772445600"},
    {"from": "2026-03-02T10:00Z"},
    {"from": "2026-03-02T10:00:00+1300"},
    {"from": "a\x00b"},
    {"from": "0001-01-01T00:00:00+14:00"},
    {"to": "9999-12-31T23:59:59-14:00"},
    {"from": ONE, "to": NOON},
    {"from": "2026-03-02T12:00:00.000001Z", "to": "2026-03-03T00:00:00+12:00"},
)
OF_EVENTS: tuple[dict[str, str], ...] = (
    {"outcome": "maybe"},
    {"student": "x"},
    {"student": "a\x00b"},
    {"object": "a\x00b"},
    {"object": "x" * 201},
    {"actor": "a\x00b"},
    {"type": "a\x00b"},
    {"type": "cases.raed"},
    {"type": "cases"},
    {"action": ""},
    {"action": "   "},
)


@pytest.mark.parametrize("path", LISTS)
async def test_malformed_question_is_refused_and_not_repeated(world: World, path: str) -> None:
    """A filter that is not understood never widens the answer; nor is one half understood."""
    analyst = await world.analyst()
    windowed = OF_A_WINDOW if path not in {"/v1/sessions", "/v1/alerts"} else ()
    more = OF_EVENTS if path == "/v1/events" else ()
    for filters in (*OF_A_LIST, *windowed, *more):
        answer = await analyst.ask(path, **filters)
        assert answer.status_code == 422, filters
        assert answer.headers["content-type"] == "application/problem+json", filters
        assert answer.json()["code"] == "malformed", filters


async def test_window_takes_what_is_at_its_beginning_and_nothing_at_its_end(world: World) -> None:
    """Contract: ``from`` and ``to``; an empty window is a question, one turned round is not."""
    analyst = await world.analyst()
    manager, at = await world.staff("school_office", await world.organisation()), world.clock.now()
    seen = await world.saw(manager, at=at)
    soon = (at + timedelta(microseconds=1)).isoformat()
    now = at.isoformat()
    assert await analyst.ids("/v1/events", from_=now, to=soon, actor=manager.id) == [seen]
    assert await analyst.ids("/v1/events", from_=now, to=now, actor=manager.id) == []


async def test_id_that_is_none_is_malformed(world: World) -> None:
    analyst = await world.analyst()
    for path in ("/v1/events/x", "/v1/students/x/accesses", "/v1/people/x/activity"):
        answer = await analyst.ask(path)
        assert (answer.status_code, answer.json()["code"]) == (422, "malformed")


async def test_cursor_of_one_list_is_foreign_to_every_other(world: World) -> None:
    """Contract: cursors are sealed and bound to caller and filter."""
    analyst, student = await world.analyst(), world.id()
    manager = await world.staff("asp_case_manager", await world.organisation("asp"))
    for _ in range(2):
        await world.saw(manager, student)
        await world.begin(manager)
    pages = [
        "/v1/events",
        "/v1/sessions",
        f"/v1/students/{student}/accesses",
        f"/v1/people/{manager.id}/activity",
    ]
    for path in pages:
        cursor = (await analyst.ask(path, limit=1)).json()["next_cursor"]
        answers = {p: (await analyst.ask(p, cursor=cursor)).status_code for p in pages}
        assert answers == {p: 200 if p == path else 422 for p in pages}


async def test_walk_meets_everything_once_while_new_events_arrive(world: World) -> None:
    analyst = await world.analyst()
    manager = await world.staff("asp_case_manager", await world.organisation("asp"))
    student = world.id()
    there = [await world.saw(manager, student) for _ in range(25)]
    met: list[UUID] = []
    asked: dict[str, object] = {"student": student, "type_": "cases.read", "limit": 4}
    while True:
        page = (await analyst.ask("/v1/events", **asked)).json()
        met += [UUID(item["id"]) for item in page["items"]]
        if page["next_cursor"] is None:
            break
        asked["cursor"] = page["next_cursor"]
        await world.saw(manager, student)
    assert met == there[::-1]


async def test_cursor_serves_only_its_caller_and_its_question(world: World) -> None:
    analyst, other = await world.analyst(), await world.analyst()
    page = (await analyst.ask("/v1/events", limit=1)).json()
    cursor = page["next_cursor"]
    changed = cursor[:-4] + ("AAAA" if cursor[-4:] != "AAAA" else "BBBB")
    assert (await analyst.ask("/v1/events", limit=1, cursor=cursor)).status_code == 200
    assert (await other.ask("/v1/events", limit=1, cursor=cursor)).status_code == 422
    assert (await analyst.ask("/v1/events", action="read", cursor=cursor)).status_code == 422
    assert (await analyst.ask("/v1/events", cursor=changed)).status_code == 422
    path = f"/v1/people/{analyst.person.id}/activity"
    assert (await analyst.ask(path, cursor=cursor)).status_code == 422


async def test_asking_is_recorded_before_it_is_answered_and_visible_at_once(world: World) -> None:
    """SG-12, AC-USE-1: the question, its filters by name, and the ids it disclosed."""
    analyst, student = await world.analyst(), world.id()
    manager = await world.staff("asp_case_manager", await world.organisation("asp"))
    seen = await world.saw(manager, student)
    await analyst.ask("/v1/events", student=student, outcome="allowed")
    (asked,) = await analyst.items("/v1/events", type_="audit.read", action="search")
    assert asked["shown"] == {"events": [str(seen)]}
    assert asked["student_id"] == str(student)
    assert asked["object"] == {"type": "student", "id": str(student)}
    assert asked["purpose"] == "security_review"
    assert asked["actor"]["person_id"] == str(analyst.person.id)
    assert [ground["clause"] for ground in asked["grounds"]] == ["SG-8"]
    assert asked["origin"]["session_id"] == str(analyst.session_id)


@pytest.mark.parametrize(
    ("asked", "recorded"),
    [
        ({"object_": "case:61007cfd-158c-5857-ab18-aa95050535ef"}, "case"),
        ({"object_": "61007CFD-158C-5857-AB18-AA95050535EF"}, "object"),
        ({"actor": "61007cfd-158c-5857-ab18-aa95050535ef"}, "person"),
        ({"object_": "Aroha Tamihana"}, None),
        ({"object_": "Aroha Tamihana:61007cfd-158c-5857-ab18-aa95050535ef"}, None),
        ({"actor": "aroha.tamihana"}, None),
    ],
)
async def test_what_is_asked_about_is_recorded_when_it_is_an_id_and_never_what_was_typed_instead(
    world: World, asked: dict[str, object], recorded: str | None
) -> None:
    """SG-18: people type names into fields for ids, and the log holds no free text unsealed."""
    analyst = await world.analyst()
    await analyst.ask("/v1/events", **asked)
    (event,) = await analyst.items("/v1/events", type_="audit.read", action="search")
    id_ = "61007cfd-158c-5857-ab18-aa95050535ef"
    assert event["object"] == ({"type": recorded, "id": id_} if recorded else None)
    bodies = await world.audit.runtime.pool.fetch("select body from log.event")
    assert not any(b"tamihana" in row["body"].lower() for row in bodies)


async def test_unknown_event_is_not_found_and_that_is_recorded(world: World) -> None:
    analyst, unknown = await world.analyst(), world.id()
    assert (await analyst.ask(f"/v1/events/{unknown}")).status_code == 404
    (refused,) = await analyst.items("/v1/events", type_="audit.refused")
    assert refused["object"] == {"type": "audit_event", "id": str(unknown)}
    assert refused["outcome"] == "denied"
