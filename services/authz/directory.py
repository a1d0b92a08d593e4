"""Who there is: a fold of authz's facts into the tables of whichever service imports it.

Each service keeps its own copy (they share the log and nothing else), named ``<schema>.directory``.
This module also says what a caller is once loaded: a person with assignments, in a session. It
never verifies a token and never decides.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
import msgspec

from services.authz import events as e
from services.kernel import states
from services.kernel.events import Event, Recorded
from services.kernel.projection import Connection
from services.kernel.sealing import Compartment, KeyRef, Sealed, packed, unpacked
from services.kernel.writes import Write, write


class Assignment(msgspec.Struct, frozen=True):
    """A role held at an organisation from a moment until a moment."""

    id: UUID
    role: e.Role
    organisation_id: UUID
    starts_at: datetime
    ends_at: datetime | None = None
    revoked: bool = False

    def in_force(self, now: datetime) -> bool:
        """Say whether the assignment counts at ``now``; revoked ones never do, on any clock."""
        return self.starts_at <= now and not self.has_ended(now)

    def has_ended(self, now: datetime) -> bool:
        """Say whether the assignment is over for good; revoked ones are, on any clock."""
        return self.revoked or (self.ends_at is not None and self.ends_at <= now)


class Person(msgspec.Struct, frozen=True):
    """A person as decisions need them; the profile stays sealed."""

    id: UUID
    #: as :func:`services.kernel.sealing.packed` packs it
    profile: bytes
    profile_event: UUID
    assignments: tuple[Assignment, ...] = ()
    suspended: bool = False
    version: int = 0

    def sealed_profile(self) -> Sealed:
        """Return the sealed profile with where it was sealed."""
        ref = KeyRef(self.id, Compartment.STAFF)
        return Sealed(ref, self.profile_event, "profile", unpacked(self.profile))


class Organisation(msgspec.Struct, frozen=True):
    """An organisation; nothing here is personal."""

    id: UUID
    kind: e.OrganisationKind
    name: str
    time_zone: str
    holiday_subdivision: str | None = None
    phone: str | None = None
    address: str | None = None
    region: str | None = None
    version: int = 0


_person = states.decoder(Person)
_organisation = states.decoder(Organisation)


def decode_person(state: bytes) -> Person:
    """Return the person in a ``person.state``."""
    return _person(state)


def decode_organisation(state: bytes) -> Organisation:
    """Return the organisation in an ``organisation.state``."""
    return _organisation(state)


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
            e.SESSION_STARTED: self._session_started,
            e.SESSION_ENDED: self._session_ended,
            e.SIGNING_KEY_ADDED: self._key_added,
            e.SIGNING_KEY_RETIRED: self._key_retired,
            e.CLIENT_REGISTERED: self._client_registered,
            e.CLIENT_REVOKED: self._client_revoked,
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
                f"insert into {self._schema}.assignment select * from unnest($1::uuid[],"
                " $2::uuid[], $3::text[], $4::uuid[], $5::timestamptz[], $6::timestamptz[],"
                " $7::boolean[])",
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
            f"insert into {self._schema}.catchment values ($1, $2, $3, $4)"
            " on conflict (school_id, provider_id, starts_at) do update"
            " set ends_at = excluded.ends_at",
            (data.school_id, data.provider_id, data.starts_at, data.ends_at),
            ((data.school_id, data.provider_id),),
        )

    def _session_started(self, event: Event) -> Write:
        data = msgspec.convert(event.data, e.SessionStarted)
        return Write(
            f"insert into {self._schema}.session values ($1, $2, $3, null)"
            " on conflict (id) do nothing",
            (data.session_id, data.person_id, data.expires_at),
            (data.session_id,),
        )

    def _session_ended(self, event: Event) -> Write:
        data = msgspec.convert(event.data, e.SessionEnded)
        return Write(
            f"update {self._schema}.session set ended_at = $2 where id = $1",
            (data.session_id, event.recorded_at),
            (data.session_id,),
        )

    def _key_added(self, event: Event) -> Write:
        data = msgspec.convert(event.data, e.SigningKeyAdded)
        return Write(
            f"insert into {self._schema}.signing_key values ($1, decode($2, 'base64'), null)"
            " on conflict (kid) do nothing",
            (data.kid, data.public_key),
            (data.kid,),
        )

    def _key_retired(self, event: Event) -> Write:
        data = msgspec.convert(event.data, e.SigningKeyRetired)
        return Write(
            f"update {self._schema}.signing_key set retired_at = $2 where kid = $1",
            (data.kid, event.recorded_at),
            (data.kid,),
        )

    def _client_registered(self, event: Event) -> Write:
        data = msgspec.convert(event.data, e.ClientRegistered)
        return Write(
            f"insert into {self._schema}.service_client values ($1, $2, null)"
            " on conflict (client_id) do update set scopes = excluded.scopes, revoked_at = null",
            (data.client_id, list(data.scopes)),
            (data.client_id,),
        )

    def _client_revoked(self, event: Event) -> Write:
        data = msgspec.convert(event.data, e.ClientRevoked)
        return Write(
            f"update {self._schema}.service_client set revoked_at = $2 where client_id = $1",
            (data.client_id, event.recorded_at),
            (data.client_id,),
        )


class Caller(msgspec.Struct, frozen=True):
    """Who is calling: a person with the assignments in force now, in a live session."""

    person: Person
    session_id: UUID
    #: when the token, the session, or an assignment in force ends: no decision outlives it
    valid_until: datetime
    assignments: tuple[Assignment, ...]

    @property
    def guards(self) -> tuple[str, str]:
        """The guard keys of every fact about the caller."""
        return (e.person_key(self.person.id), e.session_key(self.session_id))

    @property
    def organisation_id(self) -> UUID | None:
        """Whom they act for where nothing more is known: their first assignment's."""
        return self.assignments[0].organisation_id if self.assignments else None


#: select list and joins that load a caller beside whatever else a query loads
CALLER_COLUMNS: Final = "p.state as person_state, s.expires_at as session_expires_at"


def caller_joins(schema: str, person: str, session: str) -> str:
    """Return the left joins of a caller whose ids are the placeholders ``person``, ``session``."""
    return (
        f" left join {schema}.person p on p.id = {person}"
        f" left join {schema}.session s on s.id = {session} and s.person_id = {person}"
        " and s.ended_at is null"
    )


def caller_of(
    row: asyncpg.Record, session_id: UUID, token_expires_at: datetime, now: datetime
) -> Caller | None:
    """Return who is calling, or ``None`` when no live session of a working person stands there."""
    state, expires_at = row["person_state"], row["session_expires_at"]
    if state is None or expires_at is None or expires_at <= now:
        return None
    person = decode_person(state)
    if person.suspended:
        return None
    current = tuple(a for a in person.assignments if a.in_force(now))
    ends = [a.ends_at for a in current if a.ends_at is not None]
    return Caller(person, session_id, min(token_expires_at, expires_at, *ends), current)
