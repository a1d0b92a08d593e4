"""Answers are what the OpenAPI document says they are, field by field."""

from pydantic import BaseModel

from services.cases import answers
from tests.cases.world import Json, Region


def conforms(model: type[BaseModel], answer: Json) -> None:
    """Fail unless ``answer`` has what ``model`` requires, and no field that it does not have."""
    model.model_validate(answer)


def fills(model: type[BaseModel], answer: Json) -> None:
    """Fail unless ``answer`` has every field of ``model``, those that may be absent included."""
    assert answer.keys() == model.model_fields.keys()


async def filled(region: Region) -> str:
    """Open a case with something in every part that can be filled."""
    world, manager = region.world, region.manager
    path = f"/v1/cases/{await region.case()}"
    note = {"kind": "note", "text": "Met at the marae.", "shared_with_school": True}
    await world.must(manager, "POST", f"{path}/items", note)
    shut = {"kind": "note", "text": "A worry.", "labels": ["health"], "summary": "Ask the nurse."}
    await world.must(manager, "POST", f"{path}/items", shut | {"shared_with_school": True})
    plan = {"goals": "Back by June.", "actions": "Lift to school.", "status": "agreed"}
    version = await world.version(manager, path)
    await world.must(manager, "PUT", f"{path}/plan", plan, If_Match=version)
    member = {"person_id": str(region.member.id)}
    await world.must(manager, "POST", f"{path}/team", member)
    return path


async def test_a_record_is_answered_as_described(region: Region) -> None:
    path = await filled(region)
    for who in (region.manager, region.leader, region.member, region.office, region.team):
        answer = (await region.world.get(who, path)).json()
        conforms(answers.RecordAnswer, answer)
        for item in answer["parts"].get("items", ()):
            one = (await region.world.get(who, f"{path}/items/{item['id']}")).json()
            conforms(answers.ItemAnswer, one)
            assert one == {**item, "version": one["version"]}


async def test_an_item_has_a_version_of_its_own_which_serves_to_change_it(region: Region) -> None:
    """SG-13: what two callers see of it are two versions; a change answers the case's."""
    path, world, manager = await filled(region), region.world, region.manager
    listed = (await world.get(manager, path)).json()["parts"]["items"]
    assert all("version" not in item for item in listed)
    for item in listed:
        own = f"{path}/items/{item['id']}"
        seen, others = await world.get(manager, own), await world.get(region.member, own)
        version = seen.json()["version"]
        assert seen.headers["etag"] == f'"{version}"' != others.headers["etag"]
        assert others.json()["version"] == others.headers["etag"].strip('"')
        same = await world.send(manager, "GET", own, If_None_Match=f'"{version}"')
        assert same.status_code == 304
        edit = {"text": "Met at the pool."}
        changed = await world.must(manager, "PATCH", own, edit, If_Match=f'"{version}"')
        assert f'"{changed["version"]}"' == await world.version(manager, path)
        stale = await world.send(manager, "PATCH", own, edit, If_Match=f'"{version}"')
        assert stale.status_code == 412
        assert (await world.get(manager, own)).json()["version"] not in (
            version,
            changed["version"],
        )


async def test_who_sees_a_thing_whole_is_answered_every_field_of_it(region: Region) -> None:
    """Of an item that a label shuts, only what a summary may say (SG-13)."""
    path = await filled(region)
    parts = (await region.world.get(region.manager, path)).json()["parts"]
    fills(answers.Overview, parts["overview"])
    fills(answers.Referral, parts["referral"])
    for part, model in (
        ("contacts", answers.Contact),
        ("team", answers.Contact),
        ("plan", answers.PlanVersion),
        ("items", answers.Item),
    ):
        assert parts[part], part
        for one in parts[part]:
            fills(model, one)
    seen = (await region.world.get(region.member, path)).json()["parts"]["items"]
    assert [one.keys() for one in seen] == [
        answers.Item.model_fields.keys(),
        {"id", "kind", "created_at", "summary"},
    ]


async def test_lists_searches_and_explanations_are_answered_as_described(region: Region) -> None:
    path, world = await filled(region), region.world
    conforms(answers.RecordPage, (await world.get(region.leader, "/v1/cases")).json())
    conforms(answers.RecordPage, (await world.get(region.leader, "/v1/requests")).json())
    conforms(answers.Why, (await world.get(region.leader, f"{path}/why?part=plan")).json())
    found = await world.must(region.leader, "POST", "/v1/students/search", {"query": "marama"})
    conforms(answers.StudentPage, found)
    for who in (region.leader, region.manager):
        student = (await world.get(who, f"/v1/students/{region.student}")).json()
        conforms(answers.StudentAnswer, student)


async def test_changes_are_answered_as_described(region: Region) -> None:
    world = region.world
    body = {"student_id": str(region.student), "reason": "Away."}
    drafted = await world.must(region.contact, "POST", "/v1/requests", body)
    conforms(answers.Drafted, drafted)
    path = f"/v1/requests/{drafted['id']}"
    conforms(answers.Changed, await world.must(region.contact, "POST", f"{path}/submit"))
    conforms(answers.RecordAnswer, (await world.get(region.contact, path)).json())
