"""Facts as administration loads them: several questions, one snapshot, one position.

A repeatable-read transaction sees the projections at one moment, the position they stand at
included: what is asked through a :class:`Snapshot` can be guarded by its ``at``. Owns the caller,
people, organisations and accounts; of posts and catchments it says where to ask. Place in the flow:
opened by the desk for each hearing. It decides nothing and writes nothing.
"""

import contextlib
from collections.abc import AsyncIterator, Collection
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
import msgspec

from services.authz.administration import AccessDecision
from services.authz.catchment_views import CatchmentViews
from services.authz.credential_events import CREDENTIALS_RESET
from services.authz.directory import (
    Caller,
    Organisation,
    Person,
    decode_organisation,
    decode_person,
)
from services.authz.events import OrganisationKind
from services.authz.login_views import Session, live_caller, live_sessions
from services.authz.posts import Posts
from services.authz.recording import person_stream
from services.authz.visits import Visit
from services.kernel.intake import decode_envelope
from services.kernel.projection import Connection
from services.kernel.sealing import Compartment, KeyRef, Sealed
from services.kernel.wholeness import NEWEST

#: both neighbours are looked for, whether or not the person is there: it takes as long either way
_NEAREST: Final = (
    "select n.id, n.state, h.organisation_id as home from ("
    "(select id, state from authz.person where id >= $1 order by id limit 1) union all"
    " (select id, state from authz.person where id < $1 order by id desc limit 1)) n"
    " left join authz.person_home h on h.person_id = n.id order by n.id >= $1 desc limit 1"
)


class Snapshot:
    """What is true at one position of the log; made by :func:`snapshot`."""

    def __init__(self, connection: Connection, at: int, now: datetime, caller: Caller) -> None:
        self._connection = connection
        self.at = at
        self.now = now
        self.caller = caller
        self.posts = Posts(connection, now)
        self.catchments = CatchmentViews(connection)
        self._homes: dict[UUID, UUID | None] = {}
        self._people: dict[UUID, Person] = {}
        self._sessions: dict[UUID, list[Session]] = {}
        self._kinds: dict[UUID, OrganisationKind] = {}

    async def bring(self, people: Collection[UUID]) -> None:
        """Load many people at once, with homes, sessions and the kinds of where they work.

        Asked for one by one afterwards they cost no statement; of one snapshot it is the same.
        """
        rows = await self._connection.fetch(
            "select p.id, p.state, h.organisation_id as home from authz.person p"
            " left join authz.person_home h on h.person_id = p.id where p.id = any($1)",
            people,
        )
        self._people = {row["id"]: decode_person(row["state"]) for row in rows}
        self._homes |= {row["id"]: row["home"] for row in rows}
        self._sessions = {person_id: [] for person_id in people}
        for session in await live_sessions(self._connection, *people, known=self.at):
            self._sessions[session.person_id].append(session)
        homes = {home for home in self._homes.values() if home}
        places = {a.organisation_id for p in self._people.values() for a in p.assignments}
        self._kinds = await self.kinds(places | homes)

    async def organisation(self, organisation_id: UUID) -> Organisation | None:
        """Return an organisation."""
        state = await self._connection.fetchval(
            "select state from authz.organisation where id = $1", organisation_id
        )
        return None if state is None else decode_organisation(state)

    async def organisations(
        self, ids: Collection[UUID] | None, after: UUID | None, limit: int
    ) -> list[Organisation]:
        """Return organisations in the order of their ids, those of ``ids`` only unless ``None``."""
        rows = await self._connection.fetch(
            "select state from authz.organisation where ($1::uuid[] is null or id = any($1))"
            " and ($2::uuid is null or id > $2) order by id limit $3",
            None if ids is None else list(ids),
            after,
            limit,
        )
        return [decode_organisation(row["state"]) for row in rows]

    async def kinds(self, ids: Collection[UUID]) -> dict[UUID, OrganisationKind]:
        """Return the kind of each organisation."""
        if self._kinds.keys() >= set(ids):
            return {one: self._kinds[one] for one in ids}
        rows = await self._connection.fetch(
            "select id, kind from authz.organisation where id = any($1)", list(ids)
        )
        return {row["id"]: OrganisationKind(row["kind"]) for row in rows}

    async def person(self, person_id: UUID) -> Person | None:
        """Return a person, suspended or not."""
        found = await self.nearest(person_id)
        return found if found.id == person_id else None

    async def nearest(self, person_id: UUID) -> Person:
        """Return a person, or somebody else when there is none of that id.

        Whoever may not learn which of the two it is has a person to judge either way, after the
        same one statement; with them their home is loaded.
        """
        if person_id in self._people:
            return self._people[person_id]
        row = await self._connection.fetchrow(_NEAREST, person_id)
        if row is None:
            return self.caller.person
        self._homes[row["id"]] = row["home"]
        return decode_person(row["state"])

    def home(self, person_id: UUID) -> UUID | None:
        """Return the organisation that somebody loaded here was registered for."""
        return self._homes.get(person_id)

    async def reset_by(self, act_id: UUID) -> frozenset[UUID]:
        """Return whose credentials were reset by an act that resets many."""
        rows = await self._connection.fetch(
            "select person_id from authz.credential_reset where act_id = $1", act_id
        )
        return frozenset(row["person_id"] for row in rows)

    async def addresses(self, person_id: UUID) -> list[Sealed]:
        """Return the sealed profiles with the addresses that are somebody's.

        The newest, and the one that messages go to until it has settled.
        """
        rows = await self._connection.fetch(
            "select v.profile, v.event_id from authz.address a, lateral (values"
            " (a.profile, a.event_id), (a.settled, a.settled_event)) v (profile, event_id)"
            " where a.person_id = $1",
            person_id,
        )
        ref = KeyRef(person_id, Compartment.STAFF)
        return [Sealed(ref, row["event_id"], "profile", row["profile"]) for row in rows]

    async def resets(self, person_id: UUID, most: int) -> list[datetime]:
        """Return when somebody's credentials were reset, newest first."""
        rows = await self._connection.fetch(
            "select l.position, l.body from log.fact f join log.event l using (position)"
            " where f.stream = $1 and l.type = $2 order by f.version desc limit $3",
            person_stream(person_id),
            CREDENTIALS_RESET,
            most,
        )
        return [decode_envelope(row["position"], row["body"]).event.recorded_at for row in rows]

    async def decision(self, decision_id: UUID) -> AccessDecision | None:
        """Return a leader's access decision."""
        row = await self._connection.fetchrow(
            "select * from authz.access_decision where id = $1", decision_id
        )
        return None if row is None else msgspec.convert(dict(row), AccessDecision)

    async def sessions(self, person_id: UUID) -> list[Session]:
        """Return a person's sessions that have not ended."""
        brought = self._sessions.get(person_id)
        if brought is not None:
            return brought
        return await live_sessions(self._connection, person_id, known=self.at)

    async def username_taken(self, digest: str) -> bool:
        """Say whether an account has the user name of ``digest``."""
        taken: bool = await self._connection.fetchval(
            "select exists (select from authz.account where username_digest = $1)", digest
        )
        return taken

    async def newest(self) -> int:
        """Return the position of the newest fact of the log at the moment of the snapshot."""
        newest: int = await self._connection.fetchval(f"select {NEWEST}")
        return newest

    async def stream_version(self, stream: str) -> int:
        """Return the newest version of a stream, 0 when there is none."""
        version: int = await self._connection.fetchval(
            "select coalesce(max(version), 0) from log.fact where stream = $1", stream
        )
        return version


@contextlib.asynccontextmanager
async def snapshot(pool: asyncpg.Pool, visit: Visit, now: datetime) -> AsyncIterator[Snapshot]:
    """Open a snapshot for a visit; raise :class:`NotSignedIn` when no live session is there."""
    async with (
        pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        session = (visit.person_id, visit.session_id, visit.expires_at)
        caller, at = await live_caller(connection, *session, now)
        yield Snapshot(connection, at, now, caller)
