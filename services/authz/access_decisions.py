"""Leaders' decisions about access, which the office carries out (AC-DO-1, AC-DO-3).

A decision names the person, the role, whether it is given or taken, and an expiry, and serves once.
It is the stream ``decision:<id>``. Place in the flow: recorded here; a grant or a revocation that
names it rests on it. Changes nobody's access itself.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.authz import events as e
from services.authz.access_changes import (
    Change,
    Opened,
    Proposal,
    Ruling,
    allowed,
    opened,
)
from services.authz.administration import GRANT
from services.authz.desk import Command, Desk
from services.authz.hearing import Asked, Hearing
from services.authz.recording import data_of
from services.authz.visits import Visit
from services.kernel.errors import Problem
from services.kernel.events import ObjectRef
from services.kernel.handling import Draft
from services.kernel.idempotency import Attempt, Made


@dataclass(frozen=True, slots=True)
class Decide:
    """A leader decides that a person is to have, or to lose, a role."""

    person_id: UUID
    role: e.Role
    organisation_id: UUID
    expires_at: datetime
    change: str = GRANT

    def proposal(self, now: datetime) -> Proposal:
        """Return what is decided: it can be carried out from now on, until it expires."""
        return Proposal(
            self.person_id, self.role, self.organisation_id, self.change, now, self.expires_at
        )

    def recorded(self, decision_id: UUID) -> e.AccessDecisionRecorded:
        """Return the fact."""
        fields = {name: getattr(self, name) for name in Decide.__slots__}
        return e.AccessDecisionRecorded(decision_id=decision_id, **fields)


class AccessDecisions:
    """The command that records a leader's decision."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def record(self, visit: Visit, attempt: Attempt | None, command: Decide) -> UUID:
        """Record a leader's decision (AC-DO-3) and return its id."""
        decision_id = self._desk.runtime.effects.new_id()

        async def judge(hearing: Hearing, made: Made | None) -> Opened | Problem:
            return await opened(hearing, command.proposal(hearing.facts.now), _judge, made)

        async def act(hearing: Hearing, about: Opened) -> Draft[UUID]:
            return await _recorded(hearing, about, command.recorded(decision_id))

        async def again(hearing: Hearing, about: Opened, made: Made) -> Draft[UUID]:
            reply = made["decision"]
            known = hearing.made_before(ObjectRef("access_decision", str(reply)))
            return await known.disclose(about.decision, reply, {"decision": [str(reply)]})

        asked = Asked("create", ObjectRef("access_decision", str(decision_id)))
        return await self._desk.hear_once(visit, asked, attempt, Command(judge, act, again))


async def _judge(hearing: Hearing, change: Change) -> Ruling:
    return Ruling(allowed(hearing, change, "create", "access_decision"))


async def _recorded(hearing: Hearing, about: Opened, data: e.AccessDecisionRecorded) -> Draft[UUID]:
    event = await hearing.event(
        e.ACCESS_DECISION_RECORDED,
        about.decision,
        data=data_of(data),
        stream=(f"decision:{data.decision_id}", 1),
        touches=(e.decision_key(data.decision_id),),
        organisation_id=about.change.organisation.id,
    )
    return hearing.draft([event], data.decision_id, {"decision": data.decision_id})
