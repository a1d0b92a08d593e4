"""Loading the region: whole, consistent, resumable, and the same each time by its ids."""

import hashlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import replace
from datetime import date
from functools import cache
from unittest.mock import patch
from uuid import UUID

import asyncpg
import pytest
from argon2 import PasswordHasher

from services import demonstration as marker
from services.authz import events as authz
from services.authz import passwords
from services.authz.credential_events import CREDENTIAL_SET, TOTP_ENROLLED
from services.cases import events as cases
from services.cases.content_events import ITEM_ADDED, PLAN_WRITTEN
from services.cases.evolution import evolve
from services.cases.record import Record, Status
from services.demo import seed
from services.demo.abroad import DESKS, with_desks
from services.demo.accounts import accounts
from services.demo.chance import Chance
from services.demo.history import Narrator
from services.demo.posts import Posts
from services.demo.region import Region, build_region
from services.kernel.epochs import EpochKeys
from services.kernel.errors import Unavailable
from services.kernel.events import Event, Recorded, Service
from services.kernel.groups import Group
from services.kernel.keystore import KeyStore
from services.kernel.log import Log
from services.kernel.runtime import Installation
from services.kernel.sealing import Compartment, KeyRef
from services.progress import Progress
from services.verification import verify
from tests.cases.world import Region as Place
from tests.cases.world import make_region, open_world
from tests.conftest import Clock, Connect, Pools
from tests.kernel.given import fact, read_all

TODAY = date(2026, 7, 1)
SEED = 20


@cache
def whole_region() -> Region:
    """Return the whole demonstration, without desks."""
    return build_region(SEED, TODAY)


@pytest.fixture(scope="module")
def region() -> Region:
    """Make a small part of the demonstration: some learners, with all that happened to them."""
    whole = with_desks(whole_region(), Chance(SEED), TODAY)
    requests = whole.requests[::12]
    kept = {request.case_id for request in requests}
    concerned = {request.student_id for request in requests}
    return replace(
        whole,
        students=tuple(s for s in whole.students if s.student_id in concerned),
        requests=requests,
        cases=tuple(case for case in whole.cases if case.case_id in kept),
    )


@pytest.fixture(autouse=True)
def _small(region: Region) -> Iterator[None]:
    """Load the small part, and hash no password slowly."""

    def quick(password: str, salt: bytes, _hasher: PasswordHasher) -> str:
        return f"$argon2id$test${hashlib.sha256(salt + password.encode()).hexdigest()}"

    with (
        patch.object(seed, "demonstration", lambda _seed, _today: region),
        patch.object(passwords, "hash_password", quick),
    ):
        yield


@pytest.fixture(autouse=True)
async def _unmarked(connect: Connect) -> AsyncIterator[None]:
    """Take the mark off again: another test gets the same database, emptied."""
    yield
    await (await connect(None)).execute("drop schema if exists demo cascade")


async def loaded(installation: Installation, connect: Connect) -> list[Recorded]:
    """Load the demonstration and return its events."""
    owner = await connect(None)
    mark = await marker.begin(owner, SEED, TODAY)
    await seed.load(installation, owner, mark, Progress(None))
    return await read_all(owner, -1, 100_000)


async def test_every_person_organisation_learner_request_and_case_is_loaded(
    installation: Installation, connect: Connect, region: Region
) -> None:
    events = await loaded(installation, connect)
    counts = Counter(recorded.event.type for recorded in events)
    assert counts[authz.ORGANISATION_REGISTERED] == len(region.organisations)
    assert counts[authz.PERSON_REGISTERED] == len(region.people)
    assert counts[CREDENTIAL_SET] == counts[TOTP_ENROLLED] == len(region.people)
    assert counts[authz.ASSIGNMENT_GRANTED] == sum(len(p.assignments) for p in region.people)
    in_school = sum(organisation.serves is not None for organisation in region.organisations)
    assert counts[authz.CATCHMENT_CHANGED] == len(region.catchments) + in_school
    moved = {move.former.student_id for move in region.moves}
    again = sum(student.student_id in moved for student in region.students)
    assert counts[cases.STUDENT_REGISTERED] == len(region.students) + again
    assert again
    assert counts[cases.REQUEST_DRAFTED] == len(region.requests)
    assert counts[cases.CASE_OPENED] == len(region.cases)
    assert counts[ITEM_ADDED] == sum(len(case.items) for case in region.cases)
    assert counts[PLAN_WRITTEN] == sum(len(c.plan_versions) for c in region.cases)


async def test_every_record_folds_to_the_state_the_region_gives_it(
    installation: Installation, connect: Connect, region: Region
) -> None:
    records: dict[str, Record | None] = {}
    for recorded in await loaded(installation, connect):
        stream = recorded.event.stream or ""
        if stream.startswith(("request:", "case:")):
            records[stream] = evolve(records.get(stream), recorded.event)
    for request in region.requests:
        record = records[f"request:{request.request_id}"]
        assert record is not None
        assert record.status == Status(request.state)
    for case in region.cases:
        record = records[f"case:{case.case_id}"]
        assert record is not None
        assert record.status == Status(case.status)
        assert record.provider_id == case.provider_id
        assert record.case_manager is not None
        assert record.case_manager.person_id == case.case_manager_id
        assert {member.person_id for member in record.team} == set(case.team)
        assert len(record.items) == sum(item.deleted is None for item in case.items)
        assert record.notified == case.prosecution_notified


async def test_loaded_facts_did_what_live_ones_of_their_type_do_to_the_same(
    installation: Installation, connect: Connect, clock: Clock
) -> None:
    """AC-USE-1: questions by action, and by what was done, find in the demonstration what is lived.

    A case is opened by the request that assigns it, and is one act with that.
    """
    past = await loaded(installation, connect)
    async with open_world(installation, clock) as world:
        await _whole_lives(await make_region(world))
        live = (await world.events())[len(past) :]
    told = _done([one.event for one in past if one.event.student_id])
    # a learner becomes known by the enrolment register, which nobody asks for anything
    assert told.pop(cases.STUDENT_REGISTERED) == {("create", "student")}
    done = _done([one.event for one in live if one.event.grounds])
    assert told == {type_: done.get(type_) for type_ in told}
    about = {kind for doings in told.values() for _, kind in doings}
    assert about == {"item", "plan", "case", "request"}


def _done(events: Iterable[Event]) -> dict[str, set[tuple[str, str]]]:
    """Return what the facts among ``events`` did to which kinds of object, by type."""
    doings: dict[str, set[tuple[str, str]]] = {}
    for event in events:
        if event.stream is not None and event.object is not None:
            doings.setdefault(event.type, set()).add((event.action, event.object.type))
    return doings


async def _whole_lives(place: Place) -> None:
    """Let everything happen to records that the demonstration tells of, as requests."""
    world, reason = place.world, {"reason": "By mistake."}
    for who, end in ((place.leader, "withdraw"), (place.team, "decline")):
        request = await world.request(place.leader, place.student)
        await world.must(who, "POST", f"/v1/requests/{request}/{end}", reason)
    mistaken, case = [f"/v1/cases/{await place.case()}" for _ in range(2)]
    await world.must(place.lead, "DELETE", mistaken, reason, if_match="*")
    note = {"kind": "note", "text": "Seen."}
    item = (await world.must(place.manager, "POST", f"{case}/items", note))["id"]
    plan = {"goals": "Every day.", "actions": "A lift on Mondays."}
    contact, member = ({"person_id": str(one.id)} for one in (place.contact, place.member))
    await world.must(place.manager, "DELETE", f"{case}/items/{item}", reason, if_match="*")
    await world.must(place.manager, "PUT", f"{case}/plan", plan, if_match="*")
    await world.must(place.leader, "PUT", f"{case}/primary-contact", contact, if_match="*")
    await world.must(place.lead, "POST", f"{case}/team", member)
    await world.must(place.manager, "PUT", f"{case}/prosecution-notice", if_match="*")
    await world.must(place.manager, "POST", f"{case}/close", {"outcome": "Back at school."})


async def test_the_loaded_log_passes_verification(
    installation: Installation, connect: Connect
) -> None:
    events = await loaded(installation, connect)
    summary = await verify(await connect(None))
    assert summary.events == len(events)


async def test_what_happened_keeps_its_time_and_recording_keeps_its_own(
    installation: Installation, connect: Connect, region: Region
) -> None:
    now = installation.effects.now()
    drafted = {
        recorded.event.data["request_id"]: recorded.event
        for recorded in await loaded(installation, connect)
        if recorded.event.type == cases.REQUEST_DRAFTED
    }
    for request in region.requests:
        event = drafted[str(request.request_id)]
        assert event.effective_at == request.created_at
        assert event.recorded_at == now


async def test_nothing_personal_is_in_the_log_in_clear(
    installation: Installation, connect: Connect, region: Region
) -> None:
    """SG-18: what is personal or free text enters sealed."""
    whole = b"".join(recorded.body for recorded in await loaded(installation, connect))
    for student in region.students:
        assert student.national_student_number.encode() not in whole
        assert f'"{student.family_name}"'.encode() not in whole
        assert student.address.encode() not in whole
    for person in region.people:
        assert person.username.encode() not in whole
    for case in region.cases:
        for item in case.items:
            assert item.text.encode() not in whole


async def test_a_labelled_text_opens_only_with_the_sensitive_key(
    installation: Installation, connect: Connect, region: Region, pools: Pools
) -> None:
    """SG-6: one compartment cannot be opened with another's key."""
    events = await loaded(installation, connect)
    texts = {i.item_id: i for c in region.cases for i in c.items}
    keys = KeyStore(
        await pools(Service.CASES, keys=True),
        EpochKeys(installation.data / "keys", installation.effects),
        installation.effects,
    )
    labelled = 0
    for recorded in events:
        event = recorded.event
        if event.type != ITEM_ADDED or event.student_id is None:
            continue
        box, item = event.data["text"], texts[UUID(event.data["item_id"])]
        shut = Compartment.SENSITIVE if item.labels else Compartment.RECORD
        ref = KeyRef(event.student_id, shut)
        await keys.load([ref])
        assert box.get("compartment", "record") == shut
        assert keys.open(ref, UUID(box["event"]), box["field"], box["text"]) == item.text
        labelled += bool(item.labels)
    assert labelled


async def test_an_interrupted_loading_goes_on_and_repeats_nothing(
    installation: Installation, connect: Connect
) -> None:
    owner = await connect(None)
    mark = await marker.begin(owner, SEED, TODAY)

    async def fails(*_: object) -> None:
        raise ConnectionError

    with patch.object(seed, "_load_authz", fails), pytest.raises(ConnectionError):
        await seed.load(installation, owner, mark, Progress(None))
    unfinished = await marker.read(owner)
    assert unfinished is not None
    assert not unfinished.finished
    landed = await owner.fetchval("select count(*) from log.event")
    await seed.load(installation, owner, mark, Progress(None))
    once = await owner.fetchval("select count(*) from log.event")
    assert 0 < landed < once
    await seed.load(installation, owner, mark, Progress(None))
    assert await owner.fetchval("select count(*) from log.event") == once
    assert (await verify(owner)).events == once


async def test_a_log_that_is_not_empty_is_not_made_a_demonstration(
    installation: Installation, connect: Connect, region: Region
) -> None:
    await loaded(installation, connect)
    owner = await connect(None)
    await owner.execute("delete from demo.installation")
    with pytest.raises(ValueError, match="not empty"):
        await marker.begin(owner, SEED, TODAY)
    assert await marker.read(owner) is None
    assert region.students


async def test_the_services_cannot_read_or_set_the_mark(
    installation: Installation, connect: Connect
) -> None:
    await loaded(installation, connect)
    for service in Service:
        connection = await connect(service)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("select * from demo.installation")


def test_the_same_seed_gives_the_same_ids_and_numbers(region: Region) -> None:
    def told() -> list[tuple[object, ...]]:
        narrator = Narrator(region, Chance(SEED), Posts(region.people))
        return [
            (step.payload, step.id, step.at, step.fields.get("number"), step.fields.get("plan_id"))
            for request in region.requests
            for step in narrator.request(request)
        ]

    assert told() == told()


def test_every_role_has_two_accounts_at_two_organisations_where_it_has_two() -> None:
    found = accounts(marker.Mark(SEED, TODAY, finished=True), TODAY)
    json.dumps(found)
    people: dict[str, set[str]] = {}
    places: dict[str, set[str]] = {}
    for account in found:
        if account["role"] != "service_client":
            people.setdefault(account["role"], set()).add(account["person_id"])
            places.setdefault(account["role"], set()).add(account["organisation_id"])
    assert set(people) == {role.value for role in authz.Role}
    assert all(len(ids) >= 2 for ids in people.values())
    for role in ("school_leader", "primary_contact", "school_office", "asp_workflow_lead"):
        assert len(places[role]) >= 2
    clients = [account for account in found if account["role"] == "service_client"]
    assert all(client["client_secret"] and client["scopes"] for client in clients)


def test_accounts_are_those_of_the_region_and_the_desks_though_it_is_not_made_up_for_them() -> None:
    whole = with_desks(whole_region(), Chance(SEED), TODAY)
    held = {
        (str(person.person_id), person.username, one.role, str(one.organisation_id))
        for person in whole.people
        for one in person.assignments
        if one.in_force(TODAY)
    }
    found = accounts(marker.Mark(SEED, TODAY, finished=True), TODAY)
    keys = ("person_id", "username", "role", "organisation_id")
    assert {tuple(one[key] for key in keys) for one in found if "username" in one} == held


def test_the_desks_abroad_add_only_themselves() -> None:
    whole = whole_region()
    more = with_desks(whole, Chance(SEED), TODAY)
    assert len(more.organisations) == len(whole.organisations) + len(DESKS)
    assert more.organisations[: len(whole.organisations)] == whole.organisations
    assert more.cases == whole.cases
    assert len({person.username for person in more.people}) == len(more.people)


async def test_a_group_that_landed_unseen_is_loaded_once(
    installation: Installation, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine so slow that appends are given up does not end the loading."""
    given_up, append = 0, Log.append

    async def slow(log: Log, group: Group) -> int:
        nonlocal given_up
        position = await append(log, group)
        if given_up < 1:
            given_up += 1
            raise Unavailable
        return position

    monkeypatch.setattr(Log, "append", slow)
    runtime = await seed._appender(installation, Service.AUTHZ)
    try:
        await seed._append(runtime, [Group([fact("person:a")]), Group([fact("person:b")])])
    finally:
        await runtime.stop()
    owner = await connect(None)
    assert await owner.fetchval("select count(*) from log.event") == 2
