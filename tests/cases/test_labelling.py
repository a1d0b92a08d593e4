"""SE: a label shuts a referral or a plan version to all but those a clause lets in."""

from uuid import UUID

from services.authz.events import OrganisationKind
from services.cases import events as e
from services.cases.content_events import REFERRAL_LABELLED
from services.kernel.sealing import Compartment
from tests.cases.world import Json, Region, Staff

PLAN: Json = {"goals": "Back by June.", "actions": "Lift to school.", "status": "agreed"}


async def parts(region: Region, who: Staff, path: str) -> Json:
    found: Json = (await region.world.get(who, path)).json()["parts"]
    return found


async def put_labels(region: Region, who: Staff, path: str, target: str, *labels: str) -> int:
    """Set labels under the version of the record as ``who`` sees it."""
    version = await region.world.version(who, path)
    body = {"labels": list(labels)}
    answer = await region.world.send(who, "PUT", f"{path}/{target}", body, If_Match=version)
    return answer.status_code


async def test_a_labelled_referral_is_shut_to_school_and_team_and_open_to_the_provider(
    region: Region,
) -> None:
    """SE with AC-SEE-1, 9, 12, 14."""
    path = f"/v1/cases/{await region.case()}"
    await region.world.must(
        region.manager, "POST", f"{path}/team", {"person_id": str(region.member.id)}
    )
    assert "referral" in await parts(region, region.leader, path)
    assert await put_labels(region, region.manager, path, "referral/labels", "health") == 200
    assert "referral" not in await parts(region, region.leader, path)
    assert "referral" not in await parts(region, region.member, path)
    for who in (region.manager, region.lead):
        assert (await parts(region, who, path))["referral"]["labels"] == ["health"]


async def test_a_label_seals_the_referral_anew_in_the_sensitive_compartment(
    region: Region,
) -> None:
    """SG-6."""
    path = f"/v1/cases/{await region.case()}"
    before = (await parts(region, region.lead, path))["referral"]["reason"]
    await put_labels(region, region.lead, path, "referral/labels", "criminal")
    event = await region.world.last(REFERRAL_LABELLED)
    assert event.data["referral"]["compartment"] == Compartment.SENSITIVE
    assert (await parts(region, region.lead, path))["referral"]["reason"] == before
    await put_labels(region, region.lead, path, "referral/labels")
    event = await region.world.last(REFERRAL_LABELLED)
    assert event.data["referral"]["compartment"] == Compartment.RECORD
    assert (await parts(region, region.leader, path))["referral"]["reason"] == before


async def test_a_label_on_a_case_shuts_its_request_and_what_histories_hold_of_it(
    region: Region,
) -> None:
    """SE: the referral is one thing, wherever it stands."""
    world = region.world
    case_id = await region.case()
    path = f"/v1/cases/{case_id}"
    requests = (await world.get(region.leader, "/v1/requests")).json()["items"]
    (request,) = [f"/v1/requests/{one['id']}" for one in requests]
    later = f"/v1/requests/{await world.request(region.leader, region.student, submit=False)}"
    for who in (region.leader, region.office):
        assert (await parts(region, who, request))["referral"]["reason"]
    history = (await parts(region, region.leader, later))["history"]
    assert all(entry["referral"]["reason"] for entry in history)
    assert history
    assert await put_labels(region, region.manager, path, "referral/labels", "allegation") == 200
    for who in (region.leader, region.office):
        assert "referral" not in await parts(region, who, request)
    history = (await parts(region, region.leader, later))["history"]
    assert history
    assert not any("referral" in entry for entry in history), "absent, not blanked"
    for who in (region.manager, region.lead):
        assert (await parts(region, who, request))["referral"]["labels"] == ["allegation"]
    assert await put_labels(region, region.manager, path, "referral/labels") == 200
    assert (await parts(region, region.leader, request))["referral"]["labels"] == []


async def test_labels_set_on_an_allocated_request_go_along_into_its_case(region: Region) -> None:
    world = region.world
    request_id = await world.request(region.leader, region.student)
    path = f"/v1/requests/{request_id}"
    await world.must(region.team, "POST", f"{path}/accept")
    provider = {"organisation_id": str(region.asp)}
    await world.must(region.team, "POST", f"{path}/allocate", provider)
    assert await put_labels(region, region.lead, path, "referral/labels", "health") == 200
    assert "referral" not in await parts(region, region.leader, path)
    made = await world.must(
        region.lead, "POST", f"{path}/assign", {"person_id": str(region.manager.id)}
    )
    case = f"/v1/cases/{made['case_id']}"
    assert "referral" not in await parts(region, region.leader, case)
    assert (await parts(region, region.manager, case))["referral"]["labels"] == ["health"]


async def test_an_agreed_plan_that_gains_a_label_leaves_the_school(region: Region) -> None:
    """SE with AC-SEE-2."""
    world, path = region.world, f"/v1/cases/{await region.case()}"
    version = await world.version(region.manager, path)
    await world.must(region.manager, "PUT", f"{path}/plan", PLAN, If_Match=version)
    (plan,) = (await parts(region, region.leader, path))["plan"]
    target = f"plan/{plan['id']}/labels"
    assert await put_labels(region, region.manager, path, target, "finance") == 200
    assert (await parts(region, region.leader, path))["plan"] == []
    (kept,) = (await parts(region, region.lead, path))["plan"]
    assert (kept["labels"], kept["goals"]) == (["finance"], PLAN["goals"])


async def test_a_plan_written_with_labels_keeps_each_once_as_everything_labelled_does(
    region: Region,
) -> None:
    """SE: the same labels again, in another order, change nothing."""
    world, path = region.world, f"/v1/cases/{await region.case()}"
    version = await world.version(region.manager, path)
    labelled = PLAN | {"labels": ["health", "criminal", "health"]}
    await world.must(region.manager, "PUT", f"{path}/plan", labelled, If_Match=version)
    (plan,) = (await parts(region, region.manager, path))["plan"]
    assert plan["labels"] == ["criminal", "health"]
    target = f"plan/{plan['id']}/labels"
    assert await put_labels(region, region.manager, path, target, "health", "criminal") == 409


async def test_only_providers_label_and_only_setter_or_lead_take_off(region: Region) -> None:
    """SE, AC-DO-6: remove labels they set (a current workflow lead may too)."""
    path = f"/v1/cases/{await region.case()}"
    assert await put_labels(region, region.leader, path, "referral/labels", "health") == 403
    assert await put_labels(region, region.lead, path, "referral/labels", "health") == 200
    assert await put_labels(region, region.manager, path, "referral/labels") == 403
    assert await put_labels(region, region.lead, path, "referral/labels") == 200
    assert await put_labels(region, region.lead, path, "referral/labels") == 409


async def test_a_need_to_know_summary_can_be_withdrawn(region: Region) -> None:
    """SG-13."""
    world, path = region.world, f"/v1/cases/{await region.case()}"
    item = {
        "kind": "note",
        "text": "What the nurse said.",
        "labels": ["health"],
        "summary": "Lunch before the bus.",
        "shared_with_school": True,
    }
    made = await world.must(region.manager, "POST", f"{path}/items", item)
    where = f"{path}/items/{made['id']}"
    assert (await world.get(region.leader, where)).json()["summary"] == item["summary"]
    refused = await world.send(region.leader, "PATCH", where, {"summary": None}, If_Match="*")
    assert refused.status_code == 403
    version = await world.version(region.manager, where)
    await world.must(region.manager, "PATCH", where, {"summary": None}, If_Match=version)
    assert (await world.get(region.leader, where)).status_code == 404
    assert (await world.get(region.manager, where)).json()["edited_at"] is None


async def test_a_lead_handing_on_learns_nothing_of_providers_elsewhere(region: Region) -> None:
    """A referenced organisation that one may not see counts as unknown."""
    world = region.world
    request_id = await world.request(region.leader, region.student)
    path = f"/v1/requests/{request_id}"
    await world.must(region.team, "POST", f"{path}/accept")
    await world.must(
        region.team, "POST", f"{path}/allocate", {"organisation_id": str(region.other_asp)}
    )
    elsewhere = await world.organisation(OrganisationKind.ASP, "Far North Attendance")
    answers = [
        await world.send(
            region.other_lead, "POST", f"{path}/allocate", {"organisation_id": str(provider)}
        )
        for provider in (elsewhere, world.id())
    ]
    assert [answer.status_code for answer in answers] == [404, 404]


async def test_a_refused_draft_and_an_empty_list_are_looks_at_that_learner(
    region: Region,
) -> None:
    """Who saw this learner, refusals included."""
    world = region.world
    body = {"student_id": str(region.other_student), "reason": "Away."}
    assert (await world.send(region.leader, "POST", "/v1/requests", body)).status_code == 404
    assert (await world.last(e.REFUSED)).student_id == region.other_student
    await world.get(region.leader, f"/v1/cases?student_id={region.other_student}")
    assert UUID(str((await world.last(e.READ)).student_id)) == region.other_student
