"""Who asks: a person in a live session, or a service client, and what is true of them.

Place in the flow: ``token verified -> principal loaded -> scope``. Neither verifies a token nor
decides how far anybody sees (:mod:`services.audit.grounds`).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from services.authz.access import Claims
from services.authz.client_events import client_key
from services.authz.directory import CALLER_COLUMNS, Caller, caller_joins, caller_of
from services.authz.events import organisation_key
from services.kernel.errors import Unauthenticated
from services.kernel.http import Call
from services.kernel.wholeness import NotSignedIn, not_behind

_LOAD: Final = (
    f"select {CALLER_COLUMNS}, array(select o.id from audit.organisation o"
    " join audit.assignment a on a.organisation_id = o.id"
    " where a.person_id = $1 and o.kind = 'ministry') as ministries,"
    " (select position from audit.projection where name = 'audit.directory') as at"
    f" from (select) one {caller_joins('audit', '$1', '$2')}"
)
_LOAD_CLIENT: Final = (
    "select c.scopes, c.organisation_id, o.kind = 'ministry' as ministry, p.position as at"
    " from audit.projection p"
    " left join audit.service_client c on c.client_id = $1 and c.revoked_at is null"
    " left join audit.organisation o on o.id = c.organisation_id"
    " where p.name = 'audit.directory'"
)


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
class ClientPrincipal:
    """What is true of a service client at a position of the log."""

    client_id: str
    #: those of the token that it is still registered for
    scopes: frozenset[str]
    at: int
    valid_until: datetime
    #: whose it is, if anybody's in particular
    organisation_id: UUID | None = None
    ministry: bool = False
    person_id: None = None

    @property
    def organisations(self) -> frozenset[UUID] | None:
        """How far it sees, ``None`` being everywhere: as somebody at its organisation would."""
        if self.organisation_id is None or self.ministry:
            return None
        return frozenset({self.organisation_id})

    @property
    def guards(self) -> tuple[str, ...]:
        """The keys of its registration and of whose it is."""
        own = client_key(self.client_id)
        place = self.organisation_id
        return (own,) if place is None else (own, organisation_key(place))


@dataclass(frozen=True, slots=True)
class PersonPrincipal:
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


Principal = PersonPrincipal | ClientPrincipal


async def principal_of(pool: asyncpg.Pool, claims: Claims, now: datetime, head: int) -> Principal:
    """Load who asks, with the position that is true at: ``head``, which was folded, or further.

    Raises :class:`Unauthenticated` when the session is over, or the client is not registered, and
    :class:`Unavailable` where the rows were emptied since.
    """
    if claims.client_id is not None:
        return await _client(pool, claims, claims.client_id, head)
    if claims.person_id is None or claims.session_id is None:
        raise Unauthenticated
    row = await pool.fetchrow(_LOAD, claims.person_id, claims.session_id)
    assert row is not None  # noqa: S101 - everything is joined to one row
    not_behind(row["at"], head)
    caller = caller_of(row, claims.session_id, claims.expires_at, now)
    if caller is None:
        raise NotSignedIn(row["at"])
    return PersonPrincipal(caller, frozenset(row["ministries"]), row["at"])


async def _client(pool: asyncpg.Pool, claims: Claims, client_id: str, head: int) -> ClientPrincipal:
    row = await pool.fetchrow(_LOAD_CLIENT, client_id)
    assert row is not None  # noqa: S101 - everything is joined to the projection's row
    not_behind(row["at"], head)
    if row["scopes"] is None:
        raise NotSignedIn(row["at"])
    scopes = frozenset(claims.scopes) & frozenset(row["scopes"])
    place, ministry = row["organisation_id"], bool(row["ministry"])
    return ClientPrincipal(client_id, scopes, row["at"], claims.expires_at, place, ministry)
