"""Posts: who holds which role at an organisation, as asked within one snapshot.

Place in the flow: a hearing's snapshot asks here for staff lists, for whether a role is somebody's,
and for who works somewhere now. Queries only; opens no profile and decides nothing.
"""

from datetime import datetime
from uuid import UUID

import msgspec

from services.authz.directory import Assignment, Person, decode_person
from services.authz.events import Role
from services.kernel.projection import Connection


class Staffed(msgspec.Struct, frozen=True):
    """Somebody in one of their assignments."""

    person: Person
    assignment: Assignment


class Posts:
    """The posts at organisations, as of one snapshot."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now

    async def staff(
        self, organisation_id: UUID, after: UUID | None, limit: int
    ) -> tuple[list[Staffed], UUID | None]:
        """Return the assignments at an organisation that are not over, in the order of their ids.

        Of two processes' clocks one may be behind: what is revoked is over on any clock.
        With them, the id after which there are more.
        """
        rows = await self._connection.fetch(
            "select a.id, p.state from authz.assignment a join authz.person p on p.id = a.person_id"
            " where a.organisation_id = $1 and (a.ends_at is null or a.ends_at > $2)"
            " and not a.revoked"
            " and ($3::uuid is null or a.id > $3) order by a.id limit $4",
            organisation_id,
            self._now,
            after,
            limit + 1,
        )
        page = [(row["id"], decode_person(row["state"])) for row in rows[:limit]]
        found = [Staffed(p, a) for id_, p in page for a in p.assignments if a.id == id_]
        return found, page[-1][0] if len(rows) > limit else None

    async def filled(self, organisation_id: UUID, role: Role) -> bool:
        """Say whether a role at an organisation is somebody's, now or from a later day.

        Nobody has a post that was revoked, on any clock.
        """
        found: bool = await self._connection.fetchval(
            "select exists (select from authz.assignment where organisation_id = $1 and role = $2"
            " and (ends_at is null or ends_at > $3) and not revoked)",
            organisation_id,
            role.value,
            self._now,
        )
        return found

    async def first_lead(self, organisation_id: UUID) -> UUID | None:
        """Return the grant of an organisation's lead that is an administrator's to take back."""
        found: UUID | None = await self._connection.fetchval(
            "select assignment_id from authz.first_lead where organisation_id = $1", organisation_id
        )
        return found

    async def working_at(
        self, organisation_id: UUID, since: datetime | None = None
    ) -> frozenset[UUID]:
        """Return who has an assignment in force at an organisation, and had it at ``since``."""
        rows = await self._connection.fetch(
            "select distinct person_id from authz.assignment where organisation_id = $1"
            " and starts_at <= least($2::timestamptz, $3::timestamptz)"
            " and (ends_at is null or ends_at > $2) and not revoked",
            organisation_id,
            self._now,
            since,
        )
        return frozenset(row["person_id"] for row in rows)
