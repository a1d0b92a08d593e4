"""Who may ask what of the audit log, and how far they see: the engine's answer per assignment.

A security analyst or privacy officer at the Ministry sees every organisation, elsewhere only
their own (domain, "Back-office roles"; SG-8, DP-5). For everybody else there is no scope, and the
audit service does not exist.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from services.authz.directory import (
    CALLER_COLUMNS,
    Assignment,
    Caller,
    caller_joins,
    caller_of,
)
from services.authz.engine import Policy
from services.authz.events import organisation_key
from services.kernel.errors import Unauthenticated
from services.kernel.events import Event, Ground
from services.kernel.http import Call

_LOAD: Final = (
    f"select {CALLER_COLUMNS}, array(select o.id from audit.organisation o"
    " join audit.assignment a on a.organisation_id = o.id"
    " where a.person_id = $1 and o.kind = 'ministry') as ministries,"
    " (select position from audit.projection where name = 'audit.directory') as at"
    f" from (select) one {caller_joins('audit', '$1', '$2')}"
)


@dataclass(frozen=True, slots=True)
class Asker:
    """Who a valid token says is asking, and from where; whether they may is not known yet."""

    person_id: UUID
    session_id: UUID
    token_expires_at: datetime
    call: Call


@dataclass(frozen=True, slots=True)
class Standing:
    """What is true of an asker at a position of the log."""

    caller: Caller
    ministries: frozenset[UUID]
    at: int

    @property
    def guards(self) -> tuple[str, ...]:
        """The keys of every fact a scope rests on."""
        organisations = {a.organisation_id for a in self.caller.assignments}
        return (*self.caller.guards, *(organisation_key(o) for o in sorted(organisations)))

    @property
    def organisation_id(self) -> UUID | None:
        """Return whom they act for where nothing more is known: their first assignment's."""
        current = self.caller.assignments
        return current[0].organisation_id if current else None


@dataclass(frozen=True, slots=True)
class Scope:
    """How far an asker sees; ``organisations`` is ``None`` for everywhere."""

    grounds: tuple[Ground, ...]
    organisation_id: UUID
    organisations: frozenset[UUID] | None

    def holds(self, *organisations: UUID | None) -> bool:
        """Say whether something of any of these organisations is within the scope."""
        if self.organisations is None:
            return True
        return not self.organisations.isdisjoint(o for o in organisations if o is not None)

    def covers(self, event: Event) -> bool:
        """Say whether an event, by who acted or whose it is, is within the scope."""
        return self.holds(event.actor.organisation_id, event.organisation_id)


async def standing_of(pool: asyncpg.Pool, asker: Asker, now: datetime) -> Standing:
    """Load who asks, with the position that is true at; raise :class:`Unauthenticated`."""
    row = await pool.fetchrow(_LOAD, asker.person_id, asker.session_id)
    caller = caller_of(row, asker.session_id, asker.token_expires_at, now) if row else None
    if row is None or caller is None:
        raise Unauthenticated
    return Standing(caller, frozenset(row["ministries"]), row["at"])


def scope_for(policy: Policy, standing: Standing, action: str, object_: str) -> Scope | None:
    """Return how far ``action`` on ``object_`` reaches, the union over assignments in force."""
    everywhere, own = policy.bits(["everywhere"]), policy.bits(["own_organisation"])
    near: list[tuple[Assignment, str]] = []
    for each in standing.caller.assignments:
        if each.organisation_id in standing.ministries:
            clause = policy.clause(each.role, action, object_, everywhere)
            if clause is not None:
                return Scope((_ground(each, clause),), each.organisation_id, None)
        clause = policy.clause(each.role, action, object_, own)
        if clause is not None:
            near.append((each, clause))
    if not near:
        return None
    organisations = frozenset(each.organisation_id for each, _ in near)
    grounds = tuple(_ground(each, clause) for each, clause in near)
    return Scope(grounds, near[0][0].organisation_id, organisations)


def _ground(assignment: Assignment, clause: str) -> Ground:
    return Ground(assignment.id, assignment.role.value, clause)
