"""One's own desk: the drafts of what somebody sees of themselves, and of what is refused them.

Place in the flow: ``caller -> clause -> draft``. Everybody has themselves (AC-SEE-22); the rows of
the policy say so, and each event names the assignment and the clause.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

from services.authz import events as e
from services.authz.callers import Called, called
from services.authz.engine import Policy
from services.authz.recording import Recorder, person_object
from services.authz.visits import Visit
from services.kernel.errors import Forbidden, Problem, outcome_of
from services.kernel.events import Actor, Event, Ground
from services.kernel.groups import Group
from services.kernel.handling import Draft
from services.kernel.runtime import Runtime

T = TypeVar("T")


class SelfDesk:
    """Loads who is calling, and drafts what they are shown or refused of themselves."""

    def __init__(self, runtime: Runtime, recorder: Recorder, policy: Policy) -> None:
        self.runtime = runtime
        self.recorder = recorder
        self.policy = policy

    async def called(self, visit: Visit) -> Called:
        """Return who is calling; raise 401 without a live session."""
        return await called(self.runtime, visit)

    def grounds(
        self, caller: Called, action: str, part: str, place: UUID | None = None
    ) -> tuple[Ground, ...] | None:
        """Return the assignment (at ``place``) and clause it rests on; everybody has themselves."""
        facts = self.policy.bits(("self",))
        for assignment in caller.caller.assignments:
            if place not in {None, assignment.organisation_id}:
                continue
            clause = self.policy.clause(assignment.role.value, action, part, facts)
            if clause is not None:
                return (Ground(assignment.id, assignment.role.value, clause, (part,)),)
        return () if self.policy.clause("nobody", action, part, facts) else None

    async def answer(
        self,
        visit: Visit,
        caller: Called,
        action: str,
        part: str,
        *,
        reply: T,
        ids: Mapping[UUID | None, Sequence[str]] | None = None,
    ) -> Draft[T]:
        """Draft the disclosure of a part of oneself, its event first.

        ``ids`` are what is shown by the organisation it is of: an event for each of them.
        """
        person_id = caller.caller.person.id
        events = []
        for place, shown in (ids or {caller.caller.organisation_id: [str(person_id)]}).items():
            grounds = self.grounds(caller, "read", part, place)
            if grounds is None:
                return await self.refuse(visit, caller, action, Forbidden())
            event = await self.recorder.event(
                e.READ,
                visit.call,
                action=action,
                actor=Actor(person_id=person_id, organisation_id=place),
                session_id=visit.session_id,
                grounds=grounds,
                policy_version=self.policy.version,
                object_=person_object(person_id),
                shown={part: shown},
            )
            events.append(event)
        return Draft(self.group(caller, events), reply)

    async def refuse(
        self, visit: Visit, caller: Called, action: str, problem: Problem
    ) -> Draft[Any]:
        """Draft a refusal, its event first."""
        event = await self.recorder.event(
            e.REFUSED,
            visit.call,
            action=action,
            actor=caller.actor,
            session_id=visit.session_id,
            outcome=outcome_of(problem),
            object_=person_object(caller.caller.person.id),
            data={"code": problem.code},
        )
        return Draft(self.group(caller, [event]), problem)

    def group(self, caller: Called, events: Sequence[Event], *guards: str) -> Group:
        """Return what is appended, resting on the caller's facts."""
        return Group(
            events,
            caller.at,
            (*caller.caller.guards, *guards),
            valid_until=caller.caller.valid_until,
        )
