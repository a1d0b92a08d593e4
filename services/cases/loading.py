"""Loads, in one statement and so in one snapshot, everything a decision about a record needs.

What the caller sees nothing of is not read: the statement itself asks, by the policy's own
relations, whether anything may be seen, and touches content only then. A record that does not
exist is asked about as its neighbour and never read either. So what is hidden and what is missing
take the same path, the same work and the same time, however large a record is.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from services.authz.access import Claims
from services.authz.directory import (
    CALLER_COLUMNS,
    Organisation,
    caller_joins,
    caller_of,
    decode_organisation,
    decode_person,
)
from services.authz.engine import Policy
from services.cases.gathering import Gathering
from services.cases.loaded import Asking, Involved, Loaded
from services.cases.record import UNDER_WAY, Record, Student
from services.cases.relations import EXISTS, seen_by
from services.cases.terms import RecordKind
from services.cases.views import decode_head, decode_record, decode_student
from services.kernel import states
from services.kernel.errors import Unauthenticated, Unavailable
from services.kernel.wholeness import not_behind

#: the position that rows of the cases service stand at
AT: Final = "(select min(position) from cases.projection) as at"


def _in_force(moment: str) -> str:
    """Return the SQL of :meth:`services.authz.directory.Assignment.in_force` at ``moment``."""
    ended = f"(a.ends_at is null or a.ends_at > {moment})"
    return f"a.starts_at <= {moment} and {ended} and not a.revoked"


def _record(policy: Policy) -> str:
    """Return the statement that loads a record: $1 to $4 are people, sessions, ids and moments.

    ``r`` is the record or its neighbour. ``sees`` holds nothing unless an assignment of the caller
    sees something of ``r``; ``content`` nothing unless ``r`` is also the record asked for.
    ``before`` holds the states of those of the learner's earlier records that the caller may find
    in its history, and the ids ``around`` of all, since what becomes of any may bring it there.
    """
    seen = seen_by(policy)
    return f"""
select {AT}, {CALLER_COLUMNS}, r.id as record_id, r.kind, r.student_id, content.*
from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::timestamptz[])
    with ordinality as one(person_id, session_id, record_id, moment, place)
    {caller_joins("cases", "one.person_id", "one.session_id")}
    left join lateral (
        (select * from cases.record where id >= one.record_id order by id limit 1)
        union all
        (select * from cases.record where id < one.record_id order by id desc limit 1)
        limit 1
    ) r on true
    left join cases.student st on st.id = r.student_id
    left join lateral (
        select true as anything
        from cases.assignment a, (select st.school_id) s
        where a.person_id = one.person_id and {_in_force("one.moment")} and {seen}
        limit 1
    ) sees on true
    left join lateral (
        select r.state as record, r.things, st.state as student, before.around,
            before.ids as earlier_ids, before.states as earlier,
            (select array_agg(q.state) from cases.person q where q.id = any(r.people)) as people,
            (select array_agg(o.state) from cases.organisation o where o.id = any(
                r.organisations || coalesce(before.organisations, '{{}}'))) as organisations
        from (
            select array_agg(r.id) as around,
                array_agg(r.id order by r.created_at, r.id) filter (where told.it) as ids,
                array_agg(r.state order by r.created_at, r.id) filter (where told.it) as states,
                array_agg(r.school_id) filter (where told.it)
                    || array_agg(r.provider_id) filter (where told.it) as organisations
            from (select r.id, r.student_id, r.provider_id, r.created_at) this
            join cases.record r on r.student_id = this.student_id and r.id <> this.id
                and r.created_at <= this.created_at and {EXISTS.sql}
            cross join lateral (
                select (r.kind = 'request' or r.status = 'closed') and exists (
                    select from cases.assignment a, (select st.school_id) s
                    where a.person_id = one.person_id and {_in_force("one.moment")} and ({seen}
                        or r.kind = 'case' and r.provider_id is distinct from this.provider_id)
                ) as it offset 0
            ) told
            where sees.anything
        ) before
        where sees.anything and r.id = one.record_id
    ) content on true
order by one.place
"""


_CALLER: Final = f"""
select {AT}, {CALLER_COLUMNS} from (select 1) as one {caller_joins("cases", "$1", "$2")}
"""


_involved: Final = states.decoder(Involved)


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


def _people(states: Sequence[bytes] | None) -> dict[UUID, Involved]:
    people = (_involved(state) for state in states or ())
    return {person.id: person for person in people}


def _organisations(states: Sequence[bytes] | None) -> dict[UUID, Organisation]:
    organisations = (decode_organisation(state) for state in states or ())
    return {organisation.id: organisation for organisation in organisations}


class Loader:
    """Loads from the cases service's own read models.

    What is loaded for an ``asking`` stands where the caller was found, or further: rows that were
    emptied since raise :class:`Unavailable`.
    """

    def __init__(self, pool: asyncpg.Pool, policy: Policy) -> None:
        self._pool = pool
        self._records = Gathering(pool, _record(policy))

    async def asking(self, claims: Claims, now: datetime) -> Asking:
        """Return who is calling; raise :class:`Unauthenticated` when the session is over."""
        row = await _one(self._pool, _CALLER, claims.person_id, claims.session_id)
        return _asking(row, claims, now)

    async def record(
        self, claims: Claims, kind: RecordKind, record_id: UUID, now: datetime
    ) -> Loaded:
        """Return the record of ``kind`` called ``record_id``, if the caller sees any of it."""
        row = await self._records.ask(claims.person_id, claims.session_id, record_id, now)
        asking = _asking(row, claims, now)
        exists = row["record_id"] == record_id and row["kind"] == kind
        student_id = row["student_id"] or record_id
        if row["record"] is None or not exists:
            return Loaded(asking, exists, record_id, student_id)
        return Loaded(
            asking=asking,
            exists=exists,
            record_id=record_id,
            student_id=student_id,
            record=decode_record(row["record"], row["things"]),
            student=decode_student(row["student"]),
            people=_people(row["people"]),
            organisations=_organisations(row["organisations"]),
            earlier=dict(zip(row["earlier_ids"] or (), row["earlier"] or (), strict=True)),
            around=row["around"] or (),
        )

    async def completed(self, loaded: Loaded, record: Record) -> Loaded:
        """Return ``loaded`` with everybody and every organisation that ``record`` names."""
        staff = (*record.staff, *record.team)
        people = {s.person_id for s in staff} - loaded.people.keys()
        named = {record.school_id, record.provider_id, *(s.organisation_id for s in staff)}
        organisations = {o for o in named if o is not None} - loaded.organisations.keys()
        if not people and not organisations:
            return loaded
        row = await self._later(
            loaded.asking,
            f"select {AT},"
            " (select array_agg(state) from cases.person where id = any($1)) as people,"
            " (select array_agg(state) from cases.organisation where id = any($2))"
            " as organisations",
            list(people),
            list(organisations),
        )
        return replace(
            loaded,
            people={**loaded.people, **_people(row["people"])},
            organisations={**loaded.organisations, **_organisations(row["organisations"])},
        )

    async def people_at(
        self, asking: Asking, organisation_id: UUID, person_id: UUID, now: datetime
    ) -> list[tuple[UUID, str]]:
        """Return id and role of the assignments in force of a person at an organisation.

        The longest-standing first; none of somebody who is suspended.
        """
        row = await self._later(
            asking,
            f"select {AT}, (select state from cases.person where id = $1) as state,"
            " array_agg(a.id order by a.starts_at, a.id) as ids,"
            " array_agg(a.role order by a.starts_at, a.id) as roles from cases.assignment a"
            f" where a.person_id = $1 and a.organisation_id = $2 and {_in_force('$3')}",
            person_id,
            organisation_id,
            now,
        )
        if row["ids"] is None or row["state"] is None or decode_person(row["state"]).suspended:
            return []
        return list(zip(row["ids"], row["roles"], strict=True))

    async def organisation(self, asking: Asking, organisation_id: UUID) -> Organisation | None:
        """Return an organisation."""
        row = await self._later(
            asking,
            f"select {AT}, (select state from cases.organisation where id = $1) as state",
            organisation_id,
        )
        return None if row["state"] is None else decode_organisation(row["state"])

    async def begun(self, asking: Asking, student_id: UUID, assignment_id: UUID) -> int:
        """Return how many requests about a learner were made in an assignment and go on."""
        row = await self._later(
            asking,
            f"select {AT}, count(*) as found from cases.record where student_id = $1"
            " and made_by = $2 and kind = 'request' and status = any($3)",
            student_id,
            assignment_id,
            [status.value for status in UNDER_WAY],
        )
        found: int = row["found"]
        return found

    async def serves(
        self, asking: Asking, provider_id: UUID, school_id: UUID, now: datetime
    ) -> bool:
        """Say whether a school lies in a provider's catchment at ``now``."""
        row = await self._later(
            asking,
            f"select {AT}, exists (select from cases.catchment where provider_id = $1"
            " and school_id = $2 and starts_at <= $3 and (ends_at is null or ends_at > $3))"
            " as found",
            provider_id,
            school_id,
            now,
        )
        found: bool = row["found"]
        return found

    async def student(
        self, asking: Asking, student_id: UUID, record_ids: Iterable[UUID]
    ) -> tuple[Student | None, Mapping[UUID, Record]]:
        """Return a learner, and those of ``record_ids`` that are records of theirs, by id."""
        row = await self._later(
            asking,
            f"select {AT}, (select state from cases.student where id = $1) as state,"
            " (select array_agg(state) from cases.record where id = any($2) and student_id = $1)"
            " as records",
            student_id,
            list(record_ids),
        )
        if row["state"] is None:
            return None, {}
        records = (decode_head(state) for state in row["records"] or ())
        return decode_student(row["state"]), {record.id: record for record in records}

    async def _later(self, asking: Asking, statement: str, *arguments: object) -> asyncpg.Record:
        """Return the one row, with ``at``, of a look that is taken after the one at the caller."""
        row = await _one(self._pool, statement, *arguments)
        not_behind(row["at"], asking.at)
        return row
