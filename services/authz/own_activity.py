"""One's own activity, as authz knows it (AC-SEE-22).

That is: one's own logins, their ends, and the facts of one's own account. What somebody did with
records, and logins that failed, are observations, which authz does not fold: audit answers those.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from services.authz import events as e
from services.authz.self_desk import SelfDesk
from services.authz.visits import Visit
from services.kernel.cursors import Cursors
from services.kernel.events import Event, Recorded, decode
from services.kernel.handling import Draft
from services.kernel.sealing import Compartment, KeyRef, SealBroken, period_subject

_ROUTE: Final = "me/activity"
_OWN_FACTS: Final = """
    with own as (
        select position from log.fact where stream = 'person:' || $1::uuid
        union all select started_position from authz.login_session where person_id = $1
        union all select ended_position from authz.login_session
        where person_id = $1 and ended_position is not null
    )
    select (select min(position) from authz.projection) as at, e.position, e.body
    from own join log.event e using (position)
    where $2::bigint is null or position < $2 order by position desc limit $3
"""
#: what of an event's data its person is told; none of it is sealed
_TOLD: Final[Mapping[str, tuple[str, ...]]] = {
    e.SESSION_STARTED: ("session_id", "methods", "expires_at", "other_sessions"),
    e.SESSION_ENDED: ("session_id", "reason", "duration_s"),
    e.ASSIGNMENT_GRANTED: (
        "assignment_id",
        "role",
        "organisation_id",
        "starts_at",
        "ends_at",
    ),
    e.ASSIGNMENT_REVOKED: ("assignment_id",),
}


class Did(msgspec.Struct, frozen=True):
    """One thing of one's own account, as one sees it oneself."""

    type: str
    occurred_at: datetime
    action: str
    outcome: str
    session_id: UUID | None = None
    #: only of what one did oneself: somebody else's address is not one's own
    ip: str | None = None
    device: str | None = None
    detail: Mapping[str, Any] = {}


class Page(NamedTuple):
    """Activity, newest first, and the cursor of what follows."""

    items: Sequence[Did]
    next_cursor: str | None


class OwnActivity:
    """Lists one's own activity."""

    def __init__(self, desk: SelfDesk) -> None:
        self._desk = desk
        self._runtime = desk.runtime
        self._cursors = Cursors(desk.runtime.installation.secret("cursor"))

    async def page(self, visit: Visit, limit: int, cursor: str | None) -> Page:
        """Return one's own activity as authz knows it, newest first."""
        before = (
            self._cursors.open(visit.person_id, _ROUTE, cursor, int) if cursor is not None else None
        )

        async def decide() -> Draft[Page]:
            caller = await self._desk.called(visit)
            rows = await self._runtime.pool.fetch(_OWN_FACTS, visit.person_id, before, limit + 1)
            recorded = [decode(row["position"], row["body"]) for row in rows]
            page = await self._page(visit, recorded, limit)
            ids = [str(r.event.id) for r in recorded[:limit]]
            return await self._desk.answer(visit, caller, "list", "activity", reply=page, ids=ids)

        return await self._runtime.handling.run(decide)

    async def _page(self, visit: Visit, recorded: Sequence[Recorded], limit: int) -> Page:
        shown = recorded[:limit]
        months = {period_subject("origin", r.event.recorded_at) for r in shown}
        await self._runtime.keys.load(KeyRef(month, Compartment.ORIGIN) for month in months)
        more = len(recorded) > limit
        following = (
            self._cursors.seal(visit.person_id, _ROUTE, shown[-1].position) if more else None
        )
        return Page([self._did(visit.person_id, r.event) for r in shown], following)

    def _did(self, person_id: UUID, event: Event) -> Did:
        own = event.actor.person_id == person_id
        origin = self._origin(event) if own else {}
        detail = {k: event.data[k] for k in _TOLD.get(event.type, ()) if k in event.data}
        return Did(
            type=event.type,
            occurred_at=event.effective_at or event.recorded_at,
            action=event.action,
            outcome=str(event.outcome),
            session_id=event.origin.session_id if own else None,
            ip=origin.get("ip"),
            device=origin.get("device"),
            detail=detail,
        )

    def _origin(self, event: Event) -> Mapping[str, str]:
        ref = KeyRef(period_subject("origin", event.recorded_at), Compartment.ORIGIN)
        try:
            text = self._runtime.keys.open(ref, event.id, "origin", event.origin.sealed or "..")
            return msgspec.json.decode(text, type=dict[str, str])
        except SealBroken:
            return {}
