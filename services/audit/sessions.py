"""Questions about sessions: who was logged in, from when until when, from where (AC-USE-1).

A session that was never ended in the log may have lapsed all the same, at its absolute limit or
by idleness (SG-19); it is shown as over from that moment. Activity is any event of the session; to
an organisation's own auditors, any that was for the organisation the session began for, and its end
is one of those: whether somebody is at work for another one, or is still once they have left, is
not theirs to know.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import asyncpg

from services.audit import answers, models
from services.audit.askers import Asker
from services.audit.asking import Asking, Found, Subject, found
from services.audit.grounds import Scope
from services.audit.pages import walk
from services.audit.read_models import EVENTS, SESSIONS
from services.audit.selection import of_sessions
from services.authz.session_events import SESSION_ENDED
from services.kernel.cursors import Cursors
from services.kernel.effects import Effects
from services.kernel.events import ObjectRef, decode
from services.kernel.origins import Place, Places

_OF: Final = (
    "select s.*, (select l.body from log.event l where l.position = s.position) as body,"
    " (select e.recorded_at from {activity} and e.session_id = s.id"
    " order by e.position desc limit 1) as seen_at, {told} as told from audit.login_session s"
)
_EVERYWHERE: Final = _OF.format(activity="audit.event e where true", told="true")
_OWN_EVENT: Final = "audit.organisation_event e where e.organisation_id = s.organisation_id"
_OWN: Final = _OF.format(
    activity=_OWN_EVENT,
    told=f"exists (select from {_OWN_EVENT} and e.object_type = 'session'"
    f" and e.object_id = s.id::text and e.type = '{SESSION_ENDED}')",
)


class SessionQueries:
    """Answers about sessions. ``idle`` is how long a session lives without activity."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        asking: Asking,
        places: Places,
        cursors: Cursors,
        effects: Effects,
        *,
        idle: timedelta,
    ) -> None:
        self._pool = pool
        self._asking = asking
        self._places = places
        self._cursors = cursors
        self._effects = effects
        self._idle = idle

    async def sessions(self, asker: Asker, query: models.SessionQuery) -> answers.SessionPage:
        """Return sessions, the latest begun first."""
        steps = walk(self._cursors, asker, "sessions", query)

        async def find(scope: Scope) -> Found[answers.SessionPage]:
            selection = of_sessions(query, scope)
            rows_of = _EVERYWHERE if scope.everywhere else _OWN
            rows, cursor = await steps.page(
                self._pool, scope, (SESSIONS, EVENTS), rows_of, "s.position", selection
            )
            reply = answers.SessionPage(items=await self._render(rows), next_cursor=cursor)
            of = [(row["organisation_id"], str(row["id"])) for row in rows]
            return found(
                reply, scope, lambda own: {"sessions": [id_ for o, id_ in of if own.holds(o)]}
            )

        person = query.person
        subject = Subject(
            "session",
            "search" if person else "list",
            filters=sorted(query.question()),
            about=ObjectRef("person", str(person)) if person else None,
        )
        return await self._asking.ask(asker, subject, find)

    async def _render(self, rows: Sequence[asyncpg.Record]) -> list[answers.Session]:
        events = [decode(row["position"], row["body"]).event for row in rows]
        await self._places.load(events)
        now = self._effects.now()
        return [
            self._session(row, self._places.of(event), now)
            for row, event in zip(rows, events, strict=True)
        ]

    def _session(self, row: asyncpg.Record, place: Place, now: datetime) -> answers.Session:
        seen_at = max(row["seen_at"] or row["started_at"], row["started_at"])
        ended_at, reason = self._end(row, seen_at, now)
        until = ended_at or seen_at
        return answers.Session(
            id=row["id"],
            person_id=row["person_id"],
            organisation_id=row["organisation_id"],
            started_at=row["started_at"],
            last_seen_at=seen_at,
            ended_at=ended_at,
            duration_s=max(0, int((until - row["started_at"]).total_seconds())),
            end_reason=reason,
            live=ended_at is None,
            ip=place.ip,
            device=place.device,
        )

    def _end(
        self, row: asyncpg.Record, seen_at: datetime, now: datetime
    ) -> tuple[datetime | None, str | None]:
        if row["ended_at"] is not None and row["told"]:
            return row["ended_at"], row["end_reason"]
        lapses = [(row["expires_at"], "absolute"), (seen_at + self._idle, "idle")]
        at, reason = min(lapses)
        return (at, reason) if at <= now else (None, None)
