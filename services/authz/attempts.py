"""Attempts to get in: the one way by which passwords, codes, invitations and clients are tried.

Place in the flow: ``route -> attempt -> credential -> session or token``. Owns what all of them
have in common (SG-4, SG-9): the throttle admits by account and by address; a credential that turns
out wrong stays counted before it is recorded, is recorded before it is told, and is told no sooner
than a fixed time after the attempt began. What was not tried is counted and not appended; while
what credentials are compared with is folded anew, nothing is tried, counted or appended. Never
looks at a credential.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Final

from services.authz.directory import Person
from services.authz.recording import Recorder
from services.authz.session_events import LOGIN_FAILED, LOGIN_THROTTLED
from services.authz.throttle import Admission, Throttle
from services.kernel import telemetry
from services.kernel.errors import Problem, TooManyRequests
from services.kernel.events import Actor, Outcome
from services.kernel.groups import Group
from services.kernel.http import Call
from services.kernel.projector import Projector
from services.kernel.refusals import RefusalWindows
from services.kernel.runtime import Runtime

#: failed attempts appended one by one, by each process; the others are counted in windows
_SINGLE_PER_MINUTE: Final = 300


def tried_as(person: Person | None, now: datetime) -> Actor:
    """Return whom a credential was tried as, for the organisation of their first post in force.

    Of what was loaded to try it: rows that are emptied since hide it from no organisation.
    """
    if person is None:
        return Actor()
    posts = (a.organisation_id for a in person.assignments if a.in_force(now))
    return Actor(person_id=person.id, organisation_id=next(posts, None))


class BadCredentials(Problem):
    """User name, password or code is wrong; which of them is not said."""

    status, code = HTTPStatus.UNAUTHORIZED, "bad_credentials"
    title = "User name, password or code is wrong"


class Failures:
    """Records failed and throttled attempts without letting anybody fill the log."""

    def __init__(self, runtime: Runtime, recorder: Recorder, windows: RefusalWindows) -> None:
        self._runtime = runtime
        self._recorder = recorder
        self._windows = windows
        self._minute = -1
        self._spent = 0

    async def failed(
        self, call: Call, account: str, stage: str, reason: str, person: Person | None = None
    ) -> None:
        """Append one failed attempt on ``account`` (a digest), or count it when there are many.

        The organisation that ``person`` works at just then is told of it, if they are anywhere.
        """
        telemetry.LOGIN_ATTEMPTS.labels("failed").inc()
        if not self._affordable():
            self._windows.count(LOGIN_THROTTLED, call.ip, call)
            return
        event = await self._recorder.event(
            LOGIN_FAILED,
            call,
            action="login",
            actor=tried_as(person, self._runtime.effects.now()),
            outcome=Outcome.FAILED,
            data={"account": account, "stage": stage, "reason": reason},
        )
        await self._runtime.log.append(Group([event]))

    def throttled(self, call: Call) -> None:
        """Count an attempt that was not tried."""
        telemetry.LOGIN_ATTEMPTS.labels("throttled").inc()
        self._windows.count(LOGIN_THROTTLED, call.ip, call)

    def _affordable(self) -> bool:
        minute = int(self._runtime.effects.now().timestamp() // 60)
        if minute != self._minute:
            self._minute, self._spent = minute, 0
        self._spent += 1
        return self._spent <= _SINGLE_PER_MINUTE


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt that was admitted and is under way."""

    call: Call
    account: str
    admission: Admission
    failures: Failures
    throttle: Throttle
    #: when a wrong credential may be told, on the event loop's clock
    not_before: float

    async def wrong(
        self, stage: str, reason: str, person: Person | None = None, *, account: str | None = None
    ) -> None:
        """Say that the credential is wrong; return when that may be told.

        The attempt stays counted whatever happens next. ``account`` is the one recorded, when that
        is not the one counted.
        """
        self.stays_counted()
        name = self.account if account is None else account
        await self.failures.failed(self.call, name, stage, reason, person)
        await asyncio.sleep(max(0.0, self.not_before - asyncio.get_running_loop().time()))

    def stays_counted(self) -> None:
        """Say that the attempt is a failure, without recording it."""
        self.admission.wrong = True

    async def right(self) -> None:
        """Say that all that was asked for was right: the account knows this address from now on."""
        await self.throttle.know(self.admission)


class Attempts:
    """Admits attempts; see the module."""

    def __init__(
        self, throttle: Throttle, failures: Failures, projector: Projector, floor_s: float
    ) -> None:
        self._throttle = throttle
        self._projector = projector
        self._failures = failures
        self._floor_s = floor_s

    @asynccontextmanager
    async def on(self, account: str, call: Call) -> AsyncIterator[Attempt]:
        """Admit one attempt on ``account`` (a digest); raise 429, counted and not appended, else.

        Overload inside the attempt is a 429 too: it is counted in the log and taken back. Raises
        :class:`Unavailable` while what it would be compared with is folded anew; that, too, and
        whenever it shows inside the attempt, is taken back.
        """
        not_before = asyncio.get_running_loop().time() + self._floor_s
        try:
            async with self._throttle.attempt(account, call.ip) as admission:
                self._projector.check_whole()
                yield Attempt(call, account, admission, self._failures, self._throttle, not_before)
        except TooManyRequests:
            self._failures.throttled(call)
            raise
