"""Who there is, as every service knows it: people, assignments, organisations, and who is calling.

Owns what the rows of a service's directory hold (:mod:`services.authz.directory_fold` keeps them)
and what a caller is once loaded: a person with assignments, in a session. Place in the flow:
``token verified -> caller loaded -> decision``. It never verifies a token, never opens a profile
and never decides.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, Protocol, TypeVar
from uuid import UUID

import asyncpg
import msgspec

from services.authz import events as e
from services.authz.session_events import session_key
from services.kernel import states
from services.kernel.sealing import Compartment, KeyRef, Sealed, unpacked


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


def organisations_of(assignments: Iterable[Assignment]) -> list[UUID]:
    """Return the organisations that ``assignments`` are held at, once each, in their order.

    What is shown through several of them is told to each apart (docs/decisions/0003, 36).
    """
    # an id's own hash takes longer than its number's, and this is asked for every record of a list
    return list({a.organisation_id.int: a.organisation_id for a in assignments}.values())


class Part(Protocol):
    """What the posts at one organisation show of an answer."""

    @property
    def shown(self) -> Mapping[str, Sequence[str]]:
        """The ids, by part."""


P = TypeVar("P", bound=Part)


def told(parts: Sequence[P]) -> Sequence[P]:
    """Return the parts that show something; the first one where none does."""
    return [part for part in parts if any(part.shown.values())] or parts[:1]


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
        return (e.person_key(self.person.id), session_key(self.session_id))

    @property
    def organisation_id(self) -> UUID | None:
        """Whom they act for where nothing more is known: their first assignment's."""
        return self.assignments[0].organisation_id if self.assignments else None

    def apart(self) -> list["Caller"]:
        """Return the caller at each organisation by itself, in the order of the assignments.

        So that no organisation's own audit meets what somebody was shown in a post elsewhere.
        """
        places = organisations_of(self.assignments)
        return [self._at(place) for place in places] if places[1:] else [self for _ in places]

    def _at(self, organisation_id: UUID) -> "Caller":
        own = tuple(a for a in self.assignments if a.organisation_id == organisation_id)
        return msgspec.structs.replace(self, assignments=own)


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
