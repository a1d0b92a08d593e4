"""One's own activity: every event of the log that one is the actor of (AC-SEE-22, AC-USE-1).

Place in the flow: catch up with the log, load the caller, read, record the asking, answer. What was
done before the question is in the answer; the question itself is in the next one. What of an event
is shown is said in :mod:`services.authz.activity_views`.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final
from uuid import UUID

from services.authz.activity import newest
from services.authz.activity_views import ActivityPage, own_event
from services.authz.callers import Called
from services.authz.self_desk import SelfDesk
from services.authz.visits import Visit
from services.kernel.cursors import Cursors
from services.kernel.events import Recorded
from services.kernel.handling import Draft
from services.kernel.origins import Places
from services.kernel.projector import Projector

_ROUTE: Final = "me/activity"


class OwnActivity:
    """Lists one's own activity. ``follower`` keeps ``authz.activity`` up to date."""

    def __init__(self, desk: SelfDesk, follower: Projector) -> None:
        self._desk = desk
        self._follower = follower
        self._runtime = desk.runtime
        self._places = Places(desk.runtime.keys)
        self._cursors = Cursors(desk.runtime.installation.secret("cursor"))

    async def page(self, visit: Visit, limit: int, cursor: str | None) -> ActivityPage:
        """Return what one did, newest first.

        Raises :class:`Malformed` for a cursor of somebody else or of another list, and
        :class:`Unavailable` when the log cannot be followed to its head, or is folded anew.
        """
        before = None
        if cursor is not None:
            before = self._cursors.open(visit.person_id, _ROUTE, cursor, int)
        head = await self._follower.caught_up()

        async def decide() -> Draft[ActivityPage]:
            caller = await self._desk.called(visit)
            found = await newest(self._runtime.pool, visit.person_id, before, limit + 1, head)
            page = await self._page(visit, found, limit, _own(caller))
            ids = _by_place(caller, found[:limit])
            return await self._desk.answer(visit, caller, "list", "activity", reply=page, ids=ids)

        return await self._runtime.handling.run(decide)

    async def _page(
        self, visit: Visit, found: Sequence[Recorded], limit: int, own: Collection[UUID]
    ) -> ActivityPage:
        shown = found[:limit]
        await self._places.load(r.event for r in shown)
        following = None
        if len(found) > limit:
            following = self._cursors.seal(visit.person_id, _ROUTE, shown[-1].position)
        items = [own_event(visit.person_id, r.event, self._places.of(r.event), own) for r in shown]
        return ActivityPage(items=items, next_cursor=following)


def _by_place(caller: Called, recorded: Sequence[Recorded]) -> Mapping[UUID | None, list[str]]:
    """Return the ids of what one did, by whom one did it for; by nobody where one has left.

    What was done for one organisation is not for another to count.
    """
    own = _own(caller)
    ids: dict[UUID | None, list[str]] = {}
    for event in (r.event for r in recorded):
        place = event.actor.organisation_id
        ids.setdefault(place if place in own else None, []).append(str(event.id))
    return ids


def _own(caller: Called) -> frozenset[UUID]:
    return frozenset(a.organisation_id for a in caller.caller.assignments)
