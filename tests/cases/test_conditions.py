"""The contract's conventions on cases: order of checks, preconditions, repeats, headers."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Final
from uuid import uuid4

import pytest
import structlog

from services.authz.events import OrganisationKind
from services.cases import casework, drafting, items
from services.cases.record import Status
from services.kernel.http import PURPOSES
from tests.cases.world import REASON, Region

pytestmark = pytest.mark.asyncio(loop_scope="module")
ANY: Final = {"if_match": "*"}
PLAN: Final = {"goals": "Every day.", "actions": "A lift on Mondays."}


async def with_document(place: Region) -> str:
    """Return the path of a document that the school sees, on a case of its own."""
    path = f"/v1/cases/{await place.case()}/items"
    agreement = {"kind": "document", "text": "Signed.", "shared_with_school": True}
    made = await place.world.must(place.manager, "POST", path, agreement)
    return f"{path}/{made['id']}"


async def test_who_is_not_signed_in_hears_nothing_else(place: Region) -> None:
    """401 comes before 422: malformed paths, bodies, headers and queries included."""
    world = place.world
    for method, path, body, headers in (
        ("POST", "/v1/requests", {"nonsense": 1}, {}),
        ("GET", "/v1/cases/not-an-id", None, {}),
        ("GET", f"/v1/cases/{uuid4()}?parts=nonsense", None, {}),
        ("GET", "/v1/cases?limit=0", None, {}),
        ("GET", "/v1/cases?cursor=AAAA", None, {"purpose": "nonsense"}),
        ("POST", f"/v1/cases/{uuid4()}/close", {}, {"idempotency_key": " "}),
    ):
        answer = await world.send(None, method, path, body, **headers)
        assert answer.status_code == 401, path
        assert answer.headers["www-authenticate"] == "Bearer"
    broken = await world.client.post("/v1/requests", content=b"{", headers={"x": "y"})
    assert broken.status_code == 401


async def test_an_ended_session_is_not_signed_in_even_for_nonsense(place: Region) -> None:
    """SG-3: nothing is left of a session that ended."""
    world = place.world
    who = await world.sign_in(place.office)
    position = await world.end_session(who)
    await world.cases.runtime.projector.reached(position)
    for body in ({"query": "mar"}, {"nonsense": 1}):
        answer = await world.send(who, "POST", "/v1/students/search", body)
        assert answer.status_code == 401


async def test_malformed_comes_before_missing_and_missing_before_forbidden(place: Region) -> None:
    """422, 404, 403, in this order."""
    case, world = await place.case(), place.world
    plan = f"/v1/cases/{uuid4()}/plan"
    assert (await world.send(place.lead, "PUT", plan, {"goals": 1})).status_code == 422
    assert (await world.send(place.lead, "PUT", plan, PLAN)).status_code == 404
    assert (await world.send(place.leader, "PUT", plan, PLAN)).status_code == 404
    plan = f"/v1/cases/{case}/plan"
    assert (await world.send(place.leader, "PUT", plan, PLAN)).status_code == 403


async def test_a_body_that_two_readers_could_take_for_two_is_malformed(place: Region) -> None:
    """RFC 8259: another encoding, or a name twice, of which a filter in front may see the other."""
    path, who = "/v1/students/search", place.office
    sent = {"authorization": f"Bearer {who.token}", "content-type": "application/json"}
    for body, status in (
        (b'{"query":"mar"}', 200),
        (b'{"query":"mar","query":"mar"}', 422),
        ('{"query":"mar"}'.encode("utf-16"), 422),
    ):
        answer = await place.world.client.post(path, content=body, headers=sent)
        assert answer.status_code == status, body


@pytest.mark.parametrize("token", [None, "a.b.c"])
async def test_nobody_reads_the_body_of_who_is_not_signed_in(
    place: Region, token: str | None
) -> None:
    """401 comes before 422, and costs no more for a large body; it is counted like every one."""
    world, pulled = place.world, 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal pulled
        for _ in range(6):
            pulled += 1
            yield b"[" * 60_000

    headers = {"content-type": "application/json"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    windows = world.cases.windows._windows
    before = sum(window.count for window in windows.values())
    for method, path in (
        ("POST", "/v1/requests"),
        ("PATCH", f"/v1/requests/{uuid4()}"),
        ("POST", f"/v1/cases/{uuid4()}/items"),
        ("POST", f"/v1/requests/{uuid4()}/submit"),
        ("GET", "/v1/cases"),
    ):
        answer = await world.client.request(method, path, content=body(), headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), path
        assert answer.headers["www-authenticate"] == "Bearer"
    assert pulled == 0
    assert sum(window.count for window in windows.values()) == before + 5


@pytest.mark.parametrize(
    "reason",
    [
        r'"\ud800"',
        r'"a\u0000b"',
        '"a\x00b"',
        "NaN",
        "1e999",
        "9" * 9_000,
        '"x","reason":"y"',
        "[{}]",
    ],
)
async def test_what_is_no_text_leaves_nothing_in_the_log(place: Region, reason: str) -> None:
    world, who = place.world, place.office
    sent = {"authorization": f"Bearer {who.token}", "content-type": "application/json"}
    before = await world.newest()
    body = f'{{"student_id":"{uuid4()}","reason":{reason}}}'
    answer = await world.client.post("/v1/requests", content=body, headers=sent)
    assert (answer.status_code, answer.json()["code"]) == (422, "malformed")
    assert await world.newest() == before


async def test_permission_comes_before_preconditions_and_they_before_state(place: Region) -> None:
    """403, 428, 412, 409, in this order."""
    case, world = await place.case(), place.world
    await world.must(place.lead, "POST", f"/v1/cases/{case}/close", {"outcome": "Attends."})
    plan = f"/v1/cases/{case}/plan"
    stale = {"if_match": '"stale"'}
    assert (await world.send(place.leader, "PUT", plan, PLAN, **stale)).status_code == 403
    assert (await world.send(place.lead, "PUT", plan, PLAN)).status_code == 428
    assert (await world.send(place.lead, "PUT", plan, PLAN, **stale)).status_code == 412
    assert (await world.send(place.lead, "PUT", plan, PLAN, **ANY)).status_code == 409


async def test_every_put_patch_and_delete_takes_if_match(place: Region) -> None:
    """428 without, 412 when stale, and 200 with what the caller last saw."""
    case, world = await place.case(), place.world
    path = f"/v1/cases/{case}"
    item = {"kind": "note", "text": "A note."}
    made = (await world.must(place.lead, "POST", f"{path}/items", item))["id"]
    await world.must(place.lead, "POST", f"{path}/team", {"person_id": str(place.member.id)})
    request = await world.request(place.leader, place.student, submit=False)
    contact, member = ({"person_id": str(p.id)} for p in (place.contact, place.member))
    routes = [
        (place.leader, "PATCH", f"/v1/requests/{request}", {"reason": "Away."}),
        (place.leader, "DELETE", f"/v1/requests/{request}", None),
        (place.leader, "PUT", f"{path}/primary-contact", contact),
        (place.lead, "PUT", f"{path}/plan", PLAN),
        (place.lead, "PATCH", f"{path}/items/{made}", {"text": "Better."}),
        (place.lead, "DELETE", f"{path}/items/{made}", {"reason": "Not theirs."}),
        (place.lead, "DELETE", f"{path}/team", member),
        (place.lead, "PUT", f"{path}/prosecution-notice", None),
        (place.lead, "DELETE", f"{path}/prosecution-notice", None),
        (place.lead, "DELETE", path, {"reason": "In error."}),
    ]
    for who, method, where, body in routes:
        assert (await world.send(who, method, where, body)).status_code == 428, where
        stale = await world.send(who, method, where, body, if_match='"AAAA"')
        assert stale.status_code == 412, where
        record = f"/v1/requests/{request}" if "requests" in where else path
        tag = await world.version(who, record)
        done = await world.send(who, method, where, body, if_match=tag)
        assert done.status_code == 200, (where, done.text)


async def test_the_version_answered_by_a_change_is_the_one_read_next(place: Region) -> None:
    """Whoever changed something may go on, also when time passes between deciding and writing."""
    world, clock = place.world, place.world.clock
    real = clock.now

    def ticking() -> object:
        clock.advance(timedelta(milliseconds=3))
        return real()

    case = await place.case()
    path = f"/v1/cases/{case}"
    effects = world.cases.runtime.effects
    object.__setattr__(effects, "now", ticking)
    try:
        for method, rest, body in (
            ("PUT", "/plan", PLAN),
            ("PUT", "/prosecution-notice", None),
            ("POST", "/close", {"outcome": "Attends."}),
        ):
            done = await world.send(place.manager, method, f"{path}{rest}", body, **ANY)
            read = await world.get(place.manager, path)
            assert done.headers["etag"] == read.headers["etag"], rest
            assert done.json()["version"] == read.json()["version"]
    finally:
        object.__setattr__(effects, "now", real)


async def test_a_change_never_answers_a_version_that_is_not_read_next(place: Region) -> None:
    """A move brings in a provider whose name was not loaded: no version is better than a wrong."""
    case, world = await place.case(), place.world
    body = {"organisation_id": str(place.other_asp)}
    moved = await world.send(place.team, "POST", f"/v1/cases/{case}/move", body)
    read = await world.get(place.team, f"/v1/cases/{case}")
    assert moved.status_code == 200
    assert moved.headers.get("etag") in (None, read.headers["etag"])


async def test_a_case_is_moved_from_one_asp_to_another_and_from_no_isp(place: Region) -> None:
    """AC-DO-7: who sees the case and may not move it is told so."""
    case, world = await place.case(), place.world
    body = {"organisation_id": str(place.other_asp)}
    await world.organisation(OrganisationKind.ISP, "Te Ara in School", place.asp)
    refused = await world.send(place.team, "POST", f"/v1/cases/{case}/move", body)
    assert refused.status_code == 403
    await world.organisation(OrganisationKind.ASP, "Te Ara Attendance", place.asp)
    moved = await world.send(place.team, "POST", f"/v1/cases/{case}/move", body)
    assert moved.status_code == 200


async def test_parts_may_be_said_one_by_one_or_together(place: Region) -> None:
    case, world = await place.case(), place.world
    path = f"/v1/cases/{case}"
    for query in ("parts=overview,family", "parts=overview&parts=family"):
        answer = await world.get(place.lead, f"{path}?{query}")
        assert set(answer.json()["parts"]) == {"overview", "family"}


async def test_a_304_is_a_recorded_disclosure(place: Region) -> None:
    """Telling somebody that nothing has changed tells them what there is (AC-USE-1)."""
    world = place.world
    item = await with_document(place)
    for path in (
        item.partition("/items/")[0],
        item,
        f"{item}/content",
        f"/v1/students/{place.student}",
        f"/v1/requests/{await world.request(place.leader, place.student)}",
    ):
        first = await world.get(place.leader, path)
        told = await world.newest()
        again = await world.send(place.leader, "GET", path, if_none_match=first.headers["etag"])
        event = await world.newest()
        assert (again.status_code, again.content) == (304, b""), path
        assert again.headers["etag"] == first.headers["etag"], path
        assert event.id != told.id, path
        assert (event.object, event.shown, event.grounds) == (
            told.object,
            told.shown,
            told.grounds,
        ), path


async def test_an_item_that_has_changed_is_shown_to_who_has_the_former_one(place: Region) -> None:
    world, item = place.world, await with_document(place)
    tag = await world.version(place.leader, item)
    await world.must(place.manager, "PATCH", item, {"text": "Signed on Monday."}, **ANY)
    for path in (item, f"{item}/content"):
        again = await world.send(place.leader, "GET", path, if_none_match=tag)
        assert again.status_code == 200, path
        assert "Signed on Monday." in again.text, path
        assert again.headers["etag"] != tag, path


async def test_a_304_is_not_for_who_lost_sight(place: Region) -> None:
    """404 comes first, for `*` as well, which would match whatever is there."""
    world, item = place.world, await with_document(place)
    case = item.partition("/items/")[0]
    paths = (case, item, f"{item}/content")
    tags = [await world.version(place.manager, path) for path in paths]
    body = {"person_id": str(place.colleague.id)}
    await world.must(place.lead, "POST", f"{case}/assign", body)
    for path, tag in (*zip(paths, tags, strict=True), (f"/v1/students/{uuid4()}", "*")):
        for sent in (tag, "*"):
            again = await world.send(place.manager, "GET", path, if_none_match=sent)
            assert again.status_code == 404, path


@pytest.mark.parametrize(
    ("kind", "states"),
    [
        (
            "requests",
            {"draft", "submitted", "accepted", "declined", "allocated", "assigned", "withdrawn"},
        ),
        ("cases", {"active", "closed", "withdrawn"}),
    ],
)
async def test_a_list_is_filtered_by_states_of_the_contract_alone(
    place: Region, kind: str, states: set[str]
) -> None:
    """Contract, "Names": no state of the other kind, and none that is Casewarden's own."""
    for status in (*Status, "open", ""):
        answer = await place.world.get(place.leader, f"/v1/{kind}?status={status}")
        assert answer.status_code == (200 if status in states else 422), status
        if answer.is_success:
            assert {row["status"] for row in answer.json()["items"]} <= {str(status)}
    unsigned = await place.world.get(None, f"/v1/{kind}?status=deleted")
    assert unsigned.status_code == 401


async def test_a_repeated_post_is_done_once_and_recorded_twice(place: Region) -> None:
    """Idempotency-Key: the same ids, one item, an event for each answer."""
    case, world = await place.case(), place.world
    path, key = f"/v1/cases/{case}/items", {"idempotency_key": str(uuid4())}
    body = {"kind": "note", "text": "Only once."}
    first = await world.send(place.manager, "POST", path, body, **key)
    before = await world.newest()
    second = await world.send(place.manager, "POST", path, body, **key)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["id"] == second.json()["id"]
    assert (await world.newest()).id != before.id
    items = (await world.get(place.manager, f"/v1/cases/{case}")).json()["parts"]["items"]
    assert len(items) == 1
    other = await world.send(place.manager, "POST", path, {**body, "text": "Two."}, **key)
    assert other.status_code == 422


async def test_a_repeat_is_authorised_anew(place: Region) -> None:
    """Who lost the case between two attempts learns nothing from the second; keys are personal."""
    case, world = await place.case(), place.world
    path, key = f"/v1/cases/{case}/items", {"idempotency_key": "one-key"}
    body = {"kind": "note", "text": "Only once."}
    await world.must(place.manager, "POST", path, body, **key)
    lead = await world.must(place.lead, "POST", path, {**body, "text": "Mine."}, **key)
    reassigned = {"person_id": str(place.colleague.id)}
    await world.must(place.lead, "POST", f"/v1/cases/{case}/assign", reassigned)
    again = await world.send(place.manager, "POST", path, body, **key)
    assert again.status_code == 404
    assert lead["id"]


async def test_a_repeated_request_answers_what_is_seen_now(place: Region) -> None:
    world, key = place.world, {"idempotency_key": str(uuid4())}
    body = {"student_id": str(place.student), "reason": REASON}
    first = await world.must(place.leader, "POST", "/v1/requests", body, **key)
    await world.must(place.leader, "POST", f"/v1/requests/{first['id']}/submit")
    second = await world.must(place.leader, "POST", "/v1/requests", body, **key)
    assert second["id"] == first["id"]
    assert second["status"] == "submitted"
    repeat = await world.newest()
    assert (repeat.type, repeat.action) == ("cases.read", "read")


async def test_a_purpose_is_recorded_and_an_unknown_one_is_malformed(place: Region) -> None:
    """SG-15: purposes are codes."""
    case, world = await place.case(), place.world
    for purpose in sorted(PURPOSES)[:2]:
        await world.send(place.lead, "GET", f"/v1/cases/{case}", purpose=purpose)
        assert (await world.newest()).purpose == purpose
    nonsense = await world.send(place.lead, "GET", f"/v1/cases/{case}", purpose="curiosity")
    assert nonsense.status_code == 422


async def test_a_request_id_is_echoed_and_recorded(place: Region) -> None:
    case, world = await place.case(), place.world
    for path, status in ((f"/v1/cases/{case}", 200), (f"/v1/cases/{uuid4()}", 404)):
        answer = await world.send(place.lead, "GET", path, x_request_id="Seen-42")
        assert (answer.status_code, answer.headers["x-request-id"]) == (status, "Seen-42")
        assert (await world.newest()).origin.request_id == "Seen-42"
    odd = await world.send(place.lead, "GET", f"/v1/cases/{case}", x_request_id="a b")
    assert odd.headers["x-request-id"] != "a b"


async def test_what_goes_wrong_unexpectedly_is_logged_and_tells_nothing(
    place: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole case passes the framework by; what is raised there is answered and logged alike."""
    case, world = await place.case(), place.world

    def broken(_seen: object) -> dict[str, object]:
        raise RuntimeError("a learner's name")

    monkeypatch.setattr(world.cases.front.desk.renderer, "parts", broken)
    for query in ("", "?parts=overview"):
        with structlog.testing.capture_logs() as logs:
            answer = await world.get(place.lead, f"/v1/cases/{case}{query}")
        assert (answer.status_code, answer.json()["code"]) == (500, "internal")
        assert [entry["event"] for entry in logs] == ["unexpected_error"]
        assert "learner" not in answer.text + str(logs)


async def test_one_maker_has_only_so_many_requests_about_a_learner_at_a_time(
    place: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SG-9: each is passed over whenever a record of the learner's is read."""
    monkeypatch.setattr(drafting, "MOST_UNDER_WAY", 2)
    world = place.world
    learner = await world.student(place.school, "Tama", "Rangi")
    new = {"student_id": str(learner), "reason": "Away."}
    first = await world.must(place.leader, "POST", "/v1/requests", new)
    key = {"Idempotency_Key": "one"}
    kept = await world.send(place.leader, "POST", "/v1/requests", new, **key)
    crowded = await world.send(place.leader, "POST", "/v1/requests", new)
    assert (kept.status_code, crowded.status_code) == (201, 409)
    repeated = await world.send(place.leader, "POST", "/v1/requests", new, **key)
    assert (repeated.status_code, repeated.json()["id"]) == (201, kept.json()["id"])
    assert (await world.send(place.contact, "POST", "/v1/requests", new)).status_code == 201
    await world.must(place.leader, "DELETE", f"/v1/requests/{first['id']}", None, **ANY)
    assert (await world.send(place.leader, "POST", "/v1/requests", new)).status_code == 201


async def test_a_plan_has_only_so_many_versions(
    place: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SG-9: each is read with the case by whoever sees drafts."""
    monkeypatch.setattr(casework, "MOST_VERSIONS", 2)
    path = f"/v1/cases/{await place.case()}"
    draft = {**PLAN, "status": "draft"}
    answers = [
        await place.world.send(place.manager, "PUT", f"{path}/plan", draft, **ANY) for _ in range(3)
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 409]
    seen = await place.world.get(place.manager, path)
    assert len(seen.json()["parts"]["plan"]) == 2


async def test_one_author_adds_only_so_many_items_to_a_case_and_stops_nobody_else(
    place: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SG-9, AC-SEE-2: the conflict counts what its author wrote and nothing hidden from them."""
    monkeypatch.setattr(items, "MOST_ITEMS", 2)
    path = f"/v1/cases/{await place.case()}/items"
    comment = {"kind": "comment", "text": "Rang at nine."}
    for who in (place.manager, place.leader):
        answers = [await place.world.send(who, "POST", path, comment) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [201, 201, 409]


async def test_nobody_keeps_a_case_by_a_place_on_its_team_that_they_gave_themselves(
    place: Region,
) -> None:
    """AC-DO-5, 6: who has the case is not named to its team, and nobody names themselves."""
    world, case = place.world, await place.case()
    path = f"/v1/cases/{case}"
    own, colleague = ({"person_id": str(p.id)} for p in (place.manager, place.colleague))
    refused = await world.send(place.manager, "POST", f"{path}/team", own)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    by_lead = await world.send(place.lead, "POST", f"{path}/team", own)
    assert (by_lead.status_code, by_lead.json()["code"]) == (409, "conflict")
    await world.must(place.lead, "POST", f"{path}/assign", colleague)
    assert (await world.get(place.manager, path)).status_code == 404
