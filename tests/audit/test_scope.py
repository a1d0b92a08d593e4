"""Who may ask audit, and how far they see (domain, "Back-office roles"; SG-8, DP-5)."""

from typing import Any
from uuid import UUID

import pytest

from services.audit import events as e
from services.authz import events as authz
from services.authz.events import Role
from services.authz.session_events import SESSION_ENDED
from services.kernel.events import Outcome
from tests.audit.given import World

AUDITORS = {Role.SECURITY_ANALYST, Role.PRIVACY_OFFICER}
PATHS = (
    "/v1/events",
    "/v1/events/{id}",
    "/v1/students/{id}/accesses",
    "/v1/people/{id}/activity",
    "/v1/sessions",
    "/v1/alerts",
    "/v1/alerts/{id}",
)


@pytest.mark.parametrize("role", sorted(set(Role) - AUDITORS))
async def test_nobody_else_finds_anything_and_their_asking_is_recorded(
    world: World, role: Role
) -> None:
    """SG-1: the audit service does not exist for other roles."""
    organisation = await world.organisation("ministry")
    nobody, analyst = await world.caller(role, organisation), await world.analyst()
    for path in PATHS:
        response = await nobody.ask(path.format(id=nobody.person.id))
        assert response.status_code == 404
        assert response.json()["code"] == "not_found"
    told = await nobody.tell(f"/v1/alerts/{world.id()}/resolve", {"verdict": "benign"})
    assert told.status_code == 404
    refused = await analyst.items(
        "/v1/events", type_="audit.refused", actor=nobody.person.id, limit=200
    )
    assert len(refused) == len(PATHS) + 1
    assert {event["outcome"] for event in refused} == {"denied"}
    assert not any(event["shown"] or event["grounds"] for event in refused)


@pytest.mark.parametrize("role", sorted(AUDITORS))
async def test_at_the_ministry_auditors_see_every_organisation(world: World, role: Role) -> None:
    """SG-8, DP-5."""
    auditor = await world.caller(role, await world.organisation("ministry"))
    asp = await world.organisation("asp")
    manager = await world.staff("asp_case_manager", asp)
    seen = await world.saw(manager, world.id())
    assert await auditor.ids("/v1/events", type_="cases.read") == [seen]
    assert (await auditor.ask(f"/v1/events/{seen}")).status_code == 200


@pytest.mark.parametrize("role", sorted(AUDITORS))
async def test_elsewhere_auditors_see_their_own_organisation_only(world: World, role: Role) -> None:
    """Domain: at the Ministry all organisations, elsewhere their own."""
    own, other = await world.organisation("asp"), await world.organisation("asp")
    auditor = await world.caller(role, own)
    colleague = await world.staff("asp_case_manager", own)
    stranger = await world.caller("asp_case_manager", other)
    student = world.id()
    near, far = await world.saw(colleague, student), await world.saw(stranger.person, student)
    assert await auditor.ids("/v1/events", type_="cases.read") == [near]
    assert await auditor.ids(f"/v1/students/{student}/accesses", limit=200) == [near]
    assert (await auditor.ask(f"/v1/events/{near}")).status_code == 200
    assert (await auditor.ask(f"/v1/events/{far}")).status_code == 404
    assert (await auditor.ask(f"/v1/people/{stranger.person.id}/activity")).status_code == 404
    assert await auditor.ids(f"/v1/people/{colleague.id}/activity") == [near]
    assert await auditor.items("/v1/sessions", person=stranger.person.id) == []
    sessions = await auditor.ids("/v1/sessions")
    assert sessions == [auditor.session_id]


async def test_accesses_of_a_learner_name_who_saw_what_by_which_clause(world: World) -> None:
    """AC-USE-1, BR-3: reads, refusals, lists that showed the learner, and questions about them."""
    analyst, student = await world.analyst(), world.id()
    manager = await world.staff("asp_case_manager", await world.organisation("asp"))
    read = await world.saw(manager, student)
    denied = await world.saw(manager, student, outcome=Outcome.DENIED)
    listed = await world.saw(manager, action="list", students=(world.id(), student))
    await world.saw(manager, action="list", students=(world.id(),))
    accesses = await analyst.items(f"/v1/students/{student}/accesses")
    assert [event["id"] for event in accesses] == [str(listed), str(denied), str(read)]
    assert accesses[2]["grounds"][0]["clause"] == "AC-SEE-12"
    assert accesses[1]["outcome"] == "denied"
    again = await analyst.items(f"/v1/students/{student}/accesses")
    assert again[0]["type"] == "audit.read"
    assert again[0]["shown"] == {"events": [event["id"] for event in accesses]}


async def test_session_that_ended_asks_nothing_more(world: World) -> None:
    """SG-3: a request after the end of a session is acknowledged is refused at once."""
    analyst = await world.analyst()
    assert (await analyst.ask("/v1/events")).status_code == 200
    await world.end(analyst.person, analyst.session_id)
    response = await analyst.ask("/v1/events")
    assert response.status_code == 401
    assert response.json()["code"] == "unauthenticated"


async def test_role_that_was_revoked_asks_nothing_more(world: World) -> None:
    """SG-3: access ends the moment somebody leaves or changes role."""
    analyst = await world.analyst()
    assert (await analyst.ask("/v1/alerts")).status_code == 200
    await world.revoke(analyst.person)
    assert (await analyst.ask("/v1/alerts")).status_code == 404


@pytest.mark.parametrize("path", PATHS)
async def test_without_a_token_nothing_is_said_even_of_a_malformed_question(
    world: World, path: str
) -> None:
    """Contract: 401 comes before 422."""
    response = await world.client.get(path.format(id="not-an-id"), params={"limit": "x"})
    assert response.status_code == 401


MALFORMED: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("GET", "/v1/events", {"params": {"limit": "x"}}),
    ("GET", "/v1/events", {"params": {"cursor": "of another question"}}),
    ("GET", "/v1/events/not-an-id", {}),
    ("GET", "/v1/sessions", {"headers": {"purpose": "curiosity"}}),
    ("POST", f"/v1/alerts/{UUID(int=1)}/resolve", {"json": {"verdict": "guilty"}}),
    ("POST", f"/v1/alerts/{UUID(int=1)}/resolve", {"headers": {"idempotency-key": "a b"}}),
)


@pytest.mark.parametrize("gone", ["ended", "suspended"])
async def test_who_is_not_let_in_any_more_is_not_told_what_is_malformed(
    world: World, gone: str
) -> None:
    """Contract: 401 comes before 422, also when the token is good but the session is over."""
    analyst = await world.analyst()
    person = analyst.person

    async def answers() -> set[int]:
        sent = [
            await world.client.request(
                method, path, **{**more, "headers": analyst.headers | more.get("headers", {})}
            )
            for method, path, more in MALFORMED
        ]
        return {response.status_code for response in sent}

    assert await answers() == {422}
    if gone == "ended":
        await world.end(person, analyst.session_id)
    else:
        suspended = authz.PersonSuspended(person_id=person.id, reason="sealed")
        touched = (authz.person_key(person.id),)
        stream = f"person:{person.id}"
        await world.fact(authz.PERSON_SUSPENDED, stream, 3, suspended, touches=touched)
    assert await answers() == {401}
    assert set(world.audit.refusals._windows) == {(e.UNAUTHENTICATED, "127.0.0.1")}
    (window,) = world.audit.refusals._windows.values()
    assert window.count == len(MALFORMED)


async def test_sessions_say_when_whence_and_how_they_ended(world: World) -> None:
    """AC-USE-1: address, kind of device, when and for how long logged in."""
    analyst = await world.analyst()
    person = await world.staff("school_office", await world.organisation("school"))
    now = world.clock.now()
    ended = await world.begin(person, at=now)
    world.clock.advance(world.clock.now() - now)
    await world.end(person, ended)
    lapsed = await world.begin(person, at=now.replace(year=now.year - 1))
    live = await world.begin(person, at=now)
    sessions = {s["id"]: s for s in await analyst.items("/v1/sessions", person=person.id)}
    assert sessions[str(live)]["live"] is True
    assert sessions[str(live)]["ended_at"] is None
    assert sessions[str(live)]["ip"] == "203.0.113.7"
    assert sessions[str(live)]["device"] == "Firefox on Linux"
    assert sessions[str(ended)]["live"] is False
    assert sessions[str(ended)]["end_reason"] == "logout"
    assert sessions[str(lapsed)]["end_reason"] == "idle"
    assert sessions[str(lapsed)]["duration_s"] == 1800
    assert len(await analyst.ids("/v1/events", type_=SESSION_ENDED)) == 1
