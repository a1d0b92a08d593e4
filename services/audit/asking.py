"""The one path of every question: catch up, authorise, find, record the asking, answer.

What is found is answered only after an ``audit.read`` that names it is durable (AC-USE-1, SG-12),
one for each organisation whose posts show of it, with what those show (docs/decisions/0003, 36);
what may not be asked, and what is not there or not theirs, is one answer and one kind of event.
Whoever asks is in the answer's log before the answer, and everything that happened before the
question is in the answer.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Generic, NamedTuple, TypeVar
from uuid import UUID

import msgspec
from starlette.requests import Request

from services.audit import events as e
from services.audit.askers import Asker, Principal, principal_of
from services.audit.grounds import AUDIT_READ, Scope, scope_for
from services.authz.access import Claims
from services.authz.directory import told
from services.authz.engine import Policy
from services.kernel.budgets import RECORDED, RefusalBudget
from services.kernel.errors import NotFound, Problem, outcome_of
from services.kernel.events import Actor, Event, ObjectRef
from services.kernel.groups import Group
from services.kernel.handling import Draft
from services.kernel.idempotency import Attempt, Idempotency, Made
from services.kernel.runtime import Runtime

T = TypeVar("T")
MOST_SHOWN: Final = 200


Shown = Mapping[str, Sequence[str]]


class Disclosure(NamedTuple):
    """What the posts at one organisation show of an answer: ids by kind, and how far they reach."""

    scope: Scope
    shown: Shown


@dataclass(frozen=True, slots=True)
class Found(Generic[T]):
    """An answer, and what it discloses: apart for each organisation whose posts show of it."""

    reply: T
    disclosures: Sequence[Disclosure]


def found(reply: T, scope: Scope, shown: Callable[[Scope], Shown]) -> Found[T]:
    """Return an answer that was found within ``scope`` (docs/decisions/0003, 36).

    ``shown`` says which ids a post of it discloses, by kind, at most :data:`MOST_SHOWN` each.
    """
    return Found(reply, told([Disclosure(post, shown(post)) for post in scope.apart()]))


@dataclass(frozen=True, slots=True)
class Subject:
    """What a question is about, as its event says it."""

    #: the object of the policy: ``audit_event``, ``session`` or ``alert``
    kind: str
    action: str
    filters: Sequence[str] = ()
    about: ObjectRef | None = None
    student_id: UUID | None = None


class Asking:
    """Answers questions for one service."""

    def __init__(self, runtime: Runtime, policy: Policy, budget: RefusalBudget) -> None:
        self._runtime = runtime
        self._policy = policy
        self._budget = budget
        self._idempotency = Idempotency(runtime)

    async def ask(
        self, asker: Asker, subject: Subject, find: Callable[[Scope], Awaitable[Found[T] | None]]
    ) -> T:
        """Return what ``find`` finds within the asker's scope; ``None`` of it is not found.

        Raises :class:`NotFound` for who may not ask, 429 for who has been refused too often of
        late, :class:`Unavailable` when it cannot be recorded or the log cannot be followed.
        """

        async def decide(head: int) -> Draft[T]:
            principal = await self.principal(asker, head)
            scope = self.scope(principal, "read", subject.kind)
            answer = await find(scope) if scope else None
            if answer is None:
                return await self.refusal(asker, principal, scope, subject, NotFound())
            return await self.answer(asker, principal, subject, answer)

        return await self.run(asker, decide)

    async def run(self, asker: Asker, decide: Callable[[int], Awaitable[Draft[T]]]) -> T:
        """Catch up with the log as it is now, then decide from its head on, record and answer.

        A refusal is counted against the asker's budget; when that is spent nothing is appended.
        """
        return await self._counted(
            asker, lambda head: self._runtime.handling.run(partial(decide, head))
        )

    async def once(
        self,
        asker: Asker,
        attempt: Attempt | None,
        first: Callable[[int], Awaitable[Draft[T]]],
        repeat: Callable[[int], Awaitable[Draft[T]]],
    ) -> T:
        """Run ``first`` as :meth:`run` does, or ``repeat`` where ``attempt`` was done before."""

        async def answer(head: int) -> T:
            async def again(_: Made) -> Draft[T]:
                return await repeat(head)

            return await self._idempotency.run(attempt, partial(first, head), again)

        return await self._counted(asker, answer)

    async def _counted(self, asker: Asker, answer: Callable[[int], Awaitable[T]]) -> T:
        """Catch up, then answer from that head on; every refusal that was recorded is counted."""
        now = self._runtime.effects.now()
        self._budget.check(asker.who, now)
        head = await self._runtime.projector.caught_up()
        try:
            return await answer(head)
        except RECORDED:
            self._budget.spend(asker.who, now)
            raise

    async def attempt(self, request: Request, asker: Asker) -> Attempt | None:
        """Return the attempt under an ``Idempotency-Key``; raise :class:`Malformed` for no key."""
        return await self._idempotency.attempt(request, asker.who)

    async def signed_in(self, claims: Claims) -> None:
        """Raise :class:`Unauthenticated` when whoever the token names is not let in any more."""
        head = await self._runtime.projector.caught_up()
        await principal_of(self._runtime.pool, claims, self._runtime.effects.now(), head)

    async def principal(self, asker: Asker, head: int) -> Principal:
        """Load who asks, as :func:`principal_of` does."""
        now = self._runtime.effects.now()
        return await principal_of(self._runtime.pool, asker.claims, now, head)

    def scope(self, principal: Principal, action: str, kind: str) -> Scope | None:
        """Return how far an action on a kind of object reaches for them."""
        return scope_for(self._policy, principal, action, kind)

    async def answer(
        self, asker: Asker, principal: Principal, subject: Subject, found: Found[T]
    ) -> Draft[T]:
        """Return an answer, given once each of its disclosures has been recorded."""
        events = [
            await self.event(asker, principal, scope, subject, shown=shown)
            for scope, shown in found.disclosures
        ]
        return self.draft(principal, events, found.reply)

    async def event(
        self,
        asker: Asker,
        principal: Principal,
        scope: Scope | None,
        subject: Subject,
        *,
        shown: Shown,
    ) -> Event:
        """Return the ``audit.read`` of a question, as one organisation is told of it."""
        in_vain = not any(shown.values())
        event_id, claims = self._runtime.effects.new_id(), asker.claims
        organisation = scope.organisation_id if scope else principal.organisation_id
        return Event(
            id=event_id,
            type=e.READ,
            recorded_at=self._runtime.effects.now(),
            actor=Actor(claims.person_id, claims.client_id, organisation),
            origin=await self._runtime.origins.seal(event_id, asker.call, claims.session_id),
            action=subject.action,
            grounds=scope.grounds if scope else (),
            policy_version=self._policy.version,
            purpose=asker.call.purpose,
            student_id=subject.student_id,
            object=subject.about,
            organisation_id=organisation,
            shown={} if in_vain else shown,
            data=msgspec.to_builtins(
                e.Asked(
                    filters=tuple(subject.filters),
                    clause=scope.clause if scope else None,
                    scope=AUDIT_READ if scope and scope.clause else None,
                    students=() if in_vain else msgspec.UNSET,
                )
            ),
        )

    async def refusal(
        self,
        asker: Asker,
        principal: Principal,
        scope: Scope | None,
        subject: Subject,
        problem: Problem,
    ) -> Draft[T]:
        """Return a refusal, told once it is recorded: for the first organisation of ``scope``."""
        asked = await self.event(asker, principal, scope, subject, shown={})
        outcome = outcome_of(problem)
        refused = msgspec.structs.replace(asked, type=e.REFUSED, outcome=outcome, grounds=())
        return self.draft(principal, [refused], problem)

    def draft(self, principal: Principal, events: Sequence[Event], reply: T | Problem) -> Draft[T]:
        """Return a draft guarded by every fact about who asks: fresh, or decided again."""
        group = Group(
            events,
            at=principal.at,
            guards=principal.guards,
            valid_until=principal.valid_until,
        )
        return Draft(group, reply)
