"""Refusals: alike for what is missing and what is hidden, recorded where they are watched."""

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from services.authz import events as e
from services.authz.events import Role
from services.kernel import budgets
from services.kernel.events import Outcome
from services.kernel.groups import Group
from services.kernel.log import Log
from tests.authz.staffed import KOTARE, MATAI, MINISTRY, RIMU, Region

WHY = {"reason": "Because"}
#: above every id of today, and below
MISSING = (UUID(int=2**128 - 1), UUID(int=1))
PEOPLE: tuple[tuple[str, str, object], ...] = (
    ("GET", "/v1/people/{}", None),
    ("PATCH", "/v1/people/{}", {"given_name": "Aroha"}),
    ("POST", "/v1/people/{}/suspend", WHY),
    ("POST", "/v1/people/{}/reinstate", None),
    ("POST", "/v1/people/{}/reset", WHY),
    ("DELETE", f"/v1/people/{{}}/assignments/{uuid4()}", None),
)
ORGANISATIONS = ("/v1/organisations/{}", "/v1/organisations/{}/staff")


class Steps:
    """What one request does: the statements of its own task, and how many guards it appends."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.taken: list[object] = []
        self.task = asyncio.current_task()
        execute: Callable[..., Awaitable[Any]] = vars(asyncpg.Connection)["_execute"]
        append = Log.append

        async def executed(connection: asyncpg.Connection, query: str, *a: Any, **k: Any) -> Any:  # noqa: ANN401 - passes on
            if asyncio.current_task() is self.task:
                self.taken.append(query)
            return await execute(connection, query, *a, **k)

        async def appended(log: Log, group: Group) -> int:
            if asyncio.current_task() is self.task:
                self.taken.append(len(group.guards))
            return await append(log, group)

        monkeypatch.setattr(asyncpg.Connection, "_execute", executed)
        monkeypatch.setattr(Log, "append", appended)

    async def of(self, region: Region, method: str, path: str, body: object = None) -> list[object]:
        """Return the steps of a request of the leader of Matai School that finds nothing.

        Asked once before, so that keys which every request needs are loaded already.
        """
        await region.call("leader", "GET", "/v1/organisations")
        await region.call("leader", "GET", f"/v1/organisations/{MISSING[0]}")
        self.taken.clear()
        answer = await region.call("leader", method, path, body)
        assert answer.status_code == HTTPStatus.NOT_FOUND, (method, path)
        return list(self.taken)


async def test_missing_and_hidden_people_are_refused_by_the_same_steps(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AC-SEE: nor by the time it takes can one tell whether somebody exists."""
    await region.person("homeless")
    steps = Steps(monkeypatch)
    for method, path, body in PEOPLE:
        hidden = await steps.of(region, method, path.format(region.people["manager"]), body)
        assert len(hidden) >= 3
        for nobody in (*MISSING, region.people["homeless"]):
            assert await steps.of(region, method, path.format(nobody), body) == hidden, path


async def test_missing_and_hidden_organisations_are_refused_by_the_same_steps(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AC-SEE."""
    steps = Steps(monkeypatch)
    for path in ORGANISATIONS:
        hidden = await steps.of(region, "GET", path.format(region.organisations[KOTARE]))
        assert len(hidden) >= 3
        assert await steps.of(region, "GET", path.format(uuid4())) == hidden, path


async def test_missing_and_hidden_assignments_are_refused_by_the_same_steps(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AC-SEE: where else one's staff work is not for a leader to find out."""
    await region.person("both", (Role.PRIMARY_CONTACT, RIMU), (Role.PRIMARY_CONTACT, MATAI))
    steps = Steps(monkeypatch)
    path = f"/v1/people/{region.people['both']}/assignments/"

    elsewhere = await steps.of(region, "DELETE", f"{path}{region.assignments['both']}")

    assert await steps.of(region, "DELETE", f"{path}{uuid4()}") == elsewhere


async def test_a_refusal_is_recorded_for_the_organisation_of_who_was_refused(
    region: Region,
) -> None:
    """SG-8: the organisation's own analyst sees who tries what they may not."""
    await region.call("contact", "GET", f"/v1/people/{region.people['manager']}")
    path = f"/v1/people/{region.people['leader']}/suspend"
    await region.call("manager", "POST", path, WHY)
    await region.call("office", "POST", f"/v1/people/{region.people['contact']}/suspend", WHY)

    refused = [recorded.event for recorded in await region.log(e.REFUSED)]

    expected = [region.organisations[place] for place in (MATAI, KOTARE, MATAI)]
    assert [event.organisation_id for event in refused] == expected
    assert [event.actor.organisation_id for event in refused] == expected
    assert [event.grounds for event in refused] == [()] * 3


def _about_own(region: Region) -> list[tuple[str, str, object, dict[str, str], int, Outcome]]:
    """Return what a leader of Matai School is refused about who works there, with how."""
    contact, stale = f"/v1/people/{region.people['contact']}", {"if-match": '"stale"'}
    leader = f"/v1/people/{region.people['leader']}"
    misfit = {"role": "asp_case_manager", "organisation_id": str(region.organisations[MATAI])}
    held = {"role": "primary_contact", "organisation_id": str(region.organisations[MATAI])}
    return [
        ("PATCH", contact, {"phone": "1"}, {}, 428, Outcome.FAILED),
        ("PATCH", contact, {"phone": "1"}, stale, 412, Outcome.FAILED),
        ("POST", f"{contact}/reinstate", None, {}, 409, Outcome.FAILED),
        ("POST", f"{contact}/assignments", held, {}, 409, Outcome.FAILED),
        ("POST", f"{contact}/assignments", misfit, {}, 422, Outcome.FAILED),
        ("POST", f"{leader}/suspend", WHY, {}, 403, Outcome.DENIED),
        ("DELETE", f"{contact}/assignments/{uuid4()}", None, stale, 404, Outcome.DENIED),
        (
            "GET",
            f"/v1/organisations/{region.organisations[MATAI]}/catchment",
            None,
            {},
            404,
            Outcome.DENIED,
        ),
    ]


async def test_a_refusal_about_whom_a_post_shows_is_told_to_that_posts_organisation(
    region: Region,
) -> None:
    """AC-SEE, DP-5: the provider reads nothing of whom a manager of theirs leads elsewhere.

    What may be done and could not be just then has failed, and was not denied.
    """
    await region.person("both", (Role.ASP_CASE_MANAGER, KOTARE), (Role.SCHOOL_LEADER, MATAI))
    for method, path, body, headers, status, outcome in _about_own(region):
        answer = await region.call("both", method, path, body, headers=headers)
        refused = (await region.log(e.REFUSED))[-1].event
        told = (refused.organisation_id, refused.actor.organisation_id)
        assert (answer.status_code, refused.outcome) == (status, outcome), (method, path)
        assert told == (region.organisations[MATAI],) * 2, (method, path)
    await region.call("both", "GET", f"/v1/people/{region.people['rimu_contact']}")
    unseen = (await region.log(e.REFUSED))[-1].event
    assert unseen.actor.organisation_id == region.organisations[KOTARE]


async def test_a_refusal_is_told_for_the_post_that_lets_before_the_one_that_shows(
    region: Region,
) -> None:
    """AC-DO-16, DP-5: what an administrator could not do is the Ministry's to know."""
    await region.person("both", (Role.SCHOOL_OFFICE, MATAI), (Role.ADMINISTRATOR, MINISTRY))
    leader = f"/v1/people/{region.people['leader']}"
    answer = await region.call("both", "POST", f"{leader}/reinstate")
    refused = (await region.log(e.REFUSED))[-1].event
    assert answer.status_code == HTTPStatus.CONFLICT
    assert refused.actor.organisation_id == region.organisations[MINISTRY]


async def _refusals(region: Region) -> list[tuple[str, str, str, object, dict[str, str], int]]:
    """Return requests that are refused, each by somebody else, with how."""
    office = f"/v1/people/{region.people['office']}"
    assignment = f"{office}/assignments/{region.assignments['office']}"
    stale = {"if-match": '"stale"'}
    return [
        ("contact", "GET", f"/v1/people/{uuid4()}", None, {}, 404),
        ("office", "POST", f"/v1/people/{region.people['contact']}/suspend", WHY, {}, 403),
        ("leader", "POST", f"{office}/reinstate", None, {}, 409),
        ("lead", "PATCH", f"/v1/people/{region.people['manager']}", {"phone": "1"}, {}, 428),
        ("rimu_leader", "PATCH", f"/v1/people/{region.people['rimu_contact']}", {}, stale, 412),
        ("admin", "DELETE", assignment, None, stale, 403),
    ]


async def test_every_recorded_refusal_spends_the_budget(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SG-9: who is refused all day meets 429, however it was that they were refused."""
    monkeypatch.setattr(budgets, "BURST", 1)
    for who, method, path, body, headers, expected in await _refusals(region):
        refused = await region.call(who, method, path, body, headers=headers)
        again = await region.call(who, "GET", "/v1/organisations")
        assert (refused.status_code, again.status_code) == (expected, 429), (who, path)
