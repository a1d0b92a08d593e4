"""The desk: requests of administration, from their snapshot to the log.

Place in the flow: ``snapshot -> hearing -> draft -> append``. Owns that a decision is made again
whenever a fact it rests on has moved, that a POST is heard once for each Idempotency-Key and
once-key, and that a repeat of one is judged as the first was. Never decides: that is the command's
or the query's, in its hearing.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar
from uuid import UUID

from services.authz.directory import organisations_of
from services.authz.engine import Policy
from services.authz.hearing import Asked, Hearing
from services.authz.recording import Recorder
from services.authz.relations import Standing
from services.authz.session_ends import Limits
from services.authz.snapshot import snapshot
from services.authz.visits import Visit
from services.kernel.errors import Conflict, Problem
from services.kernel.handling import Draft
from services.kernel.idempotency import Attempt, Idempotency, Made
from services.kernel.log import Duplicate
from services.kernel.runtime import Runtime
from services.kernel.sealing import Compartment, KeyRef
from services.kernel.wholeness import AsOf, signed_in, whole

T = TypeVar("T")
B = TypeVar("B")

Decide = Callable[[Hearing], Awaitable[Draft[T]]]


@dataclass(frozen=True, slots=True)
class Command(Generic[B, T]):
    """A POST: what judges it, what it does, and what its repeat answers.

    A repeat is authorised anew, for the action: ``judge`` hears both, and gets what the first one
    made. It returns what the command rests on, or the problem it is refused with; what the state
    does not allow is ``act``'s to say, since having been done means as much.
    """

    judge: Callable[[Hearing, Made | None], Awaitable[B | Problem]]
    act: Callable[[Hearing, B], Awaitable[Draft[T]]]
    again: Callable[[Hearing, B, Made], Awaitable[Draft[T]]]

    async def first(self, hearing: Hearing) -> Draft[T]:
        """Judge and do it."""
        basis = await self.judge(hearing, None)
        if isinstance(basis, Problem):
            return await hearing.refuse(basis)
        return await self.act(hearing, basis)

    async def repeat(self, hearing: Hearing, made: Made) -> Draft[T]:
        """Judge it anew, and answer what the first one made: done once, and read from now on."""
        basis = await self.judge(hearing, made)
        if isinstance(basis, Problem):
            return await hearing.refuse(basis)
        hearing.only_reads()
        return await self.again(hearing, basis, made)


class Desk:
    """Hears requests of administration and runs them against the log."""

    def __init__(
        self, runtime: Runtime, policy: Policy, recorder: Recorder, limits: Limits
    ) -> None:
        self.runtime = runtime
        self.policy = policy
        self.limits = limits
        self.idempotency = Idempotency(runtime)
        self.etag_secret = runtime.installation.secret("etag")
        self._recorder = recorder

    @asynccontextmanager
    async def hearing(self, visit: Visit, asked: Asked) -> AsyncIterator[Hearing]:
        """Open a hearing on one snapshot; raise ``NotSignedIn`` without a live session."""
        now = self.runtime.effects.now()
        async with snapshot(self.runtime.pool, visit, now) as facts:
            caller = facts.caller
            kinds = await facts.kinds(organisations_of(caller.assignments))
            yield Hearing(
                visit=visit,
                asked=asked,
                facts=facts,
                standing=Standing(caller, kinds, self.policy),
                recorder=self._recorder,
                guards=list(caller.guards),
                valid_until=caller.valid_until,
            )

    async def look(self, visit: Visit, asked: Asked, find: Callable[[Hearing], Awaitable[T]]) -> T:
        """Return what ``find`` finds in a hearing that appends nothing, and is answered for alone.

        Of facts as the log has them now: raises ``Unavailable`` while those are folded anew.
        """

        async def read() -> AsOf[T]:
            async with self.hearing(visit, asked) as hearing:
                return AsOf(await find(hearing), hearing.facts.at, await hearing.facts.newest())

        projector = self.runtime.projector
        return await signed_in(projector, partial(whole, projector, read))

    async def hear(self, visit: Visit, asked: Asked, decide: Decide[T]) -> T:
        """Decide and append, again whenever a fact moved; return the reply or raise it."""
        return await self.runtime.handling.run(lambda: self._once(visit, asked, decide))

    async def hear_once(
        self,
        visit: Visit,
        asked: Asked,
        attempt: Attempt | None,
        command: Command[B, T],
    ) -> T:
        """Hear a POST: at most once per Idempotency-Key, and per once-key of its drafts.

        Who comes second to a once-key (a user name, a decision that serves once) is heard again,
        and meets what the first one made.
        """

        async def run() -> T:
            return await self.idempotency.run(
                attempt,
                lambda: self._once(visit, asked, command.first),
                lambda made: self._once(visit, asked, lambda h: command.repeat(h, made)),
            )

        try:
            return await run()
        except Duplicate as held:
            await self.runtime.projector.reached(held.position)
        try:
            return await run()
        except Duplicate:
            # Held, and not by anything this decision could see: not possible in this state.
            raise Conflict from None

    async def sealed_reason(self, subject: UUID, event_id: UUID, reason: str) -> str:
        """Return why a fact was made, sealed for it under the ``staff`` key of whom it is about."""
        keys, ref = self.runtime.keys, KeyRef(subject, Compartment.STAFF)
        await keys.load([ref], create=True)
        return keys.seal(ref, event_id, "reason", reason)

    async def _once(self, visit: Visit, asked: Asked, decide: Decide[T]) -> Draft[T]:
        async with self.hearing(visit, asked) as hearing:
            return await decide(hearing)
