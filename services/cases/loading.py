"""Loads, in one statement and so in one snapshot, everything a decision about a record needs.

A record that does not exist is loaded as its neighbour, flagged ``exists = False``: what is hidden
and what is missing then take the same path and the same time, and are answered alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from services.authz.access import Claims
from services.authz.directory import (
    CALLER_COLUMNS,
    Caller,
    Organisation,
    Person,
    caller_joins,
    caller_of,
    decode_organisation,
    decode_person,
)
from services.cases.events import RecordKind, record_key, student_key
from services.cases.gathering import Gathering
from services.cases.record import Record, Student
from services.cases.views import decode_record, decode_student
from services.kernel.errors import Unauthenticated, Unavailable

_POSITION: Final = "(select min(position) from cases.projection) as at"

_RECORD: Final = f"""
select {_POSITION}, {CALLER_COLUMNS}, r.id as record_id, r.state as record_state,
    st.state as student_state,
    (select array_agg(q.state) from cases.person q where q.id = any(r.people)) as people,
    (select array_agg(o.state) from cases.organisation o where o.id = any(
        r.organisations || coalesce(before.organisations, '{{}}'))) as organisations,
    before.states as earlier
from unnest($1::uuid[], $2::uuid[], $3::uuid[])
    with ordinality as one(person_id, session_id, record_id, place)
    {caller_joins("cases", "one.person_id", "one.session_id")}
    left join lateral (
        (select * from cases.record where id >= one.record_id order by id limit 1)
        union all
        (select * from cases.record where id < one.record_id order by id desc limit 1)
        limit 1
    ) r on true
    left join cases.student st on st.id = r.student_id
    left join lateral (
        select array_agg(h.state order by h.created_at, h.id) as states,
            array_agg(h.school_id) || array_agg(h.provider_id) as organisations
        from cases.record h
        where h.student_id = r.student_id and h.id <> r.id and h.created_at <= r.created_at
    ) before on true
order by one.place
"""

_CALLER: Final = f"""
select {_POSITION}, {CALLER_COLUMNS} from (select 1) as one {caller_joins("cases", "$1", "$2")}
"""


@dataclass(frozen=True, slots=True)
class Asking:
    """Who is calling, and the position their facts were read at."""

    caller: Caller
    at: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """A record with everything around it. Not to be looked at unless ``exists``."""

    asking: Asking
    exists: bool
    record_id: UUID
    record: Record | None
    student: Student | None
    people: Mapping[UUID, Person]
    organisations: Mapping[UUID, Organisation]
    earlier: Sequence[Record]

    @property
    def caller(self) -> Caller:
        """Who is calling."""
        return self.asking.caller

    @property
    def guards(self) -> list[str]:
        """The guard keys of every fact loaded; as many for what is missing as for what is not.

        What is missing is guarded like the neighbour it was loaded as: at worst it is decided
        again, and the number of keys, which takes time to append, tells nothing.
        """
        student_id = self.student.id if self.student else self.record_id
        return [
            *self.caller.guards,
            record_key(self.record_id),
            student_key(student_id),
            *(record_key(record.id) for record in self.earlier),
        ]


def _asking(row: asyncpg.Record, claims: Claims, now: datetime) -> Asking:
    if claims.session_id is None:
        raise Unauthenticated
    caller = caller_of(row, claims.session_id, claims.expires_at, now)
    if caller is None:
        raise Unauthenticated
    return Asking(caller, row["at"])


async def _one(pool: asyncpg.Pool, statement: str, *arguments: object) -> asyncpg.Record:
    """Return the one row of a statement that always has one."""
    row = await pool.fetchrow(statement, *arguments)
    if row is None:
        raise Unavailable
    return row


class Loader:
    """Loads from the cases service's own read models."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._records = Gathering(pool, _RECORD)

    async def asking(self, claims: Claims, now: datetime) -> Asking:
        """Return who is calling; raise :class:`Unauthenticated` when the session is over."""
        row = await _one(self._pool, _CALLER, claims.person_id, claims.session_id)
        return _asking(row, claims, now)

    async def record(
        self, claims: Claims, kind: RecordKind, record_id: UUID, now: datetime
    ) -> Loaded:
        """Return the record of ``kind`` called ``record_id``, or a stand-in for what is missing."""
        row = await self._records.ask(claims.person_id, claims.session_id, record_id)
        asking = _asking(row, claims, now)
        if row["record_state"] is None:
            return Loaded(asking, False, record_id, None, None, {}, {}, ())
        record = decode_record(row["record_state"])
        people = (decode_person(state) for state in row["people"] or ())
        organisations = (decode_organisation(state) for state in row["organisations"] or ())
        return Loaded(
            asking=asking,
            exists=row["record_id"] == record_id and record.kind is kind,
            record_id=record_id,
            record=record,
            student=decode_student(row["student_state"]),
            people={person.id: person for person in people},
            organisations={o.id: o for o in organisations},
            earlier=[decode_record(state) for state in row["earlier"] or ()],
        )

    async def completed(self, loaded: Loaded, record: Record) -> Loaded:
        """Return ``loaded`` with everybody and every organisation that ``record`` names."""
        staff = (*record.staff, *record.team)
        people = {s.person_id for s in staff} - loaded.people.keys()
        named = {record.school_id, record.provider_id, *(s.organisation_id for s in staff)}
        organisations = {o for o in named if o is not None} - loaded.organisations.keys()
        if not people and not organisations:
            return loaded
        row = await _one(
            self._pool,
            "select (select array_agg(state) from cases.person where id = any($1)) as people,"
            " (select array_agg(state) from cases.organisation where id = any($2))"
            " as organisations",
            list(people),
            list(organisations),
        )
        new_people = (decode_person(state) for state in row["people"] or ())
        new_organisations = (decode_organisation(state) for state in row["organisations"] or ())
        return replace(
            loaded,
            people={**loaded.people, **{p.id: p for p in new_people}},
            organisations={**loaded.organisations, **{o.id: o for o in new_organisations}},
        )

    async def people_at(
        self, organisation_id: UUID, person_id: UUID, now: datetime
    ) -> list[asyncpg.Record]:
        """Return the assignments in force of a person at an organisation (id, role)."""
        rows: list[asyncpg.Record] = await self._pool.fetch(
            "select a.id, a.role from cases.assignment a join cases.person p on p.id = a.person_id"
            " where a.person_id = $1 and a.organisation_id = $2 and a.starts_at <= $3"
            " and (a.ends_at is null or a.ends_at > $3) and not a.revoked"
            " and not coalesce((convert_from(p.state, 'UTF8')::jsonb ->> 'suspended')::bool, false)"
            " order by a.starts_at, a.id",
            person_id,
            organisation_id,
            now,
        )
        return rows

    async def organisation(self, organisation_id: UUID) -> Organisation | None:
        """Return an organisation."""
        state = await self._pool.fetchval(
            "select state from cases.organisation where id = $1", organisation_id
        )
        return None if state is None else decode_organisation(state)

    async def serves(self, provider_id: UUID, school_id: UUID, now: datetime) -> bool:
        """Say whether a school lies in a provider's catchment at ``now``."""
        found: bool = await self._pool.fetchval(
            "select exists (select from cases.catchment where provider_id = $1 and school_id = $2"
            " and starts_at <= $3 and (ends_at is null or ends_at > $3))",
            provider_id,
            school_id,
            now,
        )
        return found

    async def student(self, student_id: UUID) -> Student | None:
        """Return a learner."""
        state = await self._pool.fetchval(
            "select state from cases.student where id = $1", student_id
        )
        return None if state is None else decode_student(state)
