"""Catchments: the Ministry's administrators' to see, to make and to end (AC-DO-16)."""

import asyncio
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any
from uuid import uuid4

import httpx
import pytest

from services.authz import events as e
from services.authz.events import OrganisationKind, Role
from services.authz.hearing import Hearing
from tests.authz.staffed import KOTARE, MATAI, MINISTRY, RIMU, STAFF, TUI, Region
from tests.conftest import Clock

DAY = timedelta(days=1)


async def serve(
    region: Region, provider: str, school: str, who: str = "admin", **more: str
) -> httpx.Response:
    path = f"/v1/organisations/{region.organisations[provider]}/catchment"
    body = {"school_id": str(region.organisations[school]), **more}
    return await region.call(who, "POST", path, body)


async def listed(region: Region, of: str, who: str = "admin", query: str = "") -> httpx.Response:
    path = f"/v1/organisations/{region.organisations[of]}/catchment{query}"
    return await region.call(who, "GET", path)


async def entries(region: Region, of: str) -> list[dict[str, Any]]:
    answer = await listed(region, of)
    assert answer.status_code == HTTPStatus.OK, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


@pytest.mark.parametrize("provider", [KOTARE, TUI])
async def test_an_administrator_gives_a_school_to_a_provider(region: Region, provider: str) -> None:
    """AC-DO-16."""
    made = await serve(region, provider, MATAI)
    assert made.status_code == HTTPStatus.CREATED, made.text
    event = (await region.log(e.CATCHMENT_CHANGED))[-1].event
    assert e.catchment_key(region.organisations[MATAI]) in event.touches
    assert made.json()["until"] is None


async def test_a_catchment_joins_a_provider_and_a_school(region: Region) -> None:
    for provider, school in ((MATAI, RIMU), (KOTARE, TUI)):
        made = await serve(region, provider, school)
        assert made.status_code == HTTPStatus.UNPROCESSABLE_ENTITY


async def test_nobody_else_changes_catchments(region: Region) -> None:
    """AC-DO-16: the lead of the provider neither."""
    assert (await serve(region, KOTARE, MATAI, "lead")).status_code == HTTPStatus.NOT_FOUND


async def test_a_school_has_one_asp_at_a_time(region: Region, clock: Clock) -> None:
    """Words: the provider whose catchment holds a school is one."""
    await region.organisation("Kea Attendance", OrganisationKind.ASP)
    start, change = clock.now(), clock.now() + timedelta(days=30)
    await serve(region, KOTARE, MATAI, **{"from": start.isoformat()})
    early = await serve(region, "Kea Attendance", MATAI)
    assert early.status_code == HTTPStatus.CONFLICT
    ended = await serve(
        region, KOTARE, MATAI, **{"from": start.isoformat(), "until": change.isoformat()}
    )
    assert ended.status_code == HTTPStatus.CREATED, ended.text
    then = await serve(region, "Kea Attendance", MATAI, **{"from": change.isoformat()})
    assert then.status_code == HTTPStatus.CREATED, then.text
    assert (await serve(region, TUI, MATAI)).status_code == HTTPStatus.CREATED


async def test_an_isp_serves_one_school(region: Region) -> None:
    """Words: an in-school provider serves one school."""
    assert (await serve(region, TUI, MATAI)).status_code == HTTPStatus.CREATED
    assert (await serve(region, TUI, RIMU)).status_code == HTTPStatus.CONFLICT


async def test_an_administrator_sees_what_a_provider_serves_and_who_serves_a_school(
    region: Region, clock: Clock
) -> None:
    """AC-DO-16; a list names what it showed."""
    assert await entries(region, KOTARE) == []
    made = (await serve(region, KOTARE, MATAI)).json()
    until = (clock.now() + DAY).isoformat()
    other = (await serve(region, KOTARE, RIMU, until=until)).json()
    of_school = (await serve(region, TUI, MATAI)).json()
    assert sorted(await entries(region, KOTARE), key=str) == sorted([made, other], key=str)
    read = (await region.log(e.READ))[-1].event
    schools = sorted(str(region.organisations[name]) for name in (MATAI, RIMU))
    assert (read.shown, read.action) == ({"catchment": schools}, "list")
    assert [ground.clause for ground in read.grounds] == ["AC-DO-16"]
    assert sorted(await entries(region, MATAI), key=str) == sorted([made, of_school], key=str)


async def test_a_catchment_is_walked_page_by_page(region: Region, clock: Clock) -> None:
    """Contract: limit and cursor, bound to caller and filter."""
    begins = [clock.now() + n * DAY for n in range(5)]
    for begin in begins:
        terms = {"from": begin.isoformat(), "until": (begin + DAY).isoformat()}
        assert (await serve(region, KOTARE, MATAI, **terms)).status_code == HTTPStatus.CREATED
    seen, query = [], "?limit=2"
    while True:
        page = (await listed(region, KOTARE, query=query)).json()
        seen += [datetime.fromisoformat(entry["from"]) for entry in page["items"]]
        if page["next_cursor"] is None:
            break
        query = f"?limit=2&cursor={page['next_cursor']}"
    assert seen == begins
    elsewhere = await listed(region, TUI, query=query)
    assert elsewhere.status_code == HTTPStatus.UNPROCESSABLE_ENTITY


async def test_a_catchment_is_not_there_for_anybody_else(region: Region) -> None:
    """AC-DO-16: the lead of the provider neither, nor another organisation's administrator."""
    await serve(region, KOTARE, MATAI)
    await region.person("theirs", (Role.ADMINISTRATOR, KOTARE))
    hidden = [await listed(region, KOTARE, who) for who in sorted({*STAFF, "theirs"} - {"admin"})]
    path = f"/v1/organisations/{uuid4()}/catchment"
    missing = await region.call("admin", "GET", path)
    assert {answer.status_code for answer in (*hidden, missing)} == {HTTPStatus.NOT_FOUND}
    assert {answer.content for answer in hidden} == {missing.content}
    assert (await listed(region, MINISTRY)).json()["items"] == []


async def test_an_entry_in_force_is_ended_without_its_beginning(
    region: Region, clock: Clock
) -> None:
    """Words: every change is dated; the end is changed as often as one likes."""
    made = (await serve(region, KOTARE, MATAI)).json()
    for days in (30, 10, 20):
        until = clock.now() + days * DAY
        ended = await serve(region, KOTARE, MATAI, until=until.isoformat())
        assert ended.status_code == HTTPStatus.CREATED, ended.text
        assert ended.json()["from"] == made["from"]
        assert datetime.fromisoformat(ended.json()["until"]) == until
        assert await entries(region, KOTARE) == [ended.json()]
        clock.advance(timedelta(minutes=1))
    assert (await serve(region, KOTARE, MATAI)).status_code == HTTPStatus.CONFLICT


async def test_where_nothing_is_in_force_the_next_to_come_is_ended(
    region: Region, clock: Clock
) -> None:
    """What ends before it begins never does, and is in nobody's way."""
    await region.organisation("Kea Attendance", OrganisationKind.ASP)
    now, begin = clock.now(), clock.now() + 10 * DAY
    over = {"from": (now - 9 * DAY).isoformat(), "until": (now - DAY).isoformat()}
    assert (await serve(region, KOTARE, MATAI, **over)).status_code == HTTPStatus.CREATED
    for first in (begin, begin + 30 * DAY):
        terms = {"from": first.isoformat(), "until": (first + 20 * DAY).isoformat()}
        assert (await serve(region, KOTARE, MATAI, **terms)).status_code == HTTPStatus.CREATED
    ended = await serve(region, KOTARE, MATAI, until=(begin + DAY).isoformat())
    assert ended.json()["from"] == terms_of(begin)
    never = await serve(region, KOTARE, MATAI, until=now.isoformat())
    assert (never.json()["from"], never.json()["until"]) == (terms_of(begin), terms_of(begin))
    last = await serve(region, KOTARE, MATAI, until=now.isoformat())
    assert last.json()["from"] == terms_of(begin + 30 * DAY)
    assert len(await entries(region, KOTARE)) == 3
    other = await serve(region, "Kea Attendance", MATAI)
    assert other.status_code == HTTPStatus.CREATED, other.text


def terms_of(moment: datetime) -> str:
    """Return a moment as it is answered."""
    return moment.isoformat().replace("+00:00", "Z")


async def test_what_is_not_there_or_had_begun_by_then_is_not_ended(
    region: Region, clock: Clock
) -> None:
    """Contract: 409 where the state does not allow it; nothing is changed."""
    past = (clock.now() - DAY).isoformat()
    assert (await serve(region, KOTARE, MATAI, until=past)).status_code == HTTPStatus.CONFLICT
    made = (await serve(region, KOTARE, MATAI)).json()
    assert (await serve(region, KOTARE, MATAI, until=past)).status_code == HTTPStatus.CONFLICT
    assert await entries(region, KOTARE) == [made]


async def test_an_end_that_reaches_into_anothers_time_is_a_conflict(
    region: Region, clock: Clock
) -> None:
    """Words: the provider whose catchment holds a school is one."""
    await region.organisation("Kea Attendance", OrganisationKind.ASP)
    change = clock.now() + 10 * DAY
    assert (await serve(region, KOTARE, MATAI)).status_code == HTTPStatus.CREATED
    await serve(region, KOTARE, MATAI, until=change.isoformat())
    then = {"from": change.isoformat()}
    assert (await serve(region, "Kea Attendance", MATAI, **then)).status_code == HTTPStatus.CREATED
    later = await serve(region, KOTARE, MATAI, until=(change + DAY).isoformat())
    assert later.status_code == HTTPStatus.CONFLICT


async def test_an_ending_sent_again_under_its_key_is_made_once_and_answered_alike(
    region: Region, clock: Clock
) -> None:
    """Contract: Idempotency-Key; also where another entry is to come."""
    begin, until = clock.now() + 30 * DAY, (clock.now() + DAY).isoformat()
    await serve(region, KOTARE, MATAI)
    await serve(region, KOTARE, MATAI, until=(clock.now() + 2 * DAY).isoformat())
    await serve(region, KOTARE, MATAI, **{"from": begin.isoformat()})
    before = len(await region.log(e.CATCHMENT_CHANGED))
    path = f"/v1/organisations/{region.organisations[KOTARE]}/catchment"
    body = {"school_id": str(region.organisations[MATAI]), "until": until}
    key = {"idempotency-key": "c-1"}
    first = await region.call("admin", "POST", path, body, headers=key)
    again = await region.call("admin", "POST", path, body, headers=key)
    assert first.status_code == again.status_code == HTTPStatus.CREATED
    assert first.json() == again.json()
    assert len(await region.log(e.CATCHMENT_CHANGED)) == before + 1


async def test_what_stands_already_is_a_conflict_however_often_it_is_asked(
    region: Region, clock: Clock
) -> None:
    """Contract: guarded by state; nothing is changed, so nothing is recorded as a change."""
    begin, until = clock.now(), clock.now() + DAY
    terms = {"from": begin.isoformat(), "until": until.isoformat()}
    answers = await asyncio.gather(*(serve(region, KOTARE, MATAI, **terms) for _ in range(4)))
    assert sorted(a.status_code for a in answers) == [201, 409, 409, 409]
    again = await serve(region, KOTARE, MATAI, until=until.isoformat())
    assert again.status_code == HTTPStatus.CONFLICT
    assert len(await region.log(e.CATCHMENT_CHANGED)) == 1
    later = {**terms, "until": (until + DAY).isoformat()}
    assert (await serve(region, KOTARE, MATAI, **later)).status_code == HTTPStatus.CREATED


async def test_a_key_that_names_no_change_is_a_conflict_and_no_error(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Contract: keys outlive versions; of some it is known only that the thing was done."""
    path = f"/v1/organisations/{region.organisations[KOTARE]}/catchment"
    body = {"school_id": str(region.organisations[MATAI])}
    key, draft = {"idempotency-key": "c-1"}, Hearing.draft

    def former(hearing: Hearing, events: Any, reply: Any, made: Any = None) -> Any:  # noqa: ANN401 - passes on
        kept = {"provider": region.organisations[KOTARE]} if made else None
        return draft(hearing, events, reply, kept)

    with monkeypatch.context() as before:
        before.setattr(Hearing, "draft", former)
        first = await region.call("admin", "POST", path, body, headers=key)
    again = await region.call("admin", "POST", path, body, headers=key)
    assert (first.status_code, again.status_code) == (HTTPStatus.CREATED, HTTPStatus.CONFLICT)


async def test_what_is_seen_of_a_catchment_is_recorded_for_the_ministry_alone(
    region: Region,
) -> None:
    """AC-DO-16: neither provider nor school reads in its audit what it may not see."""
    path = f"/v1/organisations/{region.organisations[KOTARE]}/catchment"
    body = {"school_id": str(region.organisations[MATAI])}
    for _ in range(2):
        made = await region.call("admin", "POST", path, body, headers={"idempotency-key": "c-1"})
        assert made.status_code == HTTPStatus.CREATED, made.text
    await entries(region, KOTARE)
    await entries(region, MATAI)
    reads = [r.event for r in await region.log(e.READ)]
    assert [event.action for event in reads] == ["read", "list", "list"]
    assert all(event.shown["catchment"] for event in reads)
    told = {o for event in reads for o in (event.organisation_id, event.actor.organisation_id)}
    assert told == {region.organisations[MINISTRY]}


async def test_a_change_sent_again_under_its_key_answers_the_entry_it_made(
    region: Region, clock: Clock
) -> None:
    """Contract: Idempotency-Key; whatever other entries there are since, and as it is now."""
    path = f"/v1/organisations/{region.organisations[KOTARE]}/catchment"
    first, later = clock.now() + 900 * DAY, clock.now() + 1300 * DAY
    end = terms_of(clock.now() + 100 * DAY)
    body = {"school_id": str(region.organisations[MATAI]), "until": end}
    key = {"idempotency-key": "K1"}

    await serve(region, KOTARE, MATAI, **{"from": first.isoformat()})
    made = await region.call("admin", "POST", path, body, headers=key)
    await serve(region, KOTARE, MATAI, **{"from": later.isoformat()})
    again = await region.call("admin", "POST", path, body, headers=key)

    assert made.json()["from"] == made.json()["until"] == terms_of(first)
    assert again.status_code == HTTPStatus.CREATED, again.text
    assert again.json() == made.json()
    assert {entry["from"] for entry in await entries(region, KOTARE)} == {
        terms_of(first),
        terms_of(later),
    }
