"""What people of each role do in a day, as requests to the API.

Each function is one person's day in small steps; it goes on until it has nothing left to do or
the day's time is up. What the API refuses is an answer like any other: people try things.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from services.demo.texts import compose

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from random import Random
    from uuid import UUID

    from services.demo.caller import Caller
    from services.demo.records import Student

_FULL: Final = 40
_SOME_PARTS: Final = ("overview,student_basic", "overview,plan", "items", "overview,contacts,team")


@dataclass(frozen=True, slots=True)
class Scene:
    """What the people of the day know without asking: names at their school, who serves whom."""

    by_school: Mapping[UUID, tuple[Student, ...]]
    asp_of: Mapping[str, str]
    managers: Mapping[str, tuple[str, ...]]
    contacts: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Shift:
    """One person at work: how they draw, and how many things they get round to."""

    caller: Caller
    scene: Scene
    draw: Random
    rounds: int

    def text(self, recipe: str) -> str:
        """Return a realistic text."""
        known = {"name": "the learner", "caregiver": "the caregiver", "year": "this year"}
        known |= {"contact": "the school", "manager": "the case manager"}
        return compose(self.draw, recipe, known)

    async def look(self, kind: str, record_id: str) -> tuple[dict[str, Any], str]:
        """Read a record whole; return it with its version, empty when it is refused."""
        response = await self.caller.ask("GET", f"/cases/v1/{kind}/{record_id}")
        if response.status_code != HTTPStatus.OK:
            return {}, ""
        body: dict[str, Any] = response.json()
        return body, response.headers["etag"]

    async def glance(self, case_id: str) -> None:
        """Read some parts of a case."""
        parts = self.draw.choice(_SOME_PARTS)
        await self.caller.ask("GET", f"/cases/v1/cases/{case_id}?parts={parts}")

    async def add_item(self, case_id: str, **item: object) -> str | None:
        """Put an item on a case; return its id, or ``None`` when it is refused."""
        made = await self.caller.ask("POST", f"/cases/v1/cases/{case_id}/items", json=item)
        return made.json()["id"] if made.status_code == HTTPStatus.CREATED else None


async def school(shift: Shift) -> None:
    """Work as school staff: look at cases, comment on some, and ask for support for a learner."""
    caller, draw = shift.caller, shift.draw
    await caller.ask("GET", "/authz/v1/me")
    cases = [case["id"] for case in await caller.items("/cases/v1/cases?status=active")]
    for number in range(shift.rounds):
        if cases:
            case_id = draw.choice(cases)
            await shift.glance(case_id)
            if draw.random() < 0.2:  # noqa: PLR2004 - now and then
                await shift.add_item(case_id, kind="comment", text=shift.text("school_comment"))
        if number % 8 == 3:  # noqa: PLR2004 - a few times a day
            await _ask_for_support(shift)
        if number % 9 == 5:  # noqa: PLR2004 - a few times a day
            await caller.items("/cases/v1/requests")
    await _school_errands(shift, cases)


async def _school_errands(shift: Shift, cases: list[str]) -> None:
    caller, role = shift.caller, shift.caller.account.held.role
    if role == "primary_contact":
        return
    await caller.ask("GET", f"/authz/v1/organisations/{caller.organisation}/staff")
    contacts = shift.scene.contacts.get(caller.organisation, ())
    if cases and contacts:
        case_id = shift.draw.choice(cases)
        _, version = await shift.look("cases", case_id)
        contact = {"person_id": shift.draw.choice(contacts)}
        path = f"/cases/v1/cases/{case_id}/primary-contact"
        await caller.ask("PUT", path, json=contact, version=version)


async def _ask_for_support(shift: Shift) -> None:
    """Find a learner by name, write a request, mend it, send it off."""
    caller, draw = shift.caller, shift.draw
    student = draw.choice(shift.scene.by_school[caller.account.held.organisation_id])
    found = await caller.ask(
        "POST", "/cases/v1/students/search", json={"query": student.family_name}
    )
    if found.status_code != HTTPStatus.OK or not found.json()["items"]:
        return
    await caller.ask("GET", f"/cases/v1/students/{student.student_id}")
    body = {
        "student_id": str(student.student_id),
        "reason": shift.text("reason"),
        "absences": shift.text("absences"),
    }
    drafted = await caller.ask("POST", "/cases/v1/requests", json=body)
    if drafted.status_code != HTTPStatus.CREATED:
        return
    path = f"/cases/v1/requests/{drafted.json()['id']}"
    _, version = await shift.look("requests", drafted.json()["id"])
    steps = {"steps_taken": shift.text("steps")}
    await caller.ask("PATCH", path, json=steps, version=version)
    if draw.random() < 0.8:  # noqa: PLR2004 - most are sent off the same day
        await caller.ask("POST", f"{path}/submit")


async def investigation(shift: Shift) -> None:
    """Work as Central Investigation: review what was submitted, allocate what is accepted."""
    caller, draw = shift.caller, shift.draw
    async for request in _waiting(shift, "submitted"):
        path = f"/cases/v1/requests/{request['id']}"
        if draw.random() < 0.15:  # noqa: PLR2004 - few do not meet the criteria
            await caller.ask("POST", f"{path}/decline", json={"reason": shift.text("decline")})
        else:
            await caller.ask("POST", f"{path}/accept")
    async for request in _waiting(shift, "accepted"):
        school = request["parts"]["overview"]["school"] or {}
        provider = shift.scene.asp_of.get(school.get("id", ""))
        if provider:
            path = f"/cases/v1/requests/{request['id']}/allocate"
            await caller.ask("POST", path, json={"organisation_id": provider})
    for case in await caller.items(f"/cases/v1/cases?limit={max(1, shift.rounds)}"):
        await caller.ask("GET", f"/cases/v1/cases/{case['id']}?parts=overview,contacts")


async def _waiting(shift: Shift, status: str) -> AsyncIterator[dict[str, Any]]:
    """Yield requests of a status, read just now: a colleague may have been quicker."""
    listed = await shift.caller.items(f"/cases/v1/requests?status={status}&limit=100")
    some = shift.draw.sample(listed, min(len(listed), shift.rounds))
    for request in some:
        seen, _ = await shift.look("requests", request["id"])
        if seen and seen["parts"].get("overview", {}).get("status") == status:
            yield seen


async def lead(shift: Shift) -> None:
    """Work as an ASP's lead: give requests to case managers, look over the cases."""
    caller, draw = shift.caller, shift.draw
    managers = shift.scene.managers[caller.organisation]
    await caller.ask("GET", f"/authz/v1/organisations/{caller.organisation}/staff")
    for request in (await caller.items("/cases/v1/requests?status=allocated"))[: shift.rounds]:
        await shift.look("requests", request["id"])
        path = f"/cases/v1/requests/{request['id']}/assign"
        await caller.ask("POST", path, json={"person_id": draw.choice(managers)})
    cases = [case["id"] for case in await caller.items("/cases/v1/cases?status=active&limit=100")]
    for case_id in draw.sample(cases, min(len(cases), shift.rounds)):
        await shift.glance(case_id)


async def case_manager(shift: Shift) -> None:
    """Work as a case manager: read the own cases and write down what was done."""
    caller, draw = shift.caller, shift.draw
    cases = [case["id"] for case in await caller.items("/cases/v1/cases?status=active&limit=100")]
    others: set[str] = set()  # where one is on the team only, and may read but not write
    for number in range(shift.rounds if cases else 0):
        case_id = draw.choice(cases)
        seen, version = await shift.look("cases", case_id)
        await shift.glance(case_id)
        if not seen or case_id in others:
            continue
        if number % 7 == 3:  # noqa: PLR2004 - some plans a day
            plan = {"goals": shift.text("goals"), "actions": shift.text("actions")}
            path = f"/cases/v1/cases/{case_id}/plan"
            await caller.ask("PUT", path, json={**plan, "status": "agreed"}, version=version)
        elif number % 11 == 6:  # noqa: PLR2004 - a colleague joins
            member = {"person_id": draw.choice(shift.scene.managers[caller.organisation])}
            await caller.ask("POST", f"/cases/v1/cases/{case_id}/team", json=member)
        elif not await _write(shift, case_id, seen):
            others.add(case_id)


async def _write(shift: Shift, case_id: str, seen: dict[str, Any]) -> bool:
    """Add an item, or mend one of those there are; say no when one may not write here."""
    caller, draw = shift.caller, shift.draw
    if len(seen["parts"].get("items", ())) < _FULL:
        kind = draw.choice(("note", "activity", "correspondence"))
        shared = draw.random() < 0.3  # noqa: PLR2004 - what the school is to know
        item_id = await shift.add_item(
            case_id, kind=kind, text=shift.text(kind), shared_with_school=shared
        )
    else:
        item_id = draw.choice(seen["parts"]["items"])["id"]
    if item_id is None:
        return False
    path = f"/cases/v1/cases/{case_id}/items/{item_id}"
    read = await caller.ask("GET", path)
    if read.status_code != HTTPStatus.OK:
        return True
    luck = draw.random()
    change: dict[str, Any] = {"shared_with_school": True}
    if luck < 0.15:  # noqa: PLR2004 - some of it is sensitive
        change = {"labels": ["health"], "summary": shift.text("summary")}
    elif luck < 0.5:  # noqa: PLR2004 - some is mended
        change = {"text": f"{read.json()['text']} {shift.text('summary')}"}
    await caller.ask("PATCH", path, json=change, version=read.headers["etag"])
    if luck > 0.97:  # noqa: PLR2004 - put on the wrong case
        again = await caller.ask("GET", path)
        reason = {"reason": shift.text("deletion")}
        await caller.ask("DELETE", path, json=reason, version=again.headers.get("etag"))
    return True


async def security(shift: Shift) -> None:
    """Look, as an analyst in the morning, at alerts, yesterday's refusals, who was in."""
    caller = shift.caller
    for path in ("alerts?status=open", "events?outcome=denied", "sessions", "events?action=login"):
        await caller.ask("GET", f"/audit/v1/{path}", purpose="security_review")
