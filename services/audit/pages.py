"""Walking a list, newest first: which page is asked for, and where the next one begins.

Every list of the audit service is ordered by position, which never changes and never comes twice:
a walk meets everything that was there at its beginning exactly once, whatever is appended
meanwhile.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import asyncpg
import msgspec

from services.audit.grounds import Asker
from services.audit.models import Paging
from services.kernel.cursors import Cursors

T = TypeVar("T")
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

    def page(self, rows: Sequence[asyncpg.Record]) -> tuple[Sequence[asyncpg.Record], str | None]:
        """Cut ``limit + 1`` rows with a ``position`` to the page, and seal where it ends."""
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
