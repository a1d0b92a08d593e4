"""One's own activity: whole, one's own only, and without ids of records (AC-SEE-22, AC-USE-1)."""

from typing import Any
from uuid import UUID

import pytest

from services.audit import events as audit
from services.authz import events as e
from services.authz.activity_views import OwnEvent, own_event
from services.authz.session_events import (
    LOGIN_FAILED,
    PASSWORD_ACCEPTED,
    SESSION_ENDED,
    SESSION_STARTED,
)
from services.cases import events as cases
from services.cases.content_events import ITEM_ADDED
from services.kernel.event_types import UnknownEvent
from services.kernel.events import Actor, Event, Ground, ObjectRef, Origin, Outcome, Service
from services.kernel.groups import Group
from services.kernel.http import Call
from services.kernel.log import Log
from services.kernel.origins import Origins, Place
from tests.authz.door import ELSEWHERE, HOME, Door, Somebody
from tests.conftest import Clock, Connect, Pools
from tests.emptied import emptied, emptied_after

PATH = "/v1/me/activity"


async def _token(door: Door, somebody: Somebody, ip: str = HOME) -> str:
    return str((await door.log_in(somebody, ip))["access_token"])


async def _items(door: Door, token: str, query: str = "?limit=200") -> list[dict[str, Any]]:
    answer = await door.get(PATH + query, token)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def _elsewhere(pools: Pools, service: Service, *events: Event) -> None:
    """Append what another service would."""
    log = Log(await pools(service), service)
    log.start()
    await log.append(Group(events))
    await log.stop()


async def _did(door: Door, somebody: Somebody, type_: str, **more: Any) -> Event:  # noqa: ANN401
    """Return an event of somebody's in another service, about a learner's case."""
    runtime = door.authz.runtime
    event_id, case_id = runtime.effects.new_id(), str(runtime.effects.new_id())
    origins = Origins(runtime.keys, runtime.effects)
    event = Event(
        id=event_id,
        type=type_,
        recorded_at=door.clock.now(),
        actor=Actor(person_id=somebody.id, organisation_id=somebody.organisation_id),
        origin=await origins.seal(event_id, Call("r-9", ELSEWHERE, "curl/8"), None),
        action="read",
        grounds=(Ground(somebody.assignment_id, "school_leader", "AC-SEE-2", ("overview",)),),
        policy_version="p1",
        purpose="case_management",
        student_id=runtime.effects.new_id(),
        object=ObjectRef("case", case_id),
        organisation_id=somebody.organisation_id,
        shown={"overview": [case_id]},
        data={"students": [str(runtime.effects.new_id())]},
    )
    return Event(**{**{f: getattr(event, f) for f in Event.__struct_fields__}, **more})


async def test_activity_lists_own_logins_with_address_and_device(door: Door) -> None:
    """AC-SEE-22, AC-USE-1."""
    leader = await door.somebody()
    gone = await _token(door, leader, ELSEWHERE)
    await door.post("/v1/logout", {}, ELSEWHERE, gone)
    token = await _token(door, leader)

    items = await _items(door, token)

    assert [item["type"] for item in items] == [
        SESSION_STARTED,
        PASSWORD_ACCEPTED,
        SESSION_ENDED,
        SESSION_STARTED,
        PASSWORD_ACCEPTED,
    ]
    places = [HOME, HOME, ELSEWHERE, ELSEWHERE, ELSEWHERE]
    assert [item["origin"]["ip"] for item in items] == places
    assert items[0]["origin"]["device"] == "Firefox on Windows"
    assert items[2]["object"]["id"] == items[3]["object"]["id"]
    assert items[2]["object"]["type"] == "session"


async def test_what_one_did_in_every_service_is_shown_refusals_included(
    door: Door, pools: Pools
) -> None:
    """AC-SEE-22, AC-USE-1: each thing viewed, edited, deleted or refused."""
    leader = await door.somebody()
    token = await _token(door, leader)
    read = await _did(door, leader, cases.READ)
    refused = await _did(door, leader, cases.REFUSED, outcome=Outcome.DENIED, grounds=())
    edited = await _did(door, leader, ITEM_ADDED, stream="case:1", version=1, action="create")
    await _elsewhere(pools, Service.CASES, read, refused, edited)
    asked = await _did(door, leader, audit.REFUSED, outcome=Outcome.DENIED, grounds=())
    await _elsewhere(pools, Service.AUDIT, asked)
    await door.get("/v1/me", token)

    items = await _items(door, token)

    assert [item["type"] for item in items] == [
        e.READ,
        audit.REFUSED,
        ITEM_ADDED,
        cases.REFUSED,
        cases.READ,
        SESSION_STARTED,
        PASSWORD_ACCEPTED,
    ]
    assert [item["outcome"] for item in items[1:5]] == ["denied", "allowed", "denied", "allowed"]


async def test_an_event_is_shown_as_the_contract_has_it_less_its_position_and_ids(
    door: Door, pools: Pools
) -> None:
    """AC-SEE-22, contract: ids only of records they may still see, and authz cannot tell."""
    leader = await door.somebody()
    token = await _token(door, leader)
    read = await _did(door, leader, cases.READ)
    await _elsewhere(pools, Service.CASES, read)

    (item,) = (i for i in await _items(door, token) if i["type"] == cases.READ)

    assert item == {
        "id": str(read.id),
        "type": cases.READ,
        "occurred_at": item["occurred_at"],
        "effective_at": None,
        "actor": {
            "person_id": str(leader.id),
            "client_id": None,
            "organisation_id": str(leader.organisation_id),
        },
        "origin": {
            "ip": ELSEWHERE,
            "device": item["origin"]["device"],
            "user_agent": "curl/8",
            "request_id": "r-9",
            "session_id": None,
        },
        "action": "read",
        "outcome": "allowed",
        "grounds": [
            {
                "assignment_id": str(leader.assignment_id),
                "role": "school_leader",
                "clause": "AC-SEE-2",
                "parts": ["overview"],
            }
        ],
        "policy_version": "p1",
        "purpose": "case_management",
        "student_id": None,
        "object": {"type": "case", "id": None},
        "shown": {"overview": []},
    }


@pytest.mark.parametrize("type_", [cases.READ, audit.READ, e.READ, "other.read"])
def test_no_id_of_a_record_or_learner_is_left_whoever_wrote_the_event(type_: str) -> None:
    """AC-SEE-22: authz's own event about a record (a decision that was asked for) neither."""
    person, secret, school = UUID(int=1), UUID(int=7), UUID(int=3)
    event = Event(
        id=UUID(int=2),
        type=type_,
        recorded_at=Clock().now(),
        actor=Actor(person_id=person, organisation_id=school),
        student_id=secret,
        object=ObjectRef("case", str(secret)),
        shown={"items": [str(secret)]},
        data={"students": [str(secret)]},
    )

    shown = own_event(person, event, Place(), (school,))

    assert str(secret) not in shown.model_dump_json()
    assert (shown.object and shown.object.type, list(shown.shown)) == ("case", ["items"])


def test_events_about_accounts_and_staff_keep_their_ids() -> None:
    """AC-SEE-22: whom one gave access to is no record of a learner."""
    person, colleague, school = UUID(int=1), str(UUID(int=5)), UUID(int=3)
    event = Event(
        id=UUID(int=2),
        type=e.READ,
        recorded_at=Clock().now(),
        actor=Actor(person_id=person, organisation_id=school),
        object=ObjectRef("person", colleague),
        shown={"profile": [colleague]},
    )

    shown = own_event(person, event, Place(), (school,))

    assert shown.object is not None
    assert (shown.object.id, shown.shown) == (colleague, {"profile": [colleague]})


def _of_session(person_id: UUID, whose: UUID, session: UUID, school: UUID) -> Event:
    """Return the end that somebody made of a session."""
    return Event(
        id=UUID(int=2),
        type=SESSION_ENDED,
        recorded_at=Clock().now(),
        actor=Actor(person_id=person_id, organisation_id=school),
        origin=Origin(session_id=session),
        object=ObjectRef("session", str(session)),
        data={"person_id": str(whose)},
    )


def test_of_an_organisation_one_has_left_only_ones_own_session_is_named() -> None:
    """AC-SEE-22: ids only of what one may still see."""
    me, colleague, session, school = (UUID(int=n) for n in (1, 5, 9, 3))

    own = own_event(me, _of_session(me, me, session, school), Place(), ())
    theirs = own_event(me, _of_session(me, colleague, session, school), Place(), ())
    while_there = own_event(me, _of_session(me, colleague, session, school), Place(), (school,))

    assert own.object is not None
    assert own.object.id == str(own.origin.session_id) == str(session)
    assert str(session) not in theirs.model_dump_json()
    assert str(session) in while_there.model_dump_json()


def test_the_shape_is_the_contracts() -> None:
    """Contract: an event as the audit API shows it, less ``position``."""
    assert set(OwnEvent.model_fields) == {
        "id", "type", "occurred_at", "effective_at", "actor", "origin", "action", "outcome",
        "grounds", "policy_version", "purpose", "student_id", "object", "shown",
    }  # fmt: skip


async def test_asking_is_itself_activity(door: Door) -> None:
    """AC-USE-1: the question is in the next answer, and names what it showed."""
    leader = await door.somebody()
    token = await _token(door, leader)

    first, second = await _items(door, token), await _items(door, token)

    assert [item["type"] for item in first] == [SESSION_STARTED, PASSWORD_ACCEPTED]
    assert second[1:] == first
    assert (second[0]["type"], second[0]["action"]) == (e.READ, "list")
    assert second[0]["shown"] == {"activity": [item["id"] for item in first]}
    assert second[0]["grounds"][0]["clause"] == "AC-SEE-22"


async def test_activity_is_paged_without_gaps_and_cursors_are_bound_to_their_owner(
    door: Door,
) -> None:
    """Contract: cursors are sealed and bound to caller and filter."""
    leader, other = await door.somebody(), await door.somebody("hemi.walker", "Hemi", "Walker")
    for _ in range(3):
        await _token(door, leader)
    token, stranger = await _token(door, leader), await _token(door, other)
    whole = await _items(door, token)

    paged, cursor = [], ""
    for _ in range(10):
        page = (await door.get(f"{PATH}?limit=2{cursor}", token)).json()
        paged += page["items"]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    foreign = await door.get(f"{PATH}?limit=2{cursor}", stranger)

    assert paged[0]["action"] == "list"
    assert paged[1:] == whole
    assert foreign.status_code == 422


async def test_what_others_did_is_not_in_mine_not_even_to_me(door: Door, pools: Pools) -> None:
    """AC-SEE-22: one's own activity; who granted me a role, and from where, is theirs."""
    leader, other = await door.somebody(), await door.somebody("hemi.walker", "Hemi", "Walker")
    await _token(door, other, ELSEWHERE)
    await _elsewhere(pools, Service.CASES, await _did(door, other, cases.READ))
    token = await _token(door, leader)

    items = await _items(door, token)

    assert [item["type"] for item in items] == [SESSION_STARTED, PASSWORD_ACCEPTED]
    assert ELSEWHERE not in str(items)


async def test_failed_logins_in_ones_name_are_shown(door: Door) -> None:
    """SG-9: whoever it was tried to be me."""
    leader = await door.somebody()
    await door.post("/v1/login", {"username": leader.username, "password": "wrong" * 4}, ELSEWHERE)

    items = await _items(door, await _token(door, leader))

    assert [item["type"] for item in items[1:]] == [PASSWORD_ACCEPTED, LOGIN_FAILED]
    assert (items[2]["outcome"], items[2]["origin"]["ip"]) == ("failed", ELSEWHERE)


async def test_nothing_sealed_and_no_position_is_shown(door: Door, pools: Pools) -> None:
    """Contract: never content; SG-18."""
    leader = await door.somebody()
    token = await _token(door, leader)
    await _elsewhere(pools, Service.CASES, await _did(door, leader, cases.READ))

    text = (await door.get(PATH, token)).text

    assert not [word for word in ("position", "sealed", "digest", "students") if word in text]


async def test_types_that_authz_was_never_told_of_are_activity_too(
    door: Door, pools: Pools, connect: Connect
) -> None:
    """AC-SEE-22: a service that is newer than authz hides nobody's activity from them."""
    leader = await door.somebody()
    token = await _token(door, leader)
    owner = await connect(None)
    await owner.execute(
        "insert into log.event_type values ('cases.new', 'casewarden_cases', false)"
    )
    event = await _did(door, leader, "cases.new", schema=9)
    await _elsewhere(pools, Service.CASES, event)

    items = await _items(door, token)

    assert [item["type"] for item in items] == ["cases.new", SESSION_STARTED, PASSWORD_ACCEPTED]
    assert door.authz.follower.stopped is None


async def test_what_cannot_be_followed_is_503_and_decisions_go_on(door: Door) -> None:
    """Design: a fold that stops answers 503; facts never wait for observations."""
    leader = await door.somebody()
    token = await _token(door, leader)
    await door.authz.runtime.pool.execute(
        "update authz.projection set position = 10000 where name = 'authz.activity'"
    )
    with pytest.raises(UnknownEvent):
        await door.authz.follower.fold_once()

    answer = await door.get(PATH, token)

    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert (await door.get("/v1/me", token)).status_code == 200


async def test_while_it_is_folded_anew_elsewhere_it_is_503_and_never_incomplete(
    door: Door,
) -> None:
    """AC-SEE-22: ``casewarden rebuild`` empties rows that this process knew to be there."""
    token = await _token(door, await door.somebody())
    whole = await _items(door, token)
    follower = door.authz.follower
    await follower.stop()
    await follower.reached(await follower.head())
    async with emptied(door.authz.runtime.installation, follower):
        unfolded = await door.get(PATH, token)

    assert (unfolded.status_code, unfolded.json()["code"]) == (503, "unavailable")
    assert [item["id"] for item in await _items(door, token)][1:] == [item["id"] for item in whole]


async def test_rows_emptied_while_one_asks_are_503(door: Door) -> None:
    """AC-SEE-22: the position is read with the rows, so that no moment lies in between."""
    token = await _token(door, await door.somebody())
    follower = door.authz.follower
    async with emptied_after(follower, "caught_up", follower):
        answer = await door.get(PATH, token)

    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


async def test_decisions_do_not_rest_on_where_activity_is(door: Door) -> None:
    """Design: folding facts must not scan observations, nor wait for whoever does."""
    leader = await door.somebody()
    token = await _token(door, leader)
    await door.authz.follower.stop()
    await door.authz.runtime.pool.execute(
        "update authz.projection set position = -1 where name = 'authz.activity'"
    )

    tag = (await door.get("/v1/me", token)).headers["etag"]
    headers = {"authorization": f"Bearer {token}", "if-match": tag}
    answer = await door.at(HOME).patch("/v1/me", json={"phone": "1"}, headers=headers)

    assert answer.status_code == 200
