"""Questions about events: which, of whom, about which learner; each answered from the index.

Each ``find`` is what :class:`services.audit.asking.Asking` runs once it knows the asker's scope:
it reads the index, then the events themselves by position. Newest first, by position, so that a
walk with cursors meets every event once however many are appended meanwhile.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final
from uuid import UUID

import asyncpg

from services.audit import answers, models
from services.audit.askers import Asker
from services.audit.asking import Asking, Found, Subject, found
from services.audit.grounds import Scope
from services.audit.pages import walk
from services.audit.read_models import DIRECTORY, EVENTS, at, newest_first
from services.audit.rendering import Renderer
from services.audit.selection import events_of, of_events, shows
from services.kernel.cursors import Cursors
from services.kernel.errors import Malformed
from services.kernel.event_types import EventType
from services.kernel.events import ObjectRef, Recorded, decode
from services.kernel.wholeness import not_behind

_ROWS: Final = (
    "select e.position, (select l.body from log.event l where l.position = e.position) as body"
)
_KIND: Final = re.compile(r"[a-z]+(_[a-z]+)?")
_KNOWN: Final = f"select {at(DIRECTORY)}, exists (select from audit.person where id = $1) as known"
_KNOWN_OWN: Final = (
    f"select {at(DIRECTORY)}, array("
    "select own.id from unnest($2::uuid[]) own(id) join audit.assignment a"
    " on a.organisation_id::text || a.person_id::text = own.id::text || $1::uuid::text) as known"
)
_ONE: Final = (
    "select l.position, l.body from log.event_id i join log.event l using (position)"
    " where i.id = $1"
)
_MANY: Final = (
    "select l.position, l.body from log.event_id i join log.event l using (position)"
    " where i.id = any($1) order by l.position"
)
_MANY_OWN: Final = (
    f"{_ROWS} from (select distinct o.position from audit.organisation_event o"
    " where o.organisation_id = any($2) and o.position"
    " = any(array(select i.position from log.event_id i where i.id = any($1)))) e"
)
#: what is not there is looked for among the own as well, and no body but an own one is read
_ONE_OWN: Final = (
    f"{_ROWS} from audit.organisation_event e where e.organisation_id = any($2) and e.position"
    " = coalesce((select i.position from log.event_id i where i.id = $1), -1) limit 1"
)


class EventQueries:
    """Answers about events."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        asking: Asking,
        renderer: Renderer,
        cursors: Cursors,
        vocabulary: Sequence[EventType],
    ) -> None:
        self._pool = pool
        self._asking = asking
        self._renderer = renderer
        self._cursors = cursors
        self._types = frozenset(known.name for known in vocabulary)

    async def events(self, asker: Asker, query: models.EventQuery) -> answers.EventPage:
        """Return the events that pass every filter; raise :class:`Malformed` for no type of event.

        Nothing found for a name that is mistyped would look like peace.
        """
        if query.type is not None and query.type not in self._types:
            await self._asking.signed_in(asker.claims)
            raise Malformed("type: no such type of event")
        subject = Subject(
            "audit_event",
            "search" if query.question() else "list",
            filters=sorted(query.question()),
            about=_about(query),
            student_id=query.student,
        )
        return await self._asking.ask(asker, subject, self._page(asker, query, "events"))

    async def accesses(
        self, asker: Asker, student: UUID, window: models.Window
    ) -> answers.EventPage:
        """Return what touched or showed a learner's records, refusals included (BR-3)."""
        query = models.EventQuery(student=student, **_fields(window))
        subject = Subject(
            "audit_event",
            "list",
            filters=sorted(window.question()),
            about=ObjectRef("student", str(student)),
            student_id=student,
        )
        return await self._asking.ask(asker, subject, self._page(asker, query, "accesses"))

    async def activity(
        self, asker: Asker, person: UUID, window: models.Window
    ) -> answers.EventPage:
        """Return what a person did; who is unknown, or of another organisation, is not found."""
        query = models.EventQuery(actor=str(person), **_fields(window))
        page = self._page(asker, query, "activity")

        async def find(scope: Scope) -> Found[answers.EventPage] | None:
            known = await self._known(person, scope)
            return await page(known) if known else None

        subject = Subject(
            "audit_event",
            "list",
            filters=sorted(window.question()),
            about=ObjectRef("person", str(person)),
        )
        return await self._asking.ask(asker, subject, find)

    async def event(self, asker: Asker, event_id: UUID) -> answers.Event:
        """Return one event."""

        async def find(scope: Scope) -> Found[answers.Event] | None:
            recorded = await self._one(event_id, scope)
            if recorded is None:
                return None
            (shown,) = await self._renderer.render([recorded], scope)
            ids = {"events": [str(event_id)]}
            return found(shown, scope, lambda own: ids if own.covers(recorded.event) else {})

        subject = Subject("audit_event", "read", about=ObjectRef("audit_event", str(event_id)))
        return await self._asking.ask(asker, subject, find)

    async def _known(self, person: UUID, scope: Scope) -> Scope | None:
        """Return the scope at those organisations alone that know a person."""
        anywhere = scope.everywhere and await self._directory(scope, _KNOWN, person)
        own = [place for post in scope.apart() for place in post.own or ()]
        known = frozenset(await self._directory(scope, _KNOWN_OWN, person, own)) if own else ()
        return scope.only(lambda p: anywhere if p.everywhere else any(map(p.holds, known)))

    async def _directory(self, scope: Scope, statement: str, *parameters: object) -> Any:  # noqa: ANN401 - as asked
        row = await self._pool.fetchrow(statement, *parameters)
        assert row is not None  # noqa: S101 - it selects from nothing
        not_behind(row["at"], scope.as_of)
        return row["known"]

    async def _one(self, event_id: UUID, scope: Scope) -> Recorded | None:
        if scope.everywhere:
            rows = await self._pool.fetch(_ONE, event_id)
        else:
            rows = await newest_first(self._pool, scope, (EVENTS,), _ONE_OWN, event_id, scope.own)
        return next((decode(row["position"], row["body"]) for row in rows), None)

    def _page(
        self, asker: Asker, query: models.EventQuery, route: str
    ) -> Callable[[Scope], Awaitable[Found[answers.EventPage]]]:
        steps = walk(self._cursors, asker, route, query)

        async def find(scope: Scope) -> Found[answers.EventPage]:
            selection = of_events(query, scope)
            rows_of = f"{_ROWS} from {events_of(selection)} e"
            rows, cursor = await steps.page(
                self._pool, scope, (EVENTS,), rows_of, "e.position", selection
            )
            recorded = [decode(row["position"], row["body"]) for row in rows]
            reply = answers.EventPage(
                items=await self._renderer.render(recorded, scope), next_cursor=cursor
            )
            events = [r.event for r in recorded]
            return found(
                reply,
                scope,
                lambda own: {"events": [str(one.id) for one in events if shows(query, own, one)]},
            )

        return find

    async def by_ids(self, ids: Sequence[UUID], scope: Scope) -> list[Recorded]:
        """Return the events with these ids that the scope covers, in the order of the log."""
        if scope.everywhere:
            rows = await self._pool.fetch(_MANY, list(ids))
        else:
            rows = await newest_first(self._pool, scope, (EVENTS,), _MANY_OWN, list(ids), scope.own)
            rows.reverse()
        return [decode(row["position"], row["body"]) for row in rows]


def _about(query: models.EventQuery) -> ObjectRef | None:
    """Return what a search asks about, when that is one thing.

    What is no id of ours is not recorded: whatever was typed instead, perhaps a name, would stand
    in the log unsealed (SG-18).
    """
    if query.object is not None:
        kind, _, id_ = query.object.rpartition(":")
        return _reference(kind or "object", id_)
    if query.actor is not None:
        return _reference("person", query.actor)
    return ObjectRef("student", str(query.student)) if query.student else None


def _reference(kind: str, id_: str) -> ObjectRef | None:
    try:
        return ObjectRef(kind, str(UUID(id_))) if _KIND.fullmatch(kind) else None
    except ValueError:
        return None


def _fields(window: models.Window) -> dict[str, object]:
    given = window.model_dump(by_alias=True, exclude_none=True)
    return dict(given)
