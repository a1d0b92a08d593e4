"""Outside the Ministry one learns what others did to one's own organisation, not who did it (SG-8).

Whoever acts for another organisation is that one's to know: of them the own organisation's auditors
are told for whom they acted, wherever the act is shown, and find nothing by anything else.
"""

from datetime import datetime, timedelta
from uuid import UUID

import msgspec
import pytest

from services.authz import events as authz
from services.authz.events import Role
from services.cases import events as cases
from services.kernel.events import Actor, Event, Ground, ObjectRef
from services.kernel.groups import Group
from services.kernel.http import Call
from tests.audit.given import AT_NIGHT, TUESDAY_MORNING, Answer, Caller, Staff, World
from tests.audit.test_alerts import alerts_of, settled

ELSEWHERE = "198.51.100.77"
MINUTE = timedelta(minutes=1)
NOWHERE = dict.fromkeys(("ip", "device", "user_agent", "request_id", "session_id"))


async def did(world: World, by: Caller, organisation: UUID, student: UUID | None = None) -> UUID:
    """Let somebody act upon what belongs to an organisation; return the event's id."""
    event_id, person = world.id(), by.person
    event = Event(
        id=event_id,
        type=cases.READ,
        recorded_at=world.clock.now(),
        actor=Actor(person_id=person.id, organisation_id=person.organisation_id),
        origin=await world.cases.origins.seal(
            event_id, Call("their-request", ELSEWHERE, "Theirs/1.0"), by.session_id
        ),
        action="read",
        grounds=(Ground(person.assignment_id, person.role.value, "AC-DO-16", ("overview",)),),
        student_id=student,
        object=ObjectRef("organisation", str(organisation)),
        organisation_id=organisation,
    )
    await world.cases.log.append(Group([event]))
    return event_id


async def also(world: World, person: Staff, organisation: UUID) -> Staff:
    """Give somebody an assignment at another organisation besides; return them there."""
    there = Staff(person.id, person.role, organisation, world.id())
    granted = authz.AssignmentGranted(
        assignment_id=there.assignment_id,
        person_id=there.id,
        role=there.role,
        organisation_id=organisation,
        starts_at=datetime.fromisoformat("2020-01-01T00:00Z"),
    )
    touched = (authz.person_key(there.id),)
    await world.fact(authz.ASSIGNMENT_GRANTED, f"person:{there.id}", 3, granted, touched)
    return there


def traces(*callers: Caller) -> tuple[str, ...]:
    """Return what would tell who acted, and from where."""
    ids = [(c.person.id, c.person.assignment_id, c.session_id) for c in callers]
    return (*(str(id_) for each in ids for id_ in each), ELSEWHERE, "their-request", "Theirs")


@pytest.mark.parametrize("role", [Role.SECURITY_ANALYST, Role.PRIVACY_OFFICER])
@pytest.mark.parametrize("kind", ["asp", "school"])
async def test_who_acted_for_another_organisation_is_told_by_its_name_alone(
    world: World, role: Role, kind: str
) -> None:
    """Domain: elsewhere than at the Ministry, their own; in every list, and one by one."""
    own, student = await world.organisation(kind), world.id()
    auditor = await world.caller(role, own)
    ministry = await world.analyst()
    event_id = await did(world, ministry, own, student)
    for path, filters in (
        (f"/v1/events/{event_id}", {}),
        ("/v1/events", {"type": cases.READ}),
        ("/v1/events", {"object": own}),
        (f"/v1/students/{student}/accesses", {}),
    ):
        answer = await auditor.ask(path, **filters)
        (event,) = answer.json().get("items", [answer.json()])
        assert event["id"] == str(event_id)
        acted_for = str(ministry.person.organisation_id)
        assert event["actor"] == {
            "person_id": None,
            "client_id": None,
            "organisation_id": acted_for,
        }
        assert (event["origin"], event["grounds"]) == (NOWHERE, [])
        assert event["student_id"] == str(student)
        assert not [trace for trace in traces(ministry) if trace in answer.text]
    whole = (await ministry.ask(f"/v1/events/{event_id}")).text
    assert [trace for trace in traces(ministry) if trace not in whole] == []


async def test_nothing_is_found_by_who_acted_for_another_organisation(world: World) -> None:
    """No oracle: an actor's id answers as one nobody has, also with every other filter."""
    own = await world.organisation("asp")
    auditor, ministry = await world.caller("security_analyst", own), await world.analyst()
    event_id = await did(world, ministry, own)
    for who in (ministry.person.id, world.id()):
        assert await auditor.items("/v1/events", actor=who) == []
        assert await auditor.items("/v1/events", actor=who, object_=own) == []
        assert (await auditor.ask(f"/v1/people/{who}/activity")).status_code == 404
        assert await auditor.items("/v1/sessions", person=who) == []
    assert await ministry.ids("/v1/events", actor=ministry.person.id, object_=own) == [event_id]


async def test_activity_of_own_staff_is_what_they_did_for_the_own_organisation(
    world: World,
) -> None:
    """Domain: their own mean the person in that assignment; who moves takes nothing along."""
    own, other = await world.organisation("asp"), await world.organisation("asp")
    auditor = await world.caller("security_analyst", own)
    here = await world.caller("asp_case_manager", own)
    there = Caller(world, await also(world, here.person, other), here.session_id, here.token)
    near, far = await did(world, here, own), await did(world, there, own)
    assert await auditor.ids(f"/v1/people/{here.person.id}/activity", limit=1) == [near]
    assert await auditor.ids("/v1/events", type_=cases.READ) == [far, near]


async def test_session_was_last_seen_when_it_was_for_the_own_organisation(world: World) -> None:
    """AC-USE-1: what somebody does meanwhile for another organisation is that one's to know."""
    own, other = await world.organisation("asp"), await world.organisation("asp")
    auditor, ministry = await world.caller("security_analyst", own), await world.analyst()
    person = await world.staff("asp_case_manager", own)
    there = await also(world, person, other)
    began = world.clock.now() - 50 * MINUTE
    session = await world.begin(person, at=began)
    await world.saw(person, session_id=session, at=began + MINUTE)
    await world.saw(there, session_id=session, at=began + 40 * MINUTE)

    async def seen(by: Caller) -> Answer:
        (shown,) = await by.items("/v1/sessions", person=person.id)
        assert shown["id"] == str(session)
        return shown

    near, whole = await seen(auditor), await seen(ministry)
    assert datetime.fromisoformat(near["last_seen_at"]) == began + MINUTE
    assert datetime.fromisoformat(whole["last_seen_at"]) == began + 40 * MINUTE
    assert (near["live"], whole["live"]) == (False, True)
    await world.saw(person, session_id=session, at=began + 41 * MINUTE)
    again = await seen(auditor)
    assert datetime.fromisoformat(again["last_seen_at"]) == began + 41 * MINUTE


async def test_session_of_who_has_left_moves_no_more_for_the_organisation_it_began_for(
    world: World,
) -> None:
    """AC-USE-1: how it ends is told to where its person works by then; its own end is, here."""
    own, other = await world.organisation("asp"), await world.organisation("asp")
    auditor, ministry = await world.caller("security_analyst", own), await world.analyst()
    person = await world.staff("asp_case_manager", own)
    there = await also(world, person, other)
    began = world.clock.now() - 10 * MINUTE
    stayed = await world.begin(person, at=began)
    session = await world.begin(person, at=began)
    await world.end(person, stayed)
    before = await auditor.items("/v1/sessions", person=person.id)
    await world.saw(there, session_id=session)
    await world.end(there, session)
    after = await auditor.items("/v1/sessions", person=person.id)
    (_, whole) = sorted(
        await ministry.items("/v1/sessions", person=person.id),
        key=lambda s: s["id"] == str(session),
    )
    assert after == before
    assert [(s["id"], s["end_reason"]) for s in after] == [
        (str(session), None),
        (str(stayed), "logout"),
    ]
    assert (whole["end_reason"], whole["live"]) == ("logout", False)


async def test_alert_names_nobody_of_another_organisation_to_its_own_readers(world: World) -> None:
    """SG-10: nor is it found by them; who judged it for others, and their words, are not told."""
    own = await world.organisation("school")
    auditor, ministry = await world.caller("security_analyst", own), await world.analyst()
    office = await world.staff("school_office", own)
    await world.reset(ministry.person, office, TUESDAY_MORNING)
    await world.begin(office, TUESDAY_MORNING + 10 * MINUTE)
    rule, admin = "account_reset_then_used", ministry.person.id
    (whole,) = await alerts_of(world, ministry, rule=rule, person=admin)
    assert whole["details"] == {"after": "reset", "minutes": 10, "logins": 1}
    (near,) = await auditor.items("/v1/alerts", rule=rule)
    assert (near["id"], near["person_id"]) == (whole["id"], None)
    assert near["details"] == {"after": "reset", "logins": 1}
    assert await auditor.items("/v1/alerts", person=admin) == []
    path = f"/v1/alerts/{near['id']}"
    answer = await auditor.ask(path)
    acts = answer.json()["evidence"]
    assert [act["actor"]["person_id"] for act in acts] == [None, str(office.id)]
    note = {"verdict": "benign", "note": "They rang us"}
    other = await world.analyst()
    assert (await other.tell(f"{path}/resolve", note)).status_code == 200
    resolved = (await auditor.ask(path)).json()["resolution"]
    assert (resolved["verdict"], resolved["note"], resolved["resolved_by"]) == (
        "benign",
        None,
        None,
    )
    told = (await ministry.ask(path)).json()["resolution"]
    assert (told["note"], told["resolved_by"]) == ("They rang us", str(other.person.id))


async def test_analyst_of_two_organisations_judges_for_the_one_whose_alert_it_is(
    world: World,
) -> None:
    """SG-10: colleagues there read who judged it, and the note."""
    first, second = await world.organisation("asp"), await world.organisation("asp")
    judge, colleague = [await world.caller("security_analyst", place) for place in (first, second)]
    await also(world, judge.person, second)
    await world.begin(await world.staff("asp_case_manager", second), at=AT_NIGHT)
    (alert,) = await alerts_of(world, colleague)
    path, note = f"/v1/alerts/{alert['id']}", {"verdict": "benign", "note": "n"}
    told = await judge.tell(f"{path}/resolve", note)
    assert told.status_code == 200, told.text
    read = (await colleague.ask(path)).json()["resolution"]
    assert read == told.json()["resolution"]
    assert (read["note"], read["resolved_by"]) == ("n", str(judge.person.id))


async def test_alert_counts_what_is_its_readers_own(world: World) -> None:
    """SG-10: details, evidence and how much of it was left out; the Ministry reads the whole."""
    own, other = await world.organisation("asp"), await world.organisation("asp")
    auditor, ministry = await world.caller("security_analyst", own), await world.analyst()
    person = await world.staff("asp_case_manager", own)
    there = await also(world, person, other)
    for second in range(58):
        await world.failed_login(there, TUESDAY_MORNING + timedelta(seconds=second))
    for second in range(58, 80):
        await world.failed_login(person, TUESDAY_MORNING + timedelta(seconds=second))
    await settled(world)

    async def read(by: Caller) -> tuple[Answer, int, int, str | None]:
        (alert,) = await by.items("/v1/alerts", rule="repeated_failures_account")
        shown = (await by.ask(f"/v1/alerts/{alert['id']}")).json()
        assert shown["details"] == alert["details"]
        evidence = len(shown["evidence"])
        return shown["details"], evidence, shown["evidence_more"], shown["person_id"]

    assert await read(ministry) == ({"failures": 80}, 50, 30, str(person.id))
    assert await read(auditor) == ({"failures": 22}, 0, 22, str(person.id))
    assert len(await auditor.items("/v1/alerts", person=person.id)) == 1


async def test_alert_of_before_own_counts_were_kept_tells_its_own_readers_none(
    world: World,
) -> None:
    """What an alert's organisation may be told was not said in it: then nothing is."""
    own = await world.organisation("asp")
    auditor, ministry = await world.caller("security_analyst", own), await world.analyst()
    person, alert_id = await world.staff("asp_case_manager", own), world.id()
    data = {
        "alert_id": alert_id,
        "key": "k",
        "told": 1,
        "rule": "repeated_failures_account",
        "severity": "medium",
        "title": "t",
        "person_id": person.id,
        "organisation_id": own,
        "occurred_at": TUESDAY_MORNING,
        "evidence": [],
        "evidence_more": 3,
        "details": {"failures": 9},
    }
    raised = Event(
        id=world.id(),
        type="audit.alert_raised",
        stream=f"alert:{alert_id}",
        version=1,
        recorded_at=TUESDAY_MORNING,
        organisation_id=own,
        data=msgspec.to_builtins(data),
    )
    await world.audit.runtime.log.append(Group([raised]))
    near, whole = [(await by.ask(f"/v1/alerts/{alert_id}")).json() for by in (auditor, ministry)]
    assert (near["person_id"], near["details"], near["evidence_more"]) == (None, {}, 0)
    assert (whole["person_id"], whole["evidence_more"]) == (str(person.id), 3)
    assert await auditor.items("/v1/alerts", person=person.id) == []


@pytest.mark.parametrize(
    ("actor", "status"),
    [
        ("01a20392-bfd5-7001-8e20-8c9045d07dd1", 200),
        ("student-information.wellington:1@school", 200),
        ("Mere Ngata", 422),
        ("_ngata", 422),
        ("c" * 101, 422),
        ("mere/ngata", 422),
    ],
)
async def test_actor_is_a_persons_id_or_has_the_form_of_a_clients(
    world: World, actor: str, status: int
) -> None:
    """Contract: 422 malformed; SG-18: what was typed is neither answered nor in the log."""
    analyst = await world.analyst()
    answer = await analyst.ask("/v1/events", actor=actor)
    assert answer.status_code == status
    assert status == 200 or actor not in answer.text
    bodies = await world.audit.runtime.pool.fetch("select body from log.event")
    person = status == 200 and "-7001-" in actor
    assert any(actor.encode() in row["body"] for row in bodies) is person
