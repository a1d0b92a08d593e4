"""Posts: who holds which role at an organisation, as asked within one snapshot.

Place in the flow: a hearing's snapshot asks here for staff lists, for whom a caller knows of, for
whether a role is somebody's, and for who works somewhere now. Queries only; opens no profile and
decides nothing.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from services.authz.directory import Assignment, Person, decode_person
from services.authz.events import Role
from services.authz.relations import Reach
from services.authz.roles import LEAD
from services.kernel.projection import Connection

#: an assignment that is not over at ``$1``, on any clock
_CURRENT: Final = "not a.revoked and (a.ends_at is null or a.ends_at > $1)"
_EVERYBODY: Final = (
    "select id from authz.person where $1::uuid is null or id > $1 order by id limit $2"
)
#: as :meth:`services.authz.hearing.Hearing.places` has it: where they work, else their home
_OF: Final = (
    "select id from (select $5::uuid as id"
    " union select a.person_id from authz.assignment a where a.organisation_id = any($2)"
    f" and {_CURRENT} union select h.person_id from authz.person_home h"
    " where h.organisation_id = any($2) and not exists"
    f" (select from authz.assignment a where a.person_id = h.person_id and {_CURRENT})) known"
    " where id is not null and ($3::uuid is null or id > $3) order by id limit $4"
)


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

    async def known(
        self, reach: Reach, oneself: UUID | None, after: UUID | None, limit: int
    ) -> list[UUID]:
        """Return whom ``reach`` makes known, and ``oneself``, in the order of their ids."""
        if reach.everywhere:
            rows = await self._connection.fetch(_EVERYBODY, after, limit)
        else:
            near = reach.organisations
            rows = await self._connection.fetch(_OF, self._now, near, after, limit, oneself)
        return [row["id"] for row in rows]

    async def led(self, organisation_ids: Collection[UUID]) -> frozenset[UUID]:
        """Return which organisations somebody leads, now or from a later day."""
        rows = await self._connection.fetch(
            "select distinct a.organisation_id from authz.assignment a"
            f" where a.organisation_id = any($2) and a.role = any($3) and {_CURRENT}",
            self._now,
            organisation_ids,
            [role.value for role in LEAD.values()],
        )
        return frozenset(row["organisation_id"] for row in rows)

    async def first_leads(self, organisation_ids: Collection[UUID]) -> frozenset[UUID]:
        """Return the grants of leads at organisations that are an administrator's to take back."""
        rows = await self._connection.fetch(
            "select assignment_id from authz.first_lead where organisation_id = any($1)",
            organisation_ids,
        )
        return frozenset(row["assignment_id"] for row in rows)

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
