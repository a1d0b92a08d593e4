"""Walking a list, newest first: which page is asked for, and where the next one begins.

Every list of the audit service is ordered by position, which never changes and never comes twice:
a walk meets everything that was there at its beginning exactly once, whatever is appended
meanwhile.
"""

from dataclasses import dataclass
from typing import Final

import asyncpg
import msgspec

from services.audit.askers import Asker
from services.audit.grounds import Scope
from services.audit.models import Paging
from services.audit.read_models import newest_first
from services.audit.selection import Selection
from services.kernel.cursors import Cursors

_canonical: Final = msgspec.json.Encoder(order="sorted")


@dataclass(frozen=True, slots=True)
class Walk:
    """One page of a list, for one asker and one question."""

    cursors: Cursors
    asker: Asker
    question: str
    limit: int
    #: only what lies before this position
    before: int | None

    async def page(
        self,
        pool: asyncpg.Pool,
        scope: Scope,
        projections: tuple[str, ...],
        rows_of: str,
        position: str,
        selection: Selection,
    ) -> tuple[list[asyncpg.Record], str | None]:
        """Return the page's rows and, where there are more, the cursor of the next page.

        ``rows_of`` and ``position`` are as :meth:`Selection.newest` takes them, ``scope`` and
        ``projections`` as :func:`services.audit.read_models.newest_first` does.
        """
        selection.given(f"{position} < {{0}}", self.before)
        statement = selection.newest(rows_of, position, self.limit + 1)
        rows = await newest_first(pool, scope, projections, statement, *selection.parameters)
        if len(rows) <= self.limit:
            return rows, None
        page = rows[: self.limit]
        last = page[-1]["position"]
        return page, self.cursors.seal(self.asker.who, self.question, last)


def walk(cursors: Cursors, asker: Asker, route: str, query: Paging) -> Walk:
    """Begin or go on with a walk; raise :class:`Malformed` for a cursor of another question."""
    asked = {"route": f"audit/{route}", **query.question()}
    question = _canonical.encode(asked).decode()
    before = None
    if query.cursor is not None:
        before = cursors.open(asker.who, question, query.cursor, int)
    return Walk(cursors, asker, question, query.limit, before)
