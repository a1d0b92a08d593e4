"""The service's read models: what each is called, and its rows with the position they stand at.

A rebuild may empty rows after the log was followed: what is found then is not all there is, and an
answer would be recorded as if it were. So rows and position are read in one statement. Place in the
flow: after the asker's scope is known, which says how far rows stand at least. The log itself is
never emptied: what is read from it alone is believed as it is. Folds nothing.
"""

from typing import Final

import asyncpg

from services.audit.grounds import Scope
from services.kernel.wholeness import not_behind

DIRECTORY: Final = "audit.directory"
EVENTS: Final = "audit.events"
SESSIONS: Final = "audit.sessions"
ALERTS: Final = "audit.alerts"


def at(*projections: str) -> str:
    """Return, for a select list, the position that the rows of these projections stand at."""
    names = ", ".join(f"'{name}'" for name in projections)
    return f"(select min(position) from audit.projection where name in ({names})) as at"


def with_at(rows: str, *projections: str) -> str:
    """Return the statement for what ``rows`` finds, newest first, each row with ``at``.

    Where that is nothing, it is one row with ``at`` alone.
    """
    return (
        f"select stood.at, found.* from (select {at(*projections)}) stood"
        f" left join ({rows}) found on true order by found.position desc"
    )


async def newest_first(
    pool: asyncpg.Pool, scope: Scope, projections: tuple[str, ...], rows: str, *parameters: object
) -> list[asyncpg.Record]:
    """Return what the statement ``rows``, which reads these projections, finds.

    Each row of it has a ``position``, and none a column ``at``. Raises :class:`Unavailable` where
    they were emptied since what ``scope`` rests on was read.
    """
    found = await pool.fetch(with_at(rows, *projections), *parameters)
    not_behind(found[0]["at"], scope.as_of)
    return [row for row in found if row["position"] is not None]
