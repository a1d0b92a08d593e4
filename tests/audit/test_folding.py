"""What audit folds: rebuilt equals live, nothing unknown is skipped, nothing unrecorded is told."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from services.audit.detecting import Detection
from services.audit.detection import states
from services.audit.detection.bursts import SWEEP_EVERY
from services.audit.memory import recall
from services.authz.client_events import CLIENT_REGISTERED, ClientRegistered
from services.authz.session_events import SESSION_STARTED
from services.kernel.event_types import EventType, Kind
from services.kernel.events import Actor, Event, ObjectRef, Outcome, Service, decode
from services.kernel.groups import Group
from services.kernel.migrations.versions import (
    v0013_audit_scopes,
    v0016_own_events,
    v0019_own_actors,
    v0024_records,
)
from services.kernel.runtime import Installation
from tests.audit.detection.given import failure
from tests.audit.given import AT_NIGHT, TUESDAY_MORNING, World, served
from tests.audit.test_alerts import settled
from tests.conftest import Connect

TABLES = (
    "event", "event_student", "organisation_event", "organisation_student", "login_session",
    "detection_state", "detection_hours", "finding", "alert", "person", "assignment",
    "organisation", "session", "service_client", "projection",
)  # fmt: skip


async def contents(world: World) -> dict[str, list[str]]:
    """Return every row of every table audit folds."""
    pool = world.audit.runtime.pool
    return {
        table: [
            row["line"]
            for row in await pool.fetch(f"select t::text as line from audit.{table} t order by 1")
        ]
        for table in TABLES
    }


async def lived_in(world: World) -> None:
    """Let some of everything happen."""
    analyst = await world.analyst()
    office = await world.staff("school_office", await world.organisation("school"))
    monitor = ClientRegistered(client_id="monitor", name="n", scopes=(), secret="sealed")
    await world.fact(CLIENT_REGISTERED, "client:monitor", 1, monitor)
    session = await world.begin(office, at=AT_NIGHT)
    for second in range(5):
        await world.failed_login(office, AT_NIGHT.replace(second=second))
    await world.reset(analyst.person, office, AT_NIGHT)
    await world.saw(office, world.id(), session_id=session)
    await world.saw(office, world.id(), outcome=Outcome.DENIED)
    item, case = world.id(), world.id()
    await world.wrote(office, case, item)
    await world.saw(office, world.id(), case_id=item, kind="item", part_of=case)
    await world.saw(office, action="list", students=(world.id(), world.id()))
    await world.end(office, session)
    await settled(world)
    (alert, *_) = await analyst.items("/v1/alerts")
    await analyst.tell(f"/v1/alerts/{alert['id']}/resolve", {"verdict": "benign", "note": "n"})
    await settled(world)


async def test_rebuilt_projections_equal_the_live_ones(world: World) -> None:
    """Design: a projection can be dropped and rebuilt."""
    await lived_in(world)
    live = await contents(world)
    assert all(live.values())
    for projector in world.audit.projectors:
        await projector.rebuild()
    await settled(world)
    assert await contents(world) == live


@pytest.mark.parametrize(
    ("table", "script"),
    [
        ("organisation_student", v0013_audit_scopes._TABLES),
        (
            "organisation_event",
            v0016_own_events._TABLES + v0019_own_actors._EVENTS + v0024_records._FILL,
        ),
    ],
)
async def test_migration_fills_what_own_auditors_are_answered_from_as_folding_does(
    world: World, connect: Connect, table: str, script: str
) -> None:
    """Migrations expand: what was indexed before is found by its organisation's own auditors."""
    await lived_in(world)
    owner = await connect(None)
    rows = f"select * from audit.{table} order by 1, 2, 3"
    folded = await owner.fetch(rows)
    fill = ";".join(s for s in script.split(";") if s.strip().startswith(("insert", "update")))
    before = owner.transaction()
    await before.start()
    await owner.execute(
        "alter table audit.event add actor_organisation_id uuid, add organisation_id uuid;"
        " alter table audit.organisation_event alter column record_type set default ''"
    )
    await owner.executemany(
        "update audit.event set actor_organisation_id = $2, organisation_id = $3"
        " where position = $1",
        [
            (row["position"], event.actor.organisation_id, event.organisation_id)
            for row in await owner.fetch("select position, body from log.event")
            for event in [decode(row["position"], row["body"]).event]
        ],
    )
    await owner.execute(f"delete from audit.{table}; {fill}")
    filled = await owner.fetch(rows)
    await before.rollback()
    assert folded
    assert filled == folded


async def test_migration_finds_facts_under_their_records_as_folding_does(
    world: World, connect: Connect
) -> None:
    """Of what was only seen before, nothing said which record it was part of."""
    await lived_in(world)
    owner = await connect(None)
    records = "select position, record_type, record_id from audit.{} where {} order by 1, 2, 3"
    of_facts = "position in (select position from log.fact)"
    for table in ("event", "organisation_event"):
        folded = await owner.fetch(records.format(table, of_facts))
        before = owner.transaction()
        await before.start()
        for each in ("event", "organisation_event"):
            await owner.execute(f"update audit.{each} set record_type = '', record_id = null")
        await owner.execute(v0024_records._FILL)
        assert await owner.fetch(records.format(table, of_facts)) == folded
        assert not await owner.fetch(records.format(table, f"record_id <> '' and not {of_facts}"))
        await before.rollback()
        assert {row["record_type"] for row in folded} >= {"", "case"}


async def test_memory_of_other_rules_is_folded_anew(
    world: World, installation: Installation, connect: Connect
) -> None:
    """A new version of a rule begins from position 0 and raises nothing twice."""
    await lived_in(world)
    live = await contents(world)
    await world.audit.stop()
    owner = await connect(None)
    await owner.execute("update audit.detection_state set state = '{}'::text::bytea")
    async with served(installation) as (audit, _):
        world.audit = audit
        await settled(world)
        assert await contents(world) == live


async def test_no_question_waits_for_detection(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Detection may fold the whole log anew meanwhile, or have stopped."""
    analyst = await world.analyst()
    begun, never = asyncio.Event(), asyncio.Event()

    async def stuck(*_: object) -> None:
        begun.set()
        await never.wait()

    monkeypatch.setattr(Detection, "fold", stuck)
    office = await world.staff("school_office", await world.organisation("school"))
    session = await world.begin(office, at=AT_NIGHT)
    async with asyncio.timeout(10):
        await begun.wait()
        sessions = await analyst.items("/v1/sessions", person=office.id)
        assert [item["id"] for item in sessions] == [str(session)]
        assert await analyst.ids("/v1/events", type_=SESSION_STARTED, actor=office.id)


async def test_login_rewrites_only_the_memory_it_touches(world: World) -> None:
    """However much detection remembers, a batch writes the head and what its signals touched."""
    one, two = [
        await world.staff("school_office", await world.organisation("school")) for _ in range(2)
    ]
    await world.failed_login(one, TUESDAY_MORNING, ip="203.0.113.9")
    before = await memory_rows(world)
    await world.failed_login(two, TUESDAY_MORNING, ip="198.51.100.9")
    between = await memory_rows(world)
    assert changed(before, between) == {states.HEAD, *(between.keys() - before.keys())}
    assert len(between.keys() - before.keys()) == 2
    await world.failed_login(two, TUESDAY_MORNING, ip="198.51.100.9")
    assert changed(between, await memory_rows(world)) == changed(before, between)


async def test_forgotten_bursts_leave_the_stored_memory(world: World) -> None:
    """The stored memory is bounded as the rules' is: what they sweep away is deleted."""
    person = await world.staff("school_office", await world.organisation("school"))
    await world.failed_login(person, TUESDAY_MORNING, ip="203.0.113.9")
    swept = await memory_rows(world)
    await world.audit.detection.stop()
    async with world.audit.runtime.pool.acquire() as connection:
        memory = await recall(connection, None)
        for number in range(SWEEP_EVERY):
            account = replace(failure(timedelta(days=1), account="a"), position=10**6 + number)
            memory.fold(account)
        await memory.store(connection)
        stored = {row["name"]: row["state"] for row in await connection.fetch(_STORED)}
    assert stored.keys() & swept.keys() == {states.HEAD}
    read = states.encode(states.decode(stored))
    assert stored | {states.HEAD: b""} == read | {states.HEAD: b""}
    assert len(stored) == 3


_STORED = "select name, state, xmin::text as version from audit.detection_state"


async def memory_rows(world: World) -> dict[str, str]:
    """Return which version each row of detection's memory is of, once it has caught up."""
    detection = world.audit.detection
    await detection.reached(await detection.head())
    return {r["name"]: r["version"] for r in await world.audit.runtime.pool.fetch(_STORED)}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    """Return the names of the rows that were written between."""
    return {name for name, version in after.items() if before.get(name) != version}


async def test_no_address_stands_in_the_memory_of_detection(world: World) -> None:
    """Staff origin data expires with its period key; what rules remember must not outlive it."""
    await lived_in(world)
    rows = await world.audit.runtime.pool.fetch("select name, state from audit.detection_state")
    assert any(row["name"].startswith("repeated_failures_address/") for row in rows)
    assert not any(b"203.0.113" in row["state"] for row in rows)


async def test_unknown_event_type_stops_the_fold_and_nothing_is_answered(
    world: World, connect: Connect
) -> None:
    """Design: a fold never skips; its service answers 503."""
    analyst = await world.analyst()
    assert (await analyst.ask("/v1/events")).status_code == 200
    invented = EventType("authz.invented", Service.AUTHZ, Kind.OBSERVATION, "invented")
    owner = await connect(None)
    await owner.execute(
        "insert into log.event_type values ($1, 'casewarden_authz', false)", invented.name
    )
    event = Event(id=world.id(), type=invented.name, recorded_at=world.clock.now())
    await world.authz.log.append(Group([event]))
    response = await analyst.ask("/v1/events")
    assert response.status_code == 503
    assert "items" not in response.json()
    assert world.audit.runtime.projector.stopped is not None


async def test_what_cannot_be_recorded_is_not_answered(world: World) -> None:
    """Design: no disclosure without a record."""
    analyst = await world.analyst()
    await world.audit.runtime.log.stop()
    for path in ("/v1/events", "/v1/sessions", "/v1/alerts"):
        response = await analyst.ask(path)
        assert response.status_code == 503
        assert response.json()["code"] == "unavailable"


async def test_origin_whose_key_is_destroyed_is_unknown_not_an_error(
    world: World, connect: Connect
) -> None:
    """Staff origin data is sealed under period keys that expire."""
    analyst = await world.analyst()
    manager = await world.staff("asp_case_manager", await world.organisation("asp"))
    seen = await world.saw(manager, world.id())
    keys = await connect(None, keys=True)
    await keys.execute("delete from keys.data_key where compartment = 'origin'")
    world.audit.runtime.keys._cache.clear()
    origin = (await analyst.ask(f"/v1/events/{seen}")).json()["origin"]
    assert (origin["ip"], origin["device"], origin["user_agent"]) == (None, None, None)
    assert origin["request_id"] == "request-7"


async def test_any_id_can_be_folded(world: World) -> None:
    """A fold is total: what no text column or index entry can hold never stops it."""
    analyst = await world.analyst()
    event = Event(
        id=world.id(),
        type="cases.refused",
        recorded_at=world.clock.now(),
        actor=Actor(client_id="c" * 9000),
        action="read",
        object=ObjectRef("case", "a\0b" + "x" * 9000),
    )
    await world.cases.log.append(Group([event]))
    assert await analyst.ids("/v1/events", type_="cases.refused") == [event.id]
