"""The fold of the directory: authz's facts into the tables of whichever service wires it.

Each service keeps its own copy (they share the log and nothing else), named ``<schema>.directory``.
Place in the flow: ``log -> fold -> tables``; what a row holds is :mod:`services.authz.directory`,
whose readers load it. It asks nothing of its tables but the state it folds on, opens nothing that
is sealed, and decides nothing.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from services.authz import events as e
from services.authz.client_events import (
    CLIENT_REGISTERED,
    CLIENT_REVOKED,
    ClientRegistered,
    ClientRevoked,
)
from services.authz.directory import Assignment, Organisation, Person, decode_person
from services.authz.session_events import (
    SESSION_ENDED,
    SESSION_STARTED,
    SIGNING_KEY_ADDED,
    SIGNING_KEY_RETIRED,
    SessionEnded,
    SessionStarted,
    SigningKeyAdded,
    SigningKeyRetired,
)
from services.kernel import states
from services.kernel.events import Event, Recorded
from services.kernel.projection import Connection
from services.kernel.sealing import packed
from services.kernel.writes import Write, write


def evolve_person(person: Person | None, event: Event) -> Person | None:  # noqa: PLR0911 - one per fact
    """Return ``person`` after ``event``; total over every fact of a person's stream."""
    data, replace = event.data, msgspec.structs.replace
    version = event.version or 0
    if event.type == e.PERSON_REGISTERED:
        registered = msgspec.convert(data, e.PersonRegistered)
        return Person(registered.person_id, packed(registered.profile), event.id, version=version)
    if person is None:
        return None
    person = replace(person, version=version)
    match event.type:
        case e.PROFILE_CORRECTED:
            return replace(person, profile=packed(data["profile"]), profile_event=event.id)
        case e.ASSIGNMENT_GRANTED:
            granted = msgspec.convert(data, e.AssignmentGranted)
            new = Assignment(
                granted.assignment_id,
                granted.role,
                granted.organisation_id,
                granted.starts_at,
                granted.ends_at,
            )
            others = (a for a in person.assignments if a.id != new.id)
            return replace(person, assignments=(*others, new))
        case e.ASSIGNMENT_REVOKED:
            gone = UUID(data["assignment_id"])
            left = tuple(
                replace(a, revoked=True, ends_at=_earlier(a.ends_at, event.recorded_at))
                if a.id == gone
                else a
                for a in person.assignments
            )
            return replace(person, assignments=left)
        case e.PERSON_SUSPENDED:
            return replace(person, suspended=True)
        case e.PERSON_REINSTATED:
            return replace(person, suspended=False)
        case _:
            return person


def _earlier(until: datetime | None, moment: datetime) -> datetime:
    return moment if until is None else min(until, moment)


class Directory:
    """The projection ``<schema>.directory``."""

    def __init__(self, schema: str) -> None:
        self.name = f"{schema}.directory"
        self._schema = schema
        self.tables: Sequence[str] = tuple(
            f"{schema}.{table}"
            for table in (
                "person",
                "assignment",
                "organisation",
                "catchment",
                "session",
                "signing_key",
                "service_client",
            )
        )
        self._folds: dict[str, Callable[[Event], Write]] = {
            e.ORGANISATION_REGISTERED: self._organisation,
            e.CATCHMENT_CHANGED: self._catchment,
            SESSION_STARTED: self._session_started,
            SESSION_ENDED: self._session_ended,
            SIGNING_KEY_ADDED: self._key_added,
            SIGNING_KEY_RETIRED: self._key_retired,
            CLIENT_REGISTERED: self._client_registered,
            CLIENT_REVOKED: self._client_revoked,
        }

    def wants(self, type_: str, kind: str) -> bool:
        """Say that it wants every fact of a person: each is a version of theirs."""
        return kind == "person" or type_ in self._folds

    async def fold(self, connection: Connection, batch: Sequence[Recorded]) -> None:
        """Apply ``batch``."""
        people: dict[UUID, list[Event]] = {}
        writes = []
        for recorded in batch:
            event = recorded.event
            if event.stream is not None and event.stream.startswith("person:"):
                people.setdefault(UUID(event.stream.removeprefix("person:")), []).append(event)
            elif event.type in self._folds:
                writes.append(self._folds[event.type](event))
        await write(connection, writes)
        if people:
            await self._people(connection, people)

    async def _people(self, connection: Connection, people: dict[UUID, list[Event]]) -> None:
        rows = await connection.fetch(
            f"select id, state from {self._schema}.person where id = any($1)", list(people)
        )
        folded: dict[UUID, Person | None] = {r["id"]: decode_person(r["state"]) for r in rows}
        for person_id, events in people.items():
            for event in events:
                folded[person_id] = evolve_person(folded.get(person_id), event)
        known = [p for p in folded.values() if p is not None]
        await connection.execute(
            f"insert into {self._schema}.person (id, state)"
            " select * from unnest($1::uuid[], $2::bytea[])"
            " on conflict (id) do update set state = excluded.state",
            [p.id for p in known],
            [states.encode(p) for p in known],
        )
        await self._assignments(connection, known)

    async def _assignments(self, connection: Connection, people: Sequence[Person]) -> None:
        await connection.execute(
            f"delete from {self._schema}.assignment where person_id = any($1)",
            [p.id for p in people],
        )
        held = [(p.id, a) for p in people for a in p.assignments]
        if held:
            await connection.execute(
                f"insert into {self._schema}.assignment"
                " (id, person_id, role, organisation_id, starts_at, ends_at, revoked)"
                " select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[],"
                " $5::timestamptz[], $6::timestamptz[], $7::boolean[])",
                [a.id for _, a in held],
                [person_id for person_id, _ in held],
                [a.role.value for _, a in held],
                [a.organisation_id for _, a in held],
                [a.starts_at for _, a in held],
                [a.ends_at for _, a in held],
                [a.revoked for _, a in held],
            )

    def _organisation(self, event: Event) -> Write:
        data = msgspec.convert(event.data, e.OrganisationRegistered)
        state = Organisation(
            id=data.organisation_id,
            **{f: getattr(data, f) for f in Organisation.__struct_fields__[1:-1]},
            version=event.version or 0,
        )
        return Write(
            f"insert into {self._schema}.organisation (id, kind, state) values ($1, $2, $3)"
            " on conflict (id) do update set kind = excluded.kind, state = excluded.state",
            (state.id, state.kind.value, states.encode(state)),
            (state.id,),
        )

    def _catchment(self, event: Event) -> Write:
        data = msgspec.convert(event.data, e.CatchmentChanged)
        return Write(
            f"insert into {self._schema}.catchment (school_id, provider_id, starts_at, ends_at)"
            " values ($1, $2, $3, $4) on conflict (school_id, provider_id, starts_at) do update"
            " set ends_at = excluded.ends_at",
            (data.school_id, data.provider_id, data.starts_at, data.ends_at),
            ((data.school_id, data.provider_id),),
        )

    def _session_started(self, event: Event) -> Write:
        data = msgspec.convert(event.data, SessionStarted)
        return Write(
            f"insert into {self._schema}.session (id, person_id, expires_at)"
            " values ($1, $2, $3) on conflict (id) do nothing",
            (data.session_id, data.person_id, data.expires_at),
            (data.session_id,),
        )

    def _session_ended(self, event: Event) -> Write:
        data = msgspec.convert(event.data, SessionEnded)
        return self._over(event, "session", "ended_at", "id", data.session_id)

    def _key_added(self, event: Event) -> Write:
        data = msgspec.convert(event.data, SigningKeyAdded)
        return Write(
            f"insert into {self._schema}.signing_key (kid, public_key)"
            " values ($1, decode($2, 'base64')) on conflict (kid) do nothing",
            (data.kid, data.public_key),
            (data.kid,),
        )

    def _key_retired(self, event: Event) -> Write:
        data = msgspec.convert(event.data, SigningKeyRetired)
        return self._over(event, "signing_key", "retired_at", "kid", data.kid)

    def _client_registered(self, event: Event) -> Write:
        data = msgspec.convert(event.data, ClientRegistered)
        return Write(
            f"insert into {self._schema}.service_client (client_id, scopes, organisation_id)"
            " values ($1, $2, $3) on conflict (client_id) do update set scopes = excluded.scopes,"
            " organisation_id = excluded.organisation_id, revoked_at = null",
            (data.client_id, list(data.scopes), data.organisation_id),
            (data.client_id,),
        )

    def _client_revoked(self, event: Event) -> Write:
        data = msgspec.convert(event.data, ClientRevoked)
        return self._over(event, "service_client", "revoked_at", "client_id", data.client_id)

    def _over(self, event: Event, table: str, column: str, key: str, of: UUID | str) -> Write:
        """Return that what ``key`` names in ``table`` is over since the event."""
        return Write(
            f"update {self._schema}.{table} set {column} = $2 where {key} = $1",
            (of, event.recorded_at),
            (of,),
        )
