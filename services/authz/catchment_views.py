"""Entries of catchments as asked within one snapshot: row type and queries of one read model.

Place in the flow: a hearing's snapshot asks here; the directory's fold keeps the rows. Says when an
entry holds, and never whether there may be one: that is :mod:`services.authz.catchments`.
"""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import msgspec

from services.authz.events import CatchmentChanged
from services.kernel.events import decode
from services.kernel.projection import Connection


class Key(NamedTuple):
    """What an entry is known by, and the order of a list."""

    school_id: UUID
    provider_id: UUID
    starts_at: datetime


class Catchment(msgspec.Struct, frozen=True):
    """A provider serves a school from a moment until a moment."""

    school_id: UUID
    provider_id: UUID
    starts_at: datetime
    ends_at: datetime | None

    @property
    def key(self) -> Key:
        """What it is known by."""
        return Key(self.school_id, self.provider_id, self.starts_at)

    def begins(self) -> bool:
        """Say whether there is a moment in it; what was taken back before it began has none."""
        return self.ends_at is None or self.starts_at < self.ends_at

    def overlaps(self, other: "Catchment") -> bool:
        """Say whether there is a moment in both."""
        return (self.ends_at is None or other.starts_at < self.ends_at) and (
            other.ends_at is None or self.starts_at < other.ends_at
        )


class CatchmentViews:
    """The entries of catchments, as of one snapshot."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def naming(self, school_id: UUID, provider_id: UUID) -> list[Catchment]:
        """Return every catchment that names the school or the provider."""
        rows = await self._connection.fetch(
            "select * from authz.catchment where school_id = $1 or provider_id = $2",
            school_id,
            provider_id,
        )
        return [Catchment(*(row[f] for f in Catchment.__struct_fields__)) for row in rows]

    async def changed_by(self, change_id: UUID) -> Catchment | None:
        """Return, as it is now, the entry that a change of a catchment was about."""
        row = await self._connection.fetchrow(
            "select l.position, l.body from log.event_id i join log.event l using (position)"
            " where i.id = $1",
            change_id,
        )
        if row is None:
            return None
        event = decode(row["position"], row["body"]).event
        said = msgspec.convert(event.data, CatchmentChanged)
        known = await self.naming(said.school_id, said.provider_id)
        key = Key(said.school_id, said.provider_id, said.starts_at)
        return next((c for c in known if c.key == key), None)
