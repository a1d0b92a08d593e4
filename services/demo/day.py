"""A school day of work, driven through the HTTP API of the demonstration that is running.

Order: the wrongdoers of the night before, then everybody's work, then an analyst's questions, from
whose answers the summary is made. Bounded in requests and time; the load goes to this machine only.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from random import Random
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import httpx

from services.demo import work, wrongdoing
from services.demo.caller import Caller, LoginFailed, Tally
from services.demo.cast import Cast, Casting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from services.demo.caller import Account
    from services.demo.region import Region
    from services.demo.work import Scene, Shift

_AT_WORK_AT_ONCE: Final = 10
_DAY_S: Final = 150.0
_DETECTION_S: Final = 20.0
_ROUNDS: Final = 24
_PAGES: Final = 5
_WORK: Final[dict[str, Callable[[Shift], Awaitable[None]]]] = {
    "school_leader": work.school,
    "primary_contact": work.school,
    "school_office": work.school,
    "asp_workflow_lead": work.lead,
    "asp_case_manager": work.case_manager,
    "central_investigation": work.investigation,
    "security_analyst": work.security,
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What a day is made of."""

    region: Region
    scene: Scene
    cast: Cast
    base: str
    seed: int
    scale: float
    #: an address nobody called from lately: one that was stopped stays stopped for a while
    sprayer: str


def plan(
    region: Region, *, seed: int, day_seed: int, scale: float, base: str, now: datetime
) -> Plan:
    """Return the day that these seeds make of the region."""
    cast = Casting(region, seed, day_seed, now).cast(scale)
    sprayer = f"127.66.{now.hour}.{now.minute + 1}"
    return Plan(region, _scene(region, now), cast, base, day_seed, scale, sprayer)


def expected(day: Plan) -> int:
    """Return about how many requests the day makes."""
    per_round = {"asp_case_manager": 4.0, "asp_workflow_lead": 2.3, "central_investigation": 3.0}
    people = sum(per_round.get(one.held.role, 2.3) for one in day.cast.working)
    return round(people * _rounds(day.scale)) + 3 * len(day.cast.sprayed)


def _rounds(scale: float) -> int:
    return max(3, round(_ROUNDS * (math.sqrt(scale) if scale < 1 else scale)))


def _scene(region: Region, now: datetime) -> Scene:
    today = now.date()
    by_school: dict[Any, list[Any]] = {}
    for student in region.students:
        if student.school_id:
            by_school.setdefault(student.school_id, []).append(student)
    asps = {o.organisation_id for o in region.organisations if o.kind == "asp"}
    held: dict[tuple[str, str], list[str]] = {}
    for person in region.people:
        for one in person.assignments:
            # moved and departing people are left out: what they hold may end during the day
            if one.in_force(today) and one.until is None:
                place = (one.role, str(one.organisation_id))
                held.setdefault(place, []).append(str(person.person_id))
    return work.Scene(
        by_school={school: tuple(students) for school, students in by_school.items()},
        asp_of={
            str(row.school_id): str(row.provider_id)
            for row in region.catchments
            if row.provider_id in asps and row.in_force(today)
        },
        managers={o: tuple(p) for (role, o), p in held.items() if role == "asp_case_manager"},
        contacts={o: tuple(p) for (role, o), p in held.items() if role == "primary_contact"},
    )


class Day:
    """One day, being driven."""

    def __init__(self, day: Plan, asked: Callable[[], None]) -> None:
        self._day = day
        self._tally = Tally(asked)
        self._draw = Random(f"work:{day.seed}")  # noqa: S311 - repeatable on purpose
        self._until = monotonic() + _DAY_S * max(1.0, day.scale)
        self._failed_logins = 0
        self._sprayed = 0
        self._learner: str | None = None

    async def run(self) -> dict[str, Any]:
        """Drive the day and return its summary."""
        began = datetime.now(UTC) - timedelta(seconds=1)
        started = monotonic()
        await self._night()
        gate = asyncio.Semaphore(_AT_WORK_AT_ONCE)
        await asyncio.gather(
            self._forgetful(), *(self._shift(account, gate) for account in self._day.cast.working)
        )
        seconds = monotonic() - started
        async with self._at_api(self._day.cast.analyst) as analyst:
            await analyst.login()
            answers = await self._ask(analyst, began)
            await analyst.logout()
        return self._summary(seconds, answers)

    @contextlib.asynccontextmanager
    async def _at_api(self, account: Account, address: str = "") -> AsyncIterator[Caller]:
        place = account.held.organisation_id.int
        own = f"127.20.{place % 250}.{place // 250 % 250 + 2}"
        caller = Caller(self._day.base, account, address or own, self._tally)
        try:
            yield caller
        finally:
            await caller.close()

    async def _night(self) -> None:
        """Let the wrongdoers at it: one browses, one tries a password on many accounts."""
        cast, draw = self._day.cast, self._draw
        cases = [str(case.case_id) for case in self._day.region.cases]
        requests = [str(request.request_id) for request in self._day.region.requests]
        some = max(8, round(40 * min(1.0, self._day.scale)))
        async with self._at_api(cast.browser) as browser:
            try:
                self._learner = await wrongdoing.browse(
                    browser, draw.sample(cases, some), draw.sample(requests, some // 2)
                )
                await browser.logout()
            except LoginFailed:
                self._failed_logins += 1
        async with contextlib.AsyncExitStack() as stack:
            callers = [
                await stack.enter_async_context(self._at_api(account, self._day.sprayer))
                for account in cast.sprayed
            ]
            self._sprayed = await wrongdoing.spray(callers)

    async def _forgetful(self) -> None:
        async with self._at_api(self._day.cast.remembers) as caller:
            try:
                await wrongdoing.remember(caller, self._draw)
                await work.school(self._shift_of(caller, rounds=2))
                await caller.logout()
            except LoginFailed:
                self._failed_logins += 1
        async with self._at_api(self._day.cast.gives_up) as caller:
            await wrongdoing.give_up(caller)
            self._failed_logins += 1

    def _shift_of(self, caller: Caller, rounds: int) -> Shift:
        draw = Random(f"{self._day.seed}:{caller.account.person.username}")  # noqa: S311 - repeatable on purpose
        return work.Shift(caller, self._day.scene, draw, rounds)

    async def _shift(self, account: Account, gate: asyncio.Semaphore) -> None:
        """Let one person work, unless the day is over before they come to it."""
        async with gate, self._at_api(account) as caller:
            left = self._until - monotonic()
            if left <= 0:
                return
            try:
                await caller.login()
            except LoginFailed:
                self._failed_logins += 1
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    shift = self._shift_of(caller, _rounds(self._day.scale))
                    await _WORK[account.held.role](shift)
            await caller.logout()

    async def _ask(self, analyst: Caller, began: datetime) -> dict[str, Any]:
        """Ask, as the analyst, what the day left behind, once detection has seen all of it."""
        browser = self._day.cast.browser.person.person_id
        wanted = {"out_of_hours_login", "repeated_failures_address"}
        until = monotonic() + _DETECTION_S
        alerts: list[dict[str, Any]] = []
        while monotonic() < until:
            alerts = await _all(analyst, "/audit/v1/alerts?status=open&limit=100")
            if wanted <= {alert["rule"] for alert in alerts}:
                break
            await asyncio.sleep(0.5)
        since = began.isoformat().replace("+00:00", "Z")
        path = f"/audit/v1/people/{browser}/activity?limit=100&from={since}"
        answers: dict[str, Any] = {"alerts": alerts, "browsed": await _all(analyst, path)}
        if self._learner is not None:
            path = f"/audit/v1/students/{self._learner}/accesses?limit=100"
            answers["accesses"] = await _all(analyst, path)
        return answers

    def _summary(self, seconds: float, answers: dict[str, Any]) -> dict[str, Any]:
        cast, tally = self._day.cast, self._tally
        refused = {
            str(status): tally.statuses[status]
            for status in (401, 403, 404, 409, 412, 429)
            if tally.statuses[status]
        }
        browsed = answers["browsed"]
        denied = sum(event["outcome"] == "denied" for event in browsed)
        return {
            "requests": tally.total,
            "reads": tally.kinds["read"],
            "edits": tally.kinds["edit"],
            "seconds": round(seconds, 1),
            "people": len(cast.working) + 5,
            "failed_logins": self._failed_logins,
            "refused": refused,
            "unexpected": dict(tally.unexpected),
            "schools_shut": cast.shut.value if cast.shut else None,
            "alerts": _alerts(answers["alerts"]),
            "browser": {
                "person_id": str(cast.browser.person.person_id),
                "username": cast.browser.person.username,
                "out_of_hours": cast.night.value if cast.night else None,
                "events": len(browsed),
                "denied": denied,
            },
            "sprayer": {"address": self._day.sprayer, "accounts_tried": self._sprayed},
            "learner": {
                "student_id": self._learner,
                "accesses": len(answers.get("accesses", ())),
                "people": len({e["actor"]["person_id"] for e in answers.get("accesses", ())}),
            },
        }


def _alerts(alerts: list[dict[str, Any]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for alert in alerts:
        name = f"{alert['rule']} ({alert['severity']})"
        found[name] = found.get(name, 0) + 1
    return found


async def _all(caller: Caller, path: str) -> list[dict[str, Any]]:
    """Return the items of a list's first pages."""
    items: list[dict[str, Any]] = []
    cursor: str | None = ""
    for _ in range(_PAGES):
        page = await caller.ask("GET", f"{path}&cursor={cursor}" if cursor else path)
        if page.status_code != HTTPStatus.OK:
            break
        items += page.json()["items"]
        cursor = page.json()["next_cursor"]
        if not cursor:
            break
    return items


async def reachable(base: str) -> bool:
    """Say whether the demonstration serves."""
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            answered = await client.get(f"{base}/healthz", timeout=5)
    except httpx.HTTPError:
        return False
    return answered.status_code == HTTPStatus.OK
