"""A school day of work, driven through the HTTP API of the demonstration that is running.

Order: the wrongdoers of the night before, then everybody's work, then an analyst's questions, from
whose answers the summary is made (:mod:`services.demo.aftermath`). Bounded in requests and time;
the load goes to this machine only.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from random import Random
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import httpx

from services.demo import aftermath, work, wrongdoing
from services.demo.caller import Caller, LoginFailed, Tally
from services.demo.day_plan import rounds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from services.demo.caller import Account
    from services.demo.day_plan import Plan
    from services.demo.work import Shift

_AT_WORK_AT_ONCE: Final = 10
_DAY_S: Final = 150.0
_WORK: Final[dict[str, Callable[[Shift], Awaitable[None]]]] = {
    "school_leader": work.school,
    "primary_contact": work.school,
    "school_office": work.school,
    "asp_workflow_lead": work.lead,
    "asp_case_manager": work.case_manager,
    "central_investigation": work.investigation,
    "security_analyst": work.security,
}


class Day:
    """One day, being driven."""

    def __init__(self, day: Plan, asked: Callable[[], None]) -> None:
        self._day = day
        self._tally = Tally(asked)
        self._draw = Random(f"work:{day.seed}")  # noqa: S311 - repeatable on purpose
        self._until = monotonic() + _DAY_S * max(1.0, day.scale)
        self._left = aftermath.Left()

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
            answers = await aftermath.ask(analyst, self._day, self._left, began)
            await analyst.logout()
        return aftermath.summary(self._day, self._tally, self._left, seconds, answers)

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
                self._left.learner = await wrongdoing.browse(
                    browser, draw.sample(cases, some), draw.sample(requests, some // 2)
                )
                await browser.logout()
            except LoginFailed:
                self._left.failed_logins += 1
        async with contextlib.AsyncExitStack() as stack:
            callers = [
                await stack.enter_async_context(self._at_api(account, self._day.sprayer))
                for account in cast.sprayed
            ]
            self._left.accounts_tried = await wrongdoing.spray(callers)

    async def _forgetful(self) -> None:
        async with self._at_api(self._day.cast.remembers) as caller:
            try:
                await wrongdoing.remember(caller, self._draw)
                await work.school(self._shift_of(caller, rounds=2))
                await caller.logout()
            except LoginFailed:
                self._left.failed_logins += 1
        async with self._at_api(self._day.cast.gives_up) as caller:
            await wrongdoing.give_up(caller)
            self._left.failed_logins += 1

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
                self._left.failed_logins += 1
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    shift = self._shift_of(caller, rounds(self._day.scale))
                    await _WORK[account.held.role](shift)
            await caller.logout()


async def health(base: str) -> str | None:
    """Return the status that ``/healthz`` tells, ``None`` when what answers tells none.

    Raises :class:`httpx.HTTPError` when nothing answers.
    """
    async with httpx.AsyncClient(trust_env=False) as client:
        answered = await client.get(f"{base}/healthz", timeout=5)
    try:
        return str(answered.json()["status"])
    except (KeyError, TypeError, ValueError):
        return None
