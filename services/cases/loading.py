"""Loads, in one statement and so in one snapshot, everything a decision about a record needs.

Place in the flow: what :mod:`services.cases.statements` says in SQL becomes what
:mod:`services.cases.loaded` holds. What a change needs besides is looked up later, and never in
rows that were emptied in between.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from services.authz.access import Claims
from services.authz.directory import (
    Organisation,
    caller_of,
    decode_organisation,
    decode_person,
)
from services.authz.engine import Policy
from services.cases.gathering import Gathering
from services.cases.loaded import Asking, Involved, Loaded
from services.cases.record import UNDER_WAY, Record, Student
from services.cases.statements import AT, CALLER, in_force, of_record
from services.cases.terms import RecordKind
from services.cases.views import decode_head, decode_record, decode_student
from services.kernel import states
from services.kernel.errors import Unauthenticated, Unavailable
from services.kernel.wholeness import NotSignedIn, not_behind

_involved: Final = states.decoder(Involved)


def _asking(row: asyncpg.Record, claims: Claims, now: datetime) -> Asking:
    if claims.session_id is None:
        raise Unauthenticated
    caller = caller_of(row, claims.session_id, claims.expires_at, now)
    if caller is None:
        raise NotSignedIn(row["at"])
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
        self._records = Gathering(pool, of_record(policy))

    async def asking(self, claims: Claims, now: datetime) -> Asking:
        """Return who is calling; raise :class:`Unauthenticated` when the session is over."""
        row = await _one(self._pool, CALLER, claims.person_id, claims.session_id)
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
            f" where a.person_id = $1 and a.organisation_id = $2 and {in_force('$3')}",
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
        """Return the one row, with ``at``, of a read that comes after that of the caller."""
        row = await _one(self._pool, statement, *arguments)
        not_behind(row["at"], asking.at)
        return row
