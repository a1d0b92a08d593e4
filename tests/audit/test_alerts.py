"""Alerts: raised once, from what happened; reviewed once, by somebody else (SG-9, SG-10)."""

import asyncio
from datetime import timedelta
from uuid import UUID

import msgspec
import pytest
from prometheus_client import REGISTRY

from services.audit import events as e
from services.audit.models import Resolution
from services.audit.raising import _PENDING
from services.authz.message_events import MAILBOX_SHARED, MailboxShared
from services.kernel.aside import set_aside
from services.kernel.budgets import BURST
from services.kernel.event_types import SET_ASIDE
from services.kernel.events import Event, ObjectRef
from services.kernel.groups import Group
from services.kernel.runtime import Installation
from tests.audit.given import AT_NIGHT, TUESDAY_MORNING, Answer, Caller, Staff, World, served
from tests.conftest import Connect


async def settled(world: World) -> None:
    """Wait until everything found is told."""
    audit = world.audit
    while True:
        for projector in audit.projectors:
            await projector.reached(await projector.head())
        await audit.raising.raise_pending()
        if not await untold(world):
            return


async def untold(world: World) -> int:
    """Count the findings that whoever raises alerts has still to look at."""
    pool = world.audit.runtime.pool
    return int(await pool.fetchval("select count(*) from audit.finding where not told"))


async def alerts_of(world: World, analyst: Caller, **filters: object) -> list[Answer]:
    await settled(world)
    return await analyst.items("/v1/alerts", **filters)


async def facts(world: World, type_: str) -> int:
    """Count the events of a type."""
    count = await world.audit.runtime.pool.fetchval(
        "select count(*) from log.event where type = $1", type_
    )
    return int(count)


def raised(rule: str, severity: str) -> float:
    """Return how many alerts of a rule were counted as raised in this process."""
    labels = {"rule": rule, "severity": severity}
    return REGISTRY.get_sample_value("casewarden_alerts_raised_total", labels) or 0


async def late(world: World) -> tuple[Staff, UUID]:
    """Let somebody of a school log in at two in the morning."""
    person = await world.staff("school_office", await world.organisation("school"))
    return person, await world.begin(person, at=AT_NIGHT)


async def test_out_of_hours_login_raises_one_alert_with_its_evidence(world: World) -> None:
    """SG-9: an out-of-hours login is flagged; the alert leads to the event."""
    analyst = await world.analyst()
    person, session = await late(world)
    (alert,) = await alerts_of(world, analyst)
    assert alert["rule"] == "out_of_hours_login"
    assert alert["severity"] == "medium"
    assert alert["status"] == "open"
    assert alert["person_id"] == str(person.id)
    assert alert["details"]["local_date"] == "2026-03-04"
    whole = (await analyst.ask(f"/v1/alerts/{alert['id']}")).json()
    (evidence,) = whole["evidence"]
    assert evidence["type"] == "authz.session_started"
    assert evidence["object"] == {"type": "session", "id": str(session)}
    assert evidence["origin"]["ip"] == "203.0.113.7"
    assert alert["id"] == str(e.alert_id(f"out_of_hours_login:{person.id}:2026-03-04"))


async def test_account_used_from_where_it_was_reset_is_an_alert_about_who_reset_it(
    world: World, connect: Connect
) -> None:
    """SG-4, SG-9: it leads to both events; one that becomes worse is counted as another."""
    analyst, school = await world.analyst(), await world.organisation("school")
    before = [raised("account_reset_then_used", severity) for severity in ("low", "high")]
    leader, office = [await world.staff(r, school) for r in ("school_leader", "school_office")]
    reset = await world.reset(leader, office, TUESDAY_MORNING)
    later = TUESDAY_MORNING + timedelta(minutes=10)
    await world.begin(office, later, agent="Mozilla/5.0 Chrome/140.0")
    (low,) = await alerts_of(world, analyst, rule="account_reset_then_used")
    session = await world.begin(office, later)
    (alert,) = await alerts_of(world, analyst, rule="account_reset_then_used")
    assert (low["severity"], alert["severity"]) == ("low", "high")
    assert (low["id"], alert["person_id"]) == (alert["id"], str(leader.id))
    assert alert["details"] == {"after": "reset", "minutes": 10, "logins": 2}
    evidence = (await analyst.ask(f"/v1/alerts/{alert['id']}")).json()["evidence"]
    assert evidence[0]["id"] == str(reset)
    assert evidence[1]["object"] == {"type": "session", "id": str(session)}
    after = [raised("account_reset_then_used", severity) for severity in ("low", "high")]
    assert after == [count + 1 for count in before]
    owner = await connect(None)
    rows = await owner.fetch("select state from audit.detection_state")
    assert not any(b"203.0.113" in row["state"] or b"Firefox" in row["state"] for row in rows)


async def test_fifth_reset_by_one_person_within_a_day_is_an_alert(world: World) -> None:
    """SG-21: a forced reset of many; of the organisation whoever reset acts for."""
    analyst, school = await world.analyst(), await world.organisation("school")
    leader = await world.staff("school_leader", school)
    for number in range(5):
        office = await world.staff("school_office", school)
        await world.reset(leader, office, TUESDAY_MORNING + timedelta(hours=number))
    (alert,) = await alerts_of(world, analyst, rule="many_resets")
    assert (alert["person_id"], alert["organisation_id"]) == (str(leader.id), str(school))
    assert alert["details"] == {"resets": 5}


async def test_a_position_set_aside_is_an_alert_at_once(world: World, connect: Connect) -> None:
    """SG-8, SG-10: whoever owns the database does this in the sight of somebody else."""
    analyst, before = await world.analyst(), raised("position_set_aside", "high")
    seen = await world.saw(await world.staff("asp_case_manager", await world.organisation()))
    owner, runtime = await connect(None), world.audit.runtime
    position = await owner.fetchval("select position from log.event_id where id = $1", seen)
    await set_aside(owner, runtime.effects, position, "INC-1")
    (alert,) = await alerts_of(world, analyst, rule="position_set_aside")
    assert (alert["severity"], alert["person_id"]) == ("high", None)
    (evidence,) = (await analyst.ask(f"/v1/alerts/{alert['id']}")).json()["evidence"]
    assert evidence["type"] == SET_ASIDE.name
    assert evidence["object"] == {"type": "event", "id": str(seen)}
    assert raised("position_set_aside", "high") == before + 1


async def test_a_shared_mailbox_is_an_alert_at_the_ministry_alone(world: World) -> None:
    """SG-4: an organisation's own analyst learns of nobody elsewhere."""
    analyst, school = await world.analyst(), await world.organisation("school")
    own = await world.caller("security_analyst", school)
    invited, other = (
        await world.staff("school_office", school),
        await world.staff("prosecutions", await world.organisation("ministry")),
    )
    shared = Event(
        id=world.id(),
        type=MAILBOX_SHARED,
        recorded_at=TUESDAY_MORNING,
        action="deliver",
        object=ObjectRef("person", str(other.id)),
        data=msgspec.to_builtins(MailboxShared(person_id=invited.id)),
    )
    await world.authz.log.append(Group([shared]))
    (alert,) = await alerts_of(world, analyst, rule="shared_mailbox")
    assert (alert["severity"], alert["person_id"]) == ("medium", str(invited.id))
    (evidence,) = (await analyst.ask(f"/v1/alerts/{alert['id']}")).json()["evidence"]
    assert evidence["object"]["id"] == str(other.id)
    assert await own.items("/v1/alerts") == []
    assert (await own.ask(f"/v1/alerts/{alert['id']}")).status_code == 404
    assert await own.items("/v1/events", type=MAILBOX_SHARED) == []


async def test_two_places_at_a_time_are_an_alert(world: World) -> None:
    """SG-4: no shared accounts; sessions that do not overlap, or of one IPv6 /64, are none."""
    analyst, school = await world.analyst(), await world.organisation("school")
    one, two, three = [await world.staff("school_office", school) for _ in range(3)]
    first = await world.begin(one)
    await world.begin(one, ip="198.51.100.4", others=1)
    await world.end(two, await world.begin(two))
    await world.begin(two, ip="198.51.100.4")
    await world.begin(three, ip="2001:db8:1:2::7")
    await world.begin(three, ip="2001:db8:1:2::8", others=1)
    (alert,) = await alerts_of(world, analyst, rule="simultaneous_sessions")
    assert alert["person_id"] == str(one.id)
    evidence = (await analyst.ask(f"/v1/alerts/{alert['id']}")).json()["evidence"]
    assert [e["origin"]["ip"] for e in evidence] == ["203.0.113.7", "198.51.100.4"]
    assert evidence[0]["object"]["id"] == str(first)


async def test_login_in_hours_raises_none(world: World) -> None:
    analyst = await world.analyst()
    assert await alerts_of(world, analyst) == []


async def test_rebuild_raises_nothing_again(world: World) -> None:
    """SG-10: alerts deduplicate by key; every projection equals the live one afterwards."""
    analyst = await world.analyst()
    await late(world)
    before = await alerts_of(world, analyst)
    for projector in world.audit.projectors:
        await projector.rebuild()
    await world.audit.raising.raise_pending()
    assert await alerts_of(world, analyst) == before
    assert await facts(world, e.ALERT_RAISED) == 1


async def test_two_processes_raise_one_alert(world: World, installation: Installation) -> None:
    """Many copies of audit run side by side; each offers what it finds."""
    analyst = await world.analyst()
    async with served(installation) as (second, _):
        for _ in range(3):
            await late(world)
        await second.detection.reached(await second.detection.head())
        await second.raising.raise_pending()
        assert len(await alerts_of(world, analyst)) == 3
    assert await facts(world, e.ALERT_RAISED) == 3


async def test_restart_raises_nothing_again(world: World, installation: Installation) -> None:
    analyst = await world.analyst()
    await late(world)
    assert len(await alerts_of(world, analyst)) == 1
    async with served(installation) as (again, _):
        assert await again.raising.raise_pending() == 0
    assert await facts(world, e.ALERT_RAISED) == 1


async def test_told_finding_is_not_looked_at_again(world: World, connect: Connect) -> None:
    """What raising costs goes by what is new, not by what was ever found; the mark may be lost."""
    analyst = await world.analyst()
    await late(world)
    assert len(await alerts_of(world, analyst)) == 1
    assert await untold(world) == 0
    owner = await connect(None)
    await owner.execute("update audit.finding set told = false")
    assert await world.audit.raising.raise_pending() == 0
    assert await untold(world) == 0
    assert await facts(world, e.ALERT_RAISED) == 1
    await owner.execute("set enable_seqscan = off")
    plan = await owner.fetch("explain " + _PENDING.replace("$1", "50"))
    assert any("finding_untold" in row[0] for row in plan)


async def test_unexpected_error_does_not_end_the_raising_of_alerts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SG-10: whatever goes wrong once, what is found afterwards is raised."""
    raising, failed = world.audit.raising, asyncio.Event()
    working = raising.raise_pending

    async def failing() -> int:
        monkeypatch.setattr(raising, "raise_pending", working)
        failed.set()
        message = "nobody thought of this"
        raise RuntimeError(message)

    monkeypatch.setattr(raising, "raise_pending", failing)
    async with asyncio.timeout(10):
        await failed.wait()
        await late(world)
        while not await facts(world, e.ALERT_RAISED):
            await asyncio.sleep(0.05)
    assert await facts(world, e.ALERT_RAISED) == 1


async def test_judgement_sent_again_under_its_key_is_answered_and_made_once(world: World) -> None:
    """Contract: POST accepts Idempotency-Key; a repeat is authorised, recorded, rendered anew."""
    analyst, other = await world.analyst(), await world.analyst()
    await late(world)
    (alert,) = await alerts_of(world, analyst)
    path, verdict = f"/v1/alerts/{alert['id']}/resolve", {"verdict": "benign", "note": "n"}
    first = await analyst.tell(path, verdict, key="k-1")
    again = await analyst.tell(path, verdict, key="k-1")
    assert (first.status_code, again.status_code) == (200, 200), again.text
    assert again.json() == first.json()
    assert await facts(world, e.ALERT_RESOLVED) == 1
    (read,) = await analyst.items("/v1/events", type_=e.READ, object_=alert["id"])
    assert read["shown"] == {"alerts": [alert["id"]]}
    assert (await analyst.tell(path, {"verdict": "benign"}, key="k-1")).status_code == 422
    (failed,) = await analyst.items("/v1/events", type_=e.REFUSED, object_=alert["id"])
    assert (failed["outcome"], failed["action"]) == ("failed", "resolve")
    assert (await analyst.tell(path, verdict, key="k 1")).status_code == 422
    assert (await analyst.tell(path, verdict, key="k-2")).status_code == 409
    assert (await other.tell(path, verdict, key="k-1")).status_code == 409
    await world.revoke(analyst.person)
    assert (await analyst.tell(path, verdict, key="k-1")).status_code == 404


async def test_judgement_that_says_two_things_is_malformed(world: World) -> None:
    """RFC 8259, 4: of a name that comes twice, readers differ in which they take."""
    analyst = await world.analyst()
    await late(world)
    (alert,) = await alerts_of(world, analyst)
    path, body = f"/v1/alerts/{alert['id']}/resolve", b'{"verdict":"benign","verdict":"confirmed"}'
    for kind in ("application/json", "text/plain"):
        headers = {**analyst.headers, "content-type": kind}
        answer = await world.client.post(path, content=body, headers=headers)
        assert answer.status_code == 422
    assert await facts(world, e.ALERT_RESOLVED) == 0


async def test_conflicts_are_counted_against_the_budget_of_refusals(world: World) -> None:
    """Design: every refusal that is recorded is counted, whichever it is."""
    analyst = await world.analyst()
    await late(world)
    (alert,) = await alerts_of(world, analyst)
    path = f"/v1/alerts/{alert['id']}/resolve"
    assert (await analyst.tell(path, {"verdict": "benign"})).status_code == 200
    world.clock.set(world.clock.now())
    for _ in range(BURST - 1):
        world.audit.budget.spend(analyst.person.id, world.clock.now())
    assert (await analyst.tell(path, {"verdict": "benign"})).status_code == 409
    assert (await analyst.tell(path, {"verdict": "benign"})).status_code == 429


async def test_more_of_the_same_updates_the_alert_and_opens_it_again(world: World) -> None:
    """SG-9: repeated failed logins; a judgement does not cover what came after it."""
    analyst = await world.analyst()
    person = await world.staff("school_office", await world.organisation("school"))
    for second in range(5):
        await world.failed_login(person, TUESDAY_MORNING + timedelta(seconds=second))
    (alert,) = await alerts_of(world, analyst, rule="repeated_failures_account")
    assert alert["details"] == {"failures": 5}
    path = f"/v1/alerts/{alert['id']}/resolve"
    assert (await analyst.tell(path, {"verdict": "benign"})).status_code == 200
    for second in range(5, 10):
        await world.failed_login(person, TUESDAY_MORNING + timedelta(seconds=second))
    (again,) = await alerts_of(world, analyst, rule="repeated_failures_account")
    assert again["id"] == alert["id"]
    assert again["details"] == {"failures": 10}
    assert again["status"] == "open"
    assert await facts(world, e.ALERT_UPDATED) == 1


async def test_alert_is_resolved_once_and_its_note_is_sealed(
    world: World, connect: Connect
) -> None:
    """SG-18: the note is free text; SG-10: a second judgement is a conflict."""
    analyst = await world.analyst()
    await late(world)
    (alert,) = await alerts_of(world, analyst)
    path = f"/v1/alerts/{alert['id']}/resolve"
    judged = await analyst.tell(path, {"verdict": "false_positive", "note": "On call that night"})
    assert judged.status_code == 200, judged.text
    assert judged.json()["status"] == "resolved"
    assert (await analyst.tell(path, {"verdict": "benign"})).status_code == 409
    (kept,) = await analyst.items("/v1/alerts", status="resolved")
    assert kept["resolution"]["note"] == "On call that night"
    assert kept["resolution"]["verdict"] == "false_positive"
    assert kept["resolution"]["resolved_by"] == str(analyst.person.id)
    assert kept == judged.json()
    assert await analyst.items("/v1/alerts", status="open") == []
    owner = await connect(None)
    bodies = await owner.fetch("select body from log.event union all select state from audit.alert")
    assert not any(b"On call" in row["body"] for row in bodies)
    (conflict,) = await analyst.items("/v1/events", type_="audit.refused")
    assert (conflict["action"], conflict["outcome"]) == ("resolve", "failed")


def test_a_note_is_not_kept_by_what_parses_it() -> None:
    """SG-18: a short text that is parsed again would be the very same one, kept meanwhile."""
    body = b'{"verdict":"benign","note":"Ana was with her aunt"}'
    once, again = (Resolution.model_validate_json(body).note for _ in range(2))
    assert once is not None
    assert once is not again


async def test_nobody_judges_an_alert_about_themselves(world: World) -> None:
    analyst = await world.analyst()
    await world.begin(analyst.person, at=AT_NIGHT)
    (alert,) = await alerts_of(world, analyst)
    told = await analyst.tell(f"/v1/alerts/{alert['id']}/resolve", {"verdict": "benign"})
    assert told.status_code == 403


async def test_malformed_judgement_is_refused_without_being_repeated(world: World) -> None:
    analyst = await world.analyst()
    told = await analyst.tell(f"/v1/alerts/{world.id()}/resolve", {"verdict": "guilty-as-sin"})
    assert told.status_code == 422
    assert "guilty" not in told.text


async def test_alerts_of_other_organisations_are_not_there(world: World) -> None:
    """Domain: elsewhere than at the Ministry, their own organisation."""
    near, far = await world.analyst("asp"), await world.analyst("asp")
    person = await world.staff("asp_case_manager", near.person.organisation_id)
    await world.begin(person, at=AT_NIGHT)
    (alert,) = await alerts_of(world, near)
    assert await far.items("/v1/alerts") == []
    path = f"/v1/alerts/{alert['id']}"
    assert (await far.ask(path)).status_code == 404
    assert (await far.tell(f"{path}/resolve", {"verdict": "benign"})).status_code == 404
    assert (await near.ask(path)).status_code == 200


async def test_filters_of_alerts_keep_what_they_name(world: World) -> None:
    analyst = await world.analyst()
    (one, _), (two, _) = await late(world), await late(world)
    assert len(await alerts_of(world, analyst, rule="out_of_hours_login")) == 2
    assert await analyst.items("/v1/alerts", rule="repeated_failures_account") == []
    (of_one,) = await analyst.items("/v1/alerts", person=one.id)
    assert of_one["person_id"] == str(one.id)
    page = (await analyst.ask("/v1/alerts", limit=1)).json()
    rest = (await analyst.ask("/v1/alerts", limit=1, cursor=page["next_cursor"])).json()
    people = {item["person_id"] for item in (*page["items"], *rest["items"])}
    assert people == {str(one.id), str(two.id)}
    assert rest["next_cursor"] is None


async def test_metrics_count_open_alerts_and_name_nobody(world: World) -> None:
    """SG-18: metrics carry no person."""
    analyst = await world.analyst()
    person, _ = await late(world)
    await alerts_of(world, analyst)
    await world.audit.raising._count_open()
    metrics = await world.client.get("/metrics")
    assert 'casewarden_alerts_open{rule="out_of_hours_login"} 1.0' in metrics.text
    assert str(person.id) not in metrics.text


async def test_a_rule_that_does_not_exist_is_malformed_not_without_alerts(world: World) -> None:
    analyst = await world.caller("security_analyst", await world.organisation("ministry"))
    assert (await analyst.ask("/v1/alerts", rule="nonsense")).status_code == 422
    assert (await analyst.ask("/v1/alerts", rule="many_resets")).status_code == 200
