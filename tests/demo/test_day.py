"""The school day: who takes part, and that it is night somewhere whenever it is run.

That the day runs through the real HTTP API, and what it leaves, is tested with the command
(``tests/test_cli.py``).
"""

from datetime import UTC, date, datetime, timedelta
from unittest.mock import patch
from uuid import uuid4

import httpx
import pytest

from services.audit.detection.calendar import Hours, outside
from services.demo import aftermath, day_plan
from services.demo.abroad import with_desks
from services.demo.caller import Caller, Tally
from services.demo.cast import Casting
from services.demo.chance import Chance
from services.demo.region import Region, build_region

TODAY = date(2026, 7, 1)
SEED = 20
NOON = datetime(2026, 7, 1, 0, 0, tzinfo=UTC)  # midday in New Zealand, a Wednesday in term


@pytest.fixture(scope="module")
def region() -> Region:
    """Make the region of the demonstration."""
    return with_desks(build_region(SEED, TODAY), Chance(SEED), TODAY)


def test_whoever_browses_does_so_out_of_hours_whatever_the_time_is(region: Region) -> None:
    """SG-9: the rule's own calendar says so, every hour of a year and a half."""
    places = {o.organisation_id: o for o in region.organisations}
    now = NOON
    while now < NOON + timedelta(days=540):
        cast = Casting(region, SEED, 1, now).cast(0.05)
        place = places[cast.browser.held.organisation_id]
        reason = outside(Hours(place.kind, place.time_zone, place.holidays or None), now)
        assert reason is not None, now
        assert cast.night is reason
        now += timedelta(hours=31)  # every hour of the day comes up on every day of the week


def test_while_new_zealand_works_the_browser_is_abroad_and_it_is_night_there(
    region: Region,
) -> None:
    cast = Casting(region, SEED, 1, NOON).cast(1)
    places = {o.organisation_id: o.time_zone for o in region.organisations}
    assert places[cast.browser.held.organisation_id].startswith("Europe/")
    assert cast.night == "night"
    assert cast.shut is None


def test_nobody_is_two_people_on_one_day(region: Region) -> None:
    cast = Casting(region, SEED, 1, NOON).cast(1)
    everybody = (
        *cast.working, *cast.sprayed, cast.remembers, cast.gives_up, cast.browser, cast.analyst
    )  # fmt: skip
    ids = [account.person.person_id for account in everybody]
    assert len(ids) == len(set(ids))


def test_every_role_of_the_casework_is_at_work(region: Region) -> None:
    for scale in (0.02, 1):
        cast = Casting(region, SEED, 1, NOON).cast(scale)
        assert {account.held.role for account in cast.working} == {
            "school_leader",
            "primary_contact",
            "school_office",
            "asp_workflow_lead",
            "asp_case_manager",
            "central_investigation",
            "security_analyst",
        }


def test_the_same_seed_gives_the_same_day_and_another_seed_another(region: Region) -> None:
    first, again, other = (Casting(region, SEED, n, NOON).cast(1) for n in (1, 1, 2))
    assert first == again
    assert first != other


def test_the_day_is_a_few_thousand_requests_and_grows_with_its_scale(region: Region) -> None:
    made = [
        day_plan.expected(
            day_plan.plan(
                region, seed=SEED, day_seed=1, scale=scale, base="http://127.0.0.1", now=NOON
            )
        )
        for scale in (0.05, 1, 2)
    ]
    assert made[0] < 500
    assert 2_000 < made[1] < 6_000
    assert made[1] < made[2]


def test_a_fault_of_the_server_is_counted_as_unexpected_without_ids() -> None:
    tally = Tally(lambda: None)
    path = "/cases/v1/cases/0198c7a4-7a53-7b1c-8f0e-3d1f6a2b4c5d"
    for status in (200, 404, 422, 500):
        tally.count("GET", path, httpx.Response(status))
    assert tally.total == 4
    assert tally.unexpected == {
        "422 GET /cases/v1/cases/{id}": 1,
        "500 GET /cases/v1/cases/{id}": 1,
    }


async def test_what_is_counted_of_a_learner_happened_on_the_day_and_not_before(
    region: Region,
) -> None:
    """The demonstration's own history is full of looks at everybody."""
    day = day_plan.plan(region, seed=SEED, day_seed=1, scale=1, base="http://127.0.0.1", now=NOON)
    looks = [("loaded", NOON - timedelta(days=1)), ("seen", NOON + timedelta(minutes=1))]

    def answered(request: httpx.Request) -> httpx.Response:
        since = datetime.fromisoformat(request.url.params.get("from", "2000-01-01T00:00:00Z"))
        items: list[dict[str, object]] = [
            {"actor": {"person_id": name}, "outcome": "allowed"}
            for name, at in looks
            if at >= since
        ]
        if request.url.path.endswith("/alerts"):
            rules = ("out_of_hours_login", "repeated_failures_address")
            items = [{"rule": rule, "severity": "high"} for rule in rules]
        return httpx.Response(200, json={"items": items, "next_cursor": None})

    tally, left = Tally(lambda: None), aftermath.Left(learner=str(uuid4()))
    with patch.object(httpx, "AsyncHTTPTransport", lambda **_: httpx.MockTransport(answered)):
        analyst = Caller(day.base, day.cast.analyst, "", tally)
    answers = await aftermath.ask(analyst, day, left, NOON)
    await analyst.close()
    summary = aftermath.summary(day, tally, left, 1.0, answers)
    assert (summary["learner"]["accesses"], summary["learner"]["people"]) == (1, 1)
