"""Who may ask what of the audit log, and how far they see: the engine's answer per assignment.

A security analyst or privacy officer at the Ministry sees every organisation, elsewhere only
their own (domain, "Back-office roles"; SG-8, DP-5). A service client with the scope ``audit.read``
reads events while it is registered for it. For everybody else there is no scope, and the
audit service does not exist.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from services.audit.events import tells_learner
from services.authz.access import Claims
from services.authz.client_events import client_key
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


_LOAD_CLIENT: Final = (
    "select c.scopes, p.position as at from audit.projection p"
    " left join audit.service_client c on c.client_id = $1 and c.revoked_at is null"
    " where p.name = 'audit.directory'"
)
#: the scope that lets a service client read events, and the fact it is in the policy
AUDIT_READ: Final = "audit.read"
_AUDIT_READ_FACT: Final = "scope_audit_read"
SERVICE_CLIENT: Final = "service_client"


@dataclass(frozen=True, slots=True)
class Asker:
    """Who a valid token says is asking, and from where; whether they may is not known yet."""

    claims: Claims
    call: Call

    @property
    def person_id(self) -> UUID | None:
        """Return the person, unless it is a service client."""
        return self.claims.person_id

    @property
    def who(self) -> UUID | str:
        """Return the person's id, or the client's."""
        return self.claims.person_id or self.claims.client_id or ""


@dataclass(frozen=True, slots=True)
class ClientStanding:
    """What is true of a service client at a position of the log."""

    client_id: str
    #: those of the token that it is still registered for
    scopes: frozenset[str]
    at: int
    valid_until: datetime
    organisation_id: None = None
    person_id: None = None

    @property
    def guards(self) -> tuple[str, ...]:
        """The key of its registration."""
        return (client_key(self.client_id),)


@dataclass(frozen=True, slots=True)
class Standing:
    """What is true of a person at a position of the log."""

    caller: Caller
    ministries: frozenset[UUID]
    at: int

    @property
    def valid_until(self) -> datetime:
        """When the first of the facts about them ends by itself."""
        return self.caller.valid_until

    @property
    def person_id(self) -> UUID:
        """Return who they are."""
        return self.caller.person.id

    @property
    def guards(self) -> tuple[str, ...]:
        """The keys of every fact a scope rests on."""
        organisations = {a.organisation_id for a in self.caller.assignments}
        return (*self.caller.guards, *(organisation_key(o) for o in sorted(organisations)))

    @property
    def organisation_id(self) -> UUID | None:
        """Return whom they act for where nothing more is known."""
        return self.caller.organisation_id


def organisations_of(event: Event) -> set[UUID]:
    """Return the organisations whose own auditors see an event: whose actor's it is, and whose."""
    return {o for o in (event.actor.organisation_id, event.organisation_id) if o is not None}


@dataclass(frozen=True, slots=True)
class Scope:
    """How far an asker sees; ``organisations`` is ``None`` for everywhere.

    A service client's has no grounds, which name assignments, but the clause alone.
    """

    grounds: tuple[Ground, ...]
    organisation_id: UUID | None
    organisations: frozenset[UUID] | None
    clause: str | None = None

    @property
    def own(self) -> list[UUID] | None:
        """The organisations as a parameter of a query; ``None`` for everywhere."""
        return None if self.organisations is None else sorted(self.organisations)

    @property
    def everywhere(self) -> bool:
        """Whether that is every organisation: the Ministry's, or a service client's."""
        return self.organisations is None

    def holds(self, organisation: UUID | None) -> bool:
        """Say whether something of an organisation is within the scope."""
        return self.organisations is None or organisation in self.organisations

    def learner_of(self, event: Event) -> UUID | None:
        """Return the learner an event names to who has this scope.

        Of what showed nothing only the Ministry is told whom it was about (:func:`tells_learner`).
        """
        told = self.everywhere or tells_learner(event)
        return event.student_id if told else None

    def names_actor(self, event: Event) -> bool:
        """Say whether who acted is told, and from where, on which of their assignments.

        Elsewhere than at the Ministry only of who acted for an own organisation: what others did to
        it is known, and for whom they did it.
        """
        return self.holds(event.actor.organisation_id)


async def standing_of(
    pool: asyncpg.Pool, claims: Claims, now: datetime
) -> Standing | ClientStanding:
    """Load who asks, with the position that is true at.

    Raises :class:`Unauthenticated` when the session is over, or the client is not registered.
    """
    if claims.client_id is not None:
        return await _client(pool, claims, claims.client_id)
    if claims.person_id is None or claims.session_id is None:
        raise Unauthenticated
    row = await pool.fetchrow(_LOAD, claims.person_id, claims.session_id)
    caller = caller_of(row, claims.session_id, claims.expires_at, now) if row else None
    if row is None or caller is None:
        raise Unauthenticated
    return Standing(caller, frozenset(row["ministries"]), row["at"])


async def _client(pool: asyncpg.Pool, claims: Claims, client_id: str) -> ClientStanding:
    row = await pool.fetchrow(_LOAD_CLIENT, client_id)
    if row is None or row["scopes"] is None:
        raise Unauthenticated
    scopes = frozenset(claims.scopes) & frozenset(row["scopes"])
    return ClientStanding(client_id, scopes, row["at"], claims.expires_at)


def scope_for(
    policy: Policy, standing: Standing | ClientStanding, action: str, object_: str
) -> Scope | None:
    """Return how far ``action`` on ``object_`` reaches.

    For a person the union over assignments in force; a service client is of no organisation, and
    its scope reaches everywhere or not at all.
    """
    if isinstance(standing, ClientStanding):
        facts = policy.bits([_AUDIT_READ_FACT] if AUDIT_READ in standing.scopes else [])
        clause = policy.clause(SERVICE_CLIENT, action, object_, facts)
        return Scope((), None, None, clause) if clause is not None else None
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
