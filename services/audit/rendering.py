"""Events as the contract shows them, as far as their reader's scope names who acted.

Place in the flow: after the finding, before the answer. Finds nothing, and opens where an event
came from, nothing else of it.
"""

from collections.abc import Sequence
from typing import Final

from services.audit import answers
from services.audit.grounds import Scope
from services.kernel.events import Event, Recorded
from services.kernel.origins import Places

#: of who is not named
_NOWHERE: Final = answers.Origin(
    ip=None, device=None, user_agent=None, request_id=None, session_id=None
)


class Renderer:
    """Renders events."""

    def __init__(self, places: Places) -> None:
        self._places = places

    async def render(self, recorded: Sequence[Recorded], scope: Scope) -> list[answers.Event]:
        """Return events as the contract shows them, as far as the scope names who acted."""
        await self._places.load(r.event for r in recorded if scope.names_actor(r.event))
        return [self._shown(r.position, r.event, scope) for r in recorded]

    def _shown(self, position: int, event: Event, scope: Scope) -> answers.Event:
        named = scope.names_actor(event)
        return answers.Event(
            position=position,
            id=event.id,
            type=event.type,
            occurred_at=event.recorded_at,
            effective_at=event.effective_at,
            actor=_actor(event, named=named),
            origin=self._origin(event) if named else _NOWHERE,
            action=event.action,
            outcome=event.outcome,
            grounds=_grounds(event) if named else [],
            policy_version=event.policy_version,
            purpose=event.purpose,
            student_id=scope.learner_of(event),
            object=answers.ObjectRef(type=event.object.type, id=event.object.id)
            if event.object
            else None,
            shown=event.shown,
        )

    def _origin(self, event: Event) -> answers.Origin:
        place, origin = self._places.of(event), event.origin
        return answers.Origin(
            ip=place.ip,
            device=place.device,
            user_agent=place.user_agent,
            request_id=origin.request_id,
            session_id=origin.session_id,
        )


def _actor(event: Event, *, named: bool) -> answers.Actor:
    actor = event.actor
    return answers.Actor(
        person_id=actor.person_id if named else None,
        client_id=actor.client_id if named else None,
        organisation_id=actor.organisation_id,
    )


def _grounds(event: Event) -> list[answers.Ground]:
    return [
        answers.Ground(assignment_id=g.assignment_id, role=g.role, clause=g.clause, parts=g.parts)
        for g in event.grounds
    ]
