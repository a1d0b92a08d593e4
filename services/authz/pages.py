"""Pages of lists that are in the order of their ids: what a route takes, and sealed cursors.

Place in the flow: between a route's parameters and its query, and back.
"""

from typing import Annotated, Final
from uuid import UUID

from fastapi import Query

from services.authz.visits import Visit
from services.kernel.cursors import Cursors

MAX_PAGE: Final = 100
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
Cursor = Annotated[str | None, Query(max_length=1024)]


class Pages:
    """Cursors that hold the id after which the next page begins."""

    def __init__(self, cursors: Cursors) -> None:
        self._cursors = cursors

    def after(self, visit: Visit, text: str, cursor: str | None) -> UUID | None:
        """Return what a cursor holds; raise :class:`Malformed` for anybody else's."""
        if cursor is None:
            return None
        return self._cursors.open(visit.person_id, text, cursor, UUID)

    def next(self, visit: Visit, text: str, after: UUID | None) -> str | None:
        """Return the cursor of the next page, bound to the caller and to what was asked."""
        return None if after is None else self._cursors.seal(visit.person_id, text, after)
