"""Whoever works at two organisations is audited by each for what they saw there (AC-USE-1)."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

import pytest

from services.authz.events import Role
from services.cases import outline
from services.kernel.events import Event
from tests.cases.world import Region, Staff

ANY: Final = {"if_match": "*"}
NOTE: Final = {"kind": "note", "text": "Rang at nine."}


async def one_case_at_each(region: Region) -> tuple[Staff, UUID, UUID]:
    """Return a lead of both providers, and a case of each."""
    both = await region.world.also(region.lead, Role.ASP_WORKFLOW_LEAD, region.other_asp)
    here = await region.case()
    there = await region.world.case(
        region.other_leader,
        region.other_student,
        region.team,
        region.other_lead,
        region.other_manager,
    )
    return both, here, there


async def told(region: Region, who: Staff, path: str) -> list[Event]:
    """Return the events of reading ``path``."""
    before = len(await region.world.events())
    assert (await region.world.get(who, path)).status_code == 200
    return [recorded.event for recorded in (await region.world.events())[before:]]


def ids_in(event: Event) -> set[str]:
    return {one for ids in event.shown.values() for one in ids}


def held_at(who: Staff, events: Sequence[Event]) -> list[set[UUID]]:
    assert {event.actor.person_id for event in events} == {who.id}
    return [{ground.assignment_id for ground in event.grounds} for event in events]


async def test_a_list_is_told_to_each_organisation_for_its_own_records(region: Region) -> None:
    """AC-USE-1: who saw this learner is known where they were seen for, and nowhere else."""
    both, here, there = await one_case_at_each(region)
    events = await told(region, both, "/v1/cases")
    by_organisation = {event.actor.organisation_id: event for event in events}
    assert by_organisation.keys() == {region.asp, region.other_asp}
    for organisation, own, student in (
        (region.asp, here, region.student),
        (region.other_asp, there, region.other_student),
    ):
        event = by_organisation[organisation]
        assert ids_in(event) & {str(here), str(there)} == {str(own)}
        assert event.data["students"] == [str(student)]
    grounds = held_at(both, events)
    assert all(grounds)
    assert not grounds[0] & grounds[1]
    assert len({event.origin.request_id for event in events}) == 1


async def test_a_record_is_told_to_the_organisation_that_shows_it(region: Region) -> None:
    both, here, there = await one_case_at_each(region)
    for case, organisation in ((here, region.asp), (there, region.other_asp)):
        for path in (f"/v1/cases/{case}", f"/v1/cases/{case}/why?part=overview"):
            (event,) = await told(region, both, path)
            assert event.actor.organisation_id == organisation


async def test_what_is_refused_on_a_visible_record_is_told_to_whoever_shows_it(
    region: Region,
) -> None:
    """SG-8: 412 and 403 belong to the organisation for which the record was seen."""
    both, _, there = await one_case_at_each(region)
    path, reason = f"/v1/cases/{there}", {"reason": "Opened in error."}
    stale = await region.world.send(both, "DELETE", path, reason, if_match='"stale"')
    moved = await region.world.send(
        both, "POST", f"{path}/move", {"organisation_id": str(region.asp)}
    )
    events = [recorded.event for recorded in (await region.world.events())[-2:]]
    assert (stale.status_code, moved.status_code) == (412, 403)
    assert {event.actor.organisation_id for event in events} == {region.other_asp}


async def test_a_learner_and_a_search_are_told_to_each_school(region: Region) -> None:
    """AC-SEE-23: a leader of two schools looks learners up at each of them."""
    both = await region.world.also(region.leader, Role.SCHOOL_LEADER, region.other_school)
    for student, school in (
        (region.student, region.school),
        (region.other_student, region.other_school),
    ):
        (event,) = await told(region, both, f"/v1/students/{student}")
        assert event.actor.organisation_id == school
    await region.world.student(region.other_school, "Mārama", "Heke")
    before = len(await region.world.events())
    found = await region.world.send(both, "POST", "/v1/students/search", {"query": "Mārama"})
    events = [recorded.event for recorded in (await region.world.events())[before:]]
    shown = {item["student_id"] for item in found.json()["items"]}
    assert shown == {one for event in events for one in ids_in(event)}
    assert len(shown) == 2
    assert {event.actor.organisation_id for event in events} == {region.school, region.other_school}
    assert not ids_in(events[0]) & ids_in(events[1])


async def test_things_of_a_record_are_told_to_whom_they_rest_on(region: Region) -> None:
    """One record may be seen through two organisations at once, part by part, thing by thing."""
    both = await region.world.also(region.leader, Role.ASP_WORKFLOW_LEAD, region.asp)
    case = await region.case()
    events = await told(region, both, f"/v1/cases/{case}")
    assert [event.actor.organisation_id for event in events] == [region.school, region.asp]
    school, provider = events
    assert "items" in school.shown or "contacts" in school.shown
    assert "family" in provider.shown
    assert "family" not in school.shown
    assert {ground.role for ground in school.grounds} == {Role.SCHOOL_LEADER}
    assert {ground.role for ground in provider.grounds} == {Role.ASP_WORKFLOW_LEAD}


async def test_what_two_posts_show_is_told_to_both_and_no_more_than_they_show(
    region: Region,
) -> None:
    """AC-USE-1: neither organisation misses the look, nor learns what only the other shows."""
    both = await region.world.also(region.leader, Role.ASP_WORKFLOW_LEAD, region.asp)
    case = await region.case()
    path = f"/v1/cases/{case}"
    note = await region.world.must(region.lead, "POST", f"{path}/items", NOTE)
    school, provider = await told(region, both, path)
    for event in (school, provider):
        assert event.shown["overview"] == [str(case)]
        assert str(region.manager.id) in event.shown["contacts"]
    assert provider.shown["items"] == [note["id"]]
    assert str(region.lead.id) in provider.shown["contacts"]
    assert str(region.lead.id) not in school.shown["contacts"]
    assert note["id"] not in ids_in(school)
    for part in ("overview", "overview,plan"):
        events = await told(region, both, f"{path}?parts={part}")
        assert [e.actor.organisation_id for e in events] == [region.school, region.asp]
    (only,) = await told(region, both, f"{path}?parts=family")
    assert only.actor.organisation_id == region.asp
    listed = await told(region, both, "/v1/cases")
    assert all(str(case) in event.shown["overview"] for event in listed)
    (item,) = await told(region, both, f"{path}/items/{note['id']}")
    assert item.actor.organisation_id == region.asp


async def test_a_refusal_is_told_to_whoever_lets_one_try(region: Region) -> None:
    """SG-8: a conflict met as a provider's lead is the provider's to know, not the school's."""
    both = await region.world.also(region.leader, Role.ASP_WORKFLOW_LEAD, region.asp)
    case = await region.case()
    same = {"person_id": str(region.manager.id)}
    refused = await region.world.send(both, "POST", f"/v1/cases/{case}/assign", same)
    assert refused.status_code == 409
    assert (await region.world.newest()).actor.organisation_id == region.asp


async def test_a_learner_is_told_to_each_organisation_whose_posts_show_them(
    region: Region,
) -> None:
    """AC-USE-1: neither misses the look because the other's post came first."""
    both = await region.world.also(region.leader, Role.ASP_WORKFLOW_LEAD, region.asp)
    await region.case()
    school, provider = await told(region, both, f"/v1/students/{region.student}")
    assert (school.actor.organisation_id, provider.actor.organisation_id) == (
        region.school,
        region.asp,
    )
    assert provider.shown.keys() == {"student_basic", "demographics", "family"}
    assert school.shown.keys() == {"student_basic", "demographics"}


async def test_a_refusal_about_an_item_is_told_to_whoever_shows_the_item(region: Region) -> None:
    """SG-8: a school is not told what its leader tried with a note that only the provider shows."""
    both = await region.world.also(region.leader, Role.ASP_WORKFLOW_LEAD, region.asp)
    path = f"/v1/cases/{await region.case()}/items"
    note = (await region.world.must(region.manager, "POST", path, NOTE))["id"]
    steps = (("GET", f"{path}/{note}/content", None), ("DELETE", f"{path}/{note}", {"reason": "x"}))
    for method, one, body in steps:
        answer = await region.world.send(both, method, one, body, **ANY)
        assert answer.status_code in (403, 404)
        assert (await region.world.newest()).actor.organisation_id == region.asp


async def test_all_that_one_change_asks_is_decided_in_one_post(region: Region) -> None:
    """0003 (3): who may comment as the school's shares and labels as the provider's alone."""
    both = await region.world.also(region.leader, Role.ASP_WORKFLOW_LEAD, region.asp)
    path = f"/v1/cases/{await region.case()}/items"
    plain = {"kind": "comment", "text": "Rang at nine."}
    await region.world.must(both, "POST", path, plain)
    assert (await region.world.newest()).actor.organisation_id == region.school
    shared = {**plain, "shared_with_school": True, "labels": ["health"], "summary": "Allergies."}
    await region.world.must(both, "POST", path, shared)
    event = await region.world.newest()
    assert event.actor.organisation_id == region.asp
    assert {(g.assignment_id, g.clause) for g in event.grounds} == {(both.assignment_id, "AC-DO-5")}
    assert event.data["author"]["assignment_id"] == str(both.assignment_id)
    assert event.data["labelled_by"] == str(both.assignment_id)


async def test_a_document_is_told_only_to_who_shows_more_than_its_summary(region: Region) -> None:
    """AC-USE-1: by the school's post alone there is no content (404)."""
    both = await region.world.also(region.leader, Role.ASP_WORKFLOW_LEAD, region.asp)
    path = f"/v1/cases/{await region.case()}/items"
    document = {
        "kind": "document",
        "text": "Letter.",
        "labels": ["health"],
        "summary": "Allergies.",
        "shared_with_school": True,
    }
    item = (await region.world.must(region.manager, "POST", path, document))["id"]
    (content,) = await told(region, both, f"{path}/{item}/content")
    assert content.actor.organisation_id == region.asp
    school, provider = await told(region, both, f"{path}/{item}")
    assert {school.actor.organisation_id, provider.actor.organisation_id} == {
        region.school,
        region.asp,
    }


async def test_a_look_for_learners_in_vain_is_told_to_whose_post_lets_one_look(
    region: Region,
) -> None:
    """A provider's post comes first, and lets nobody search or draft."""
    world = region.world
    both = await world.also(region.manager, Role.SCHOOL_LEADER, region.school)
    await world.must(both, "POST", "/v1/students/search", {"query": "Nobody"})
    assert (await world.newest()).actor.organisation_id == region.school
    unknown = {"student_id": str(world.id()), "reason": "Away."}
    assert (await world.send(both, "POST", "/v1/requests", unknown)).status_code == 404
    assert (await world.newest()).actor.organisation_id == region.school


async def test_a_draft_refused_about_a_learner_is_told_to_whoever_shows_the_learner(
    region: Region,
) -> None:
    """SG-8: a leader elsewhere knows the learner by their provider's case alone."""
    both = await region.world.also(region.other_leader, Role.ASP_WORKFLOW_LEAD, region.asp)
    await region.case()
    draft = {"student_id": str(region.student), "reason": "Away."}
    assert (await region.world.send(both, "POST", "/v1/requests", draft)).status_code == 403
    event = await region.world.newest()
    assert (event.actor.organisation_id, event.student_id) == (region.asp, region.student)


async def test_a_read_that_shows_more_than_an_event_names_is_told_in_several(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AC-USE-1: no record grows so large that it cannot be read."""
    path = f"/v1/cases/{await region.case()}"
    for _ in range(4):
        await region.world.must(region.manager, "POST", f"{path}/items", NOTE)
    (whole,) = await told(region, region.lead, path)
    monkeypatch.setattr(outline, "MOST_NAMED", 3)
    several = await told(region, region.lead, path)
    assert len(several) > 2
    for event in several:
        assert 0 < sum(map(len, event.shown.values())) <= 3
        assert {part for ground in event.grounds for part in ground.parts} == set(event.shown)
    joined: dict[str, list[str]] = {}
    for event in several:
        for part, ids in event.shown.items():
            joined.setdefault(part, []).extend(ids)
    assert joined == {part: list(ids) for part, ids in whole.shown.items()}
