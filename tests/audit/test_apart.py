"""An auditor with posts at two organisations: each is told of a look with its own rows (0003, 36).

Whose look it was, both know; what of the other organisation it showed, and by which post there,
neither does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

import pytest

from services.audit import events as e
from services.authz.events import Role
from services.cases import events as cases
from services.kernel.events import Event, Outcome, decode
from tests.audit.given import AT_NIGHT, TUESDAY_MORNING, Answer, Caller, Staff, World
from tests.audit.test_actors import also, did
from tests.audit.test_alerts import alerts_of, settled


@dataclass(frozen=True)
class Place:
    """An organisation with an auditor of its own, and what ``both`` of the two is there."""

    id: UUID
    auditor: Caller
    #: the assignment here of the auditor of both
    post: UUID


@dataclass(frozen=True)
class Two:
    """Two organisations, and somebody who audits both."""

    world: World
    both: Caller
    here: Place
    there: Place

    async def asked(self, path: str, **filters: object) -> tuple[Answer, dict[UUID, Event]]:
        """Let the auditor of both ask; return the answer, and what each organisation is told."""
        before = await looks(self.world)
        answer = await self.both.ask(path, **filters)
        assert answer.status_code == 200, answer.text
        return answer.json(), by_place((await looks(self.world))[len(before) :])

    async def refused(self, path: str, body: object | None = None) -> dict[UUID, Event]:
        """Let the auditor of both ask or tell in vain; return what each organisation is told."""
        before = await looks(self.world)
        answer = await (self.both.tell(path, body) if body else self.both.ask(path))
        assert answer.status_code >= 400, answer.text
        return by_place((await looks(self.world))[len(before) :])


async def looks(world: World) -> list[Event]:
    """Return every event of audit's so far."""
    rows = await world.audit.runtime.pool.fetch(
        "select position, body from log.event where type like 'audit.%' order by position"
    )
    return [decode(row["position"], row["body"]).event for row in rows]


def by_place(events: Sequence[Event]) -> dict[UUID, Event]:
    """Return events by whom they are told to: each to one organisation, and to each but one."""
    told = {o: event for event in events for o in [event.organisation_id] if o is not None}
    assert len(told) == len(events)
    assert all(event.actor.organisation_id == place for place, event in told.items())
    return told


async def auditing(world: World, kind: str, other_kind: str) -> Two:
    here, there = await world.organisation(kind), await world.organisation(other_kind)
    both = await world.caller("security_analyst", here)
    post = await also(world, replace(both.person, role=Role.PRIVACY_OFFICER), there)
    one, other = [await world.caller("security_analyst", place) for place in (here, there)]
    return Two(
        world,
        both,
        Place(here, one, both.person.assignment_id),
        Place(there, other, post.assignment_id),
    )


@pytest.fixture
async def two(world: World) -> Two:
    """Let somebody audit a school and a provider."""
    return await auditing(world, "school", "asp")


@pytest.fixture
async def central(world: World) -> Two:
    """Let somebody audit a school (``here``) and, at the Ministry, everything."""
    return await auditing(world, "school", "ministry")


async def working(two: Two) -> tuple[Staff, Staff]:
    """Return somebody who works at both organisations, as each of them has them."""
    person = await two.world.staff("school_office", two.here.id)
    return person, await also(two.world, person, two.there.id)


Own = Mapping[UUID, UUID]


async def both_saw(two: Two, student: UUID | None = None) -> tuple[Staff, Own]:
    """Let somebody who works at both see a learner for each; return the events by organisation."""
    near, far = await working(two)
    return near, {p.organisation_id: await two.world.saw(p, student) for p in (near, far)}


async def each_is_told_its_own(
    two: Two, kind: str, own: Own, path: str, **filters: object
) -> dict[UUID, Event]:
    """Let the auditor of both ask for what is ``own`` to each; return what each is told."""
    answer, told = await two.asked(path, **filters)
    assert {UUID(item["id"]) for item in answer["items"]} == set(own.values())
    assert {o: look.shown for o, look in told.items()} == {
        o: {kind: [str(id_)]} for o, id_ in own.items()
    }
    assert [(o, {g.assignment_id for g in look.grounds}) for o, look in told.items()] == [
        (place.id, {place.post}) for place in (two.here, two.there)
    ]
    return told


async def test_events_are_told_to_each_with_its_own_and_by_its_own_post(two: Two) -> None:
    """AC-USE-1, SG-12, DP-5: in a list, by learner and by person, who both have."""
    student = two.world.id()
    person, own = await both_saw(two, student)
    await each_is_told_its_own(two, "events", own, f"/v1/people/{person.id}/activity")
    await each_is_told_its_own(two, "events", own, "/v1/events", type_=cases.READ)
    told = await each_is_told_its_own(two, "events", own, f"/v1/students/{student}/accesses")
    assert {event.student_id for event in told.values()} == {student}


async def test_sessions_and_alerts_are_told_to_each_with_its_own(two: Two) -> None:
    """AC-USE-1, SG-10."""
    near, far = await working(two)
    begun = {p.organisation_id: await two.world.begin(p) for p in (near, far)}
    await each_is_told_its_own(two, "sessions", begun, "/v1/sessions", person=near.id)
    for place in (two.here, two.there):
        await two.world.begin(await two.world.staff("school_office", place.id), at=AT_NIGHT)
    await settled(two.world)
    alerts = {p.id: (await p.auditor.ids("/v1/alerts"))[0] for p in (two.here, two.there)}
    await each_is_told_its_own(two, "alerts", alerts, "/v1/alerts")


async def test_what_one_organisation_has_is_told_to_that_one_alone(two: Two) -> None:
    """DP-5: neither ids, nor who and what was asked about, nor that anybody asked."""
    world, student, case = two.world, two.world.id(), two.world.id()
    person = await world.staff("asp_case_manager", two.there.id)
    seen = await world.saw(person, student, case_id=case)
    session = await world.begin(person, at=AT_NIGHT)
    (alert,) = await alerts_of(world, two.there.auditor)
    for path, filters in (
        (f"/v1/events/{seen}", {}),
        ("/v1/events", {"object_": case}),
        ("/v1/events", {"student": student}),
        (f"/v1/students/{student}/accesses", {}),
        (f"/v1/people/{person.id}/activity", {}),
        ("/v1/sessions", {"person": person.id}),
        ("/v1/alerts", {"person": person.id}),
        (f"/v1/alerts/{alert['id']}", {}),
    ):
        _, told = await two.asked(path, **filters)
        assert told.keys() == {two.there.id}, path
        assert [g.assignment_id for g in told[two.there.id].grounds] == [two.there.post], path
    near = (await two.here.auditor.ask("/v1/events", limit=200)).text
    of_there = (seen, student, case, person.id, session, alert["id"], two.there.post)
    assert [id_ for id_ in of_there if str(id_) in near] == []


async def test_who_acted_is_told_to_whom_they_acted_for_alone(two: Two) -> None:
    """SG-8: what was done to an organisation is not found there by who did it."""
    manager = await two.world.caller("asp_case_manager", two.there.id)
    await did(two.world, manager, two.here.id)
    _, told = await two.asked("/v1/events", actor=manager.person.id, type_=cases.READ)
    assert told.keys() == {two.there.id}
    _, told = await two.asked("/v1/events", object_=two.here.id, type_=cases.READ)
    assert told.keys() == {two.here.id, two.there.id}


async def test_activity_is_told_to_organisations_that_know_the_person_alone(two: Two) -> None:
    """DP-5: somebody who only failed to log in for an organisation never worked there."""
    person = await two.world.staff("asp_case_manager", two.there.id)
    await two.world.failed_login(replace(person, organisation_id=two.here.id), TUESDAY_MORNING)
    seen = await two.world.saw(person)
    answer, told = await two.asked(f"/v1/people/{person.id}/activity")
    assert [item["id"] for item in answer["items"]] == [str(seen)]
    assert told.keys() == {two.there.id}


async def test_look_in_vain_is_told_once_and_of_the_learner_at_the_ministry_alone(
    two: Two,
) -> None:
    """Nobody saw the learner (0003, 39): whose auditor looked is told what they typed."""
    ministry, student = await two.world.analyst(), two.world.id()
    answer, told = await two.asked(f"/v1/students/{student}/accesses")
    assert answer["items"] == []
    assert {o: look.shown for o, look in told.items()} == {two.here.id: {}}
    (own,) = await two.here.auditor.items("/v1/events", object_=f"student:{student}")
    assert own["student_id"] is None
    (whole,) = await ministry.items(f"/v1/students/{student}/accesses")
    assert (whole["id"], whole["student_id"]) == (own["id"], str(student))
    assert await two.here.auditor.items(f"/v1/students/{student}/accesses") == []


async def test_what_the_ministry_and_an_own_post_show_is_told_to_both(central: Two) -> None:
    """DP-5: the own organisation of its own, the Ministry of everything."""
    world, student = central.world, central.world.id()
    person = await world.staff("school_office", central.here.id)
    own = await world.saw(person, student)
    refused = await world.saw(person, student, outcome=Outcome.DENIED)
    far = await world.saw(
        await world.staff("asp_case_manager", await world.organisation()), student
    )
    answer, told = await central.asked(f"/v1/students/{student}/accesses")
    everything = [str(far), str(refused), str(own)]
    assert [item["id"] for item in answer["items"]] == everything
    assert {o: look.shown["events"] for o, look in told.items()} == {
        central.there.id: everything,
        central.here.id: [str(own)],
    }
    _, told = await central.asked("/v1/events", type_=cases.REFUSED)
    assert told.keys() == {central.there.id, central.here.id}
    _, told = await central.asked(f"/v1/events/{far}")
    assert told.keys() == {central.there.id}
    assert (await central.refused(f"/v1/events/{world.id()}")).keys() == {central.there.id}


async def test_refusal_is_told_to_the_first_and_about_an_alert_to_whose_it_is(two: Two) -> None:
    """SG-8 (0003, 36): 404 of what is not seen, 403 and 409 of an alert that one post shows."""
    world = two.world
    assert (await two.refused(f"/v1/events/{world.id()}")).keys() == {two.here.id}
    await world.begin(await world.staff("asp_case_manager", two.there.id), at=AT_NIGHT)
    (alert,) = await alerts_of(world, two.there.auditor)
    path, verdict = f"/v1/alerts/{alert['id']}/resolve", {"verdict": "benign"}
    assert (await two.there.auditor.tell(path, verdict)).status_code == 200
    assert (await two.refused(path, verdict)).keys() == {two.there.id}
    there = replace(two.both.person, organisation_id=two.there.id)
    await world.begin(there, at=AT_NIGHT)
    (own, _) = await alerts_of(world, two.there.auditor)
    assert (await two.refused(f"/v1/alerts/{own['id']}/resolve", verdict)).keys() == {two.there.id}
    near = (await two.here.auditor.ask("/v1/events", type_="audit.refused")).text
    assert [id_ for id_ in (alert["id"], own["id"]) if id_ in near] == []


async def judged(two: Two) -> list[Event]:
    """Let the auditor of both judge an alert of the first, twice under one key."""
    await two.world.begin(await two.world.staff("school_office", two.here.id), at=AT_NIGHT)
    (alert,) = await alerts_of(two.world, two.here.auditor)
    before = len(await looks(two.world))
    path, note = f"/v1/alerts/{alert['id']}/resolve", {"verdict": "benign", "note": "Rang them"}
    for _ in range(2):
        answer = await two.both.tell(path, note, key="k")
        assert answer.status_code == 200, answer.text
        assert answer.json()["resolution"]["note"] == "Rang them"
    return (await looks(two.world))[before:]


async def test_alert_is_judged_by_the_post_at_its_organisation(two: Two) -> None:
    """SG-10: the post elsewhere is named neither by the judgement nor by its repeat."""
    events = await judged(two)
    assert [event.type for event in events] == [e.ALERT_RESOLVED, e.READ]
    for event in events:
        assert by_place([event]).keys() == {two.here.id}
        assert [g.assignment_id for g in event.grounds] == [two.here.post]


async def test_who_is_at_the_ministry_too_judges_an_own_alert_by_the_own_post(
    central: Two,
) -> None:
    """SG-10: colleagues read who judged it; that the Ministry's post showed it, the Ministry."""
    fact, *reads = await judged(central)
    assert fact.type == e.ALERT_RESOLVED
    assert by_place([fact]).keys() == {central.here.id}
    assert [g.assignment_id for g in fact.grounds] == [central.here.post]
    assert [(r.type, r.organisation_id) for r in reads] == [
        (e.READ, central.there.id),
        (e.READ, central.there.id),
        (e.READ, central.here.id),
    ]
    assert {r.actor.organisation_id for r in reads[:2]} == {central.there.id}
    (read,) = await central.here.auditor.items("/v1/alerts")
    assert read["resolution"]["resolved_by"] == str(central.both.person.id)


async def test_alert_leads_to_the_evidence_of_its_own_organisation(two: Two) -> None:
    """SG-10 (0003, 3): as its own readers see it; nothing of it is shown and told to nobody."""
    near, far = await working(two)
    for second, place in enumerate((far, far, far, near, near, near)):
        await two.world.failed_login(place, TUESDAY_MORNING + timedelta(seconds=second))
    (alert,) = await alerts_of(two.world, two.here.auditor)
    path = f"/v1/alerts/{alert['id']}"
    own = (await two.here.auditor.ask(path)).json()
    answer, told = await two.asked(path)
    assert answer == own
    assert {o: look.shown["events"] for o, look in told.items()} == {
        two.here.id: [event["id"] for event in own["evidence"]]
    }
    assert len(own["evidence"]) in range(1, 4)
