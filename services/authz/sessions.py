"""Sessions: refreshed, ended, and swept up when nobody ends them (SG-19, AC-USE-1).

A session is the stream ``session:<id>``. Every refresh rotates the refresh token and is the next
version of that stream, so that of two uses of one token the second, whenever it comes, meets a
token that is no longer the newest: it ends the session, as a stolen token would. Place in the flow:
the second step of logging in begins a session, and everything after that is here; what an end is
made of is shared with whoever else ends sessions.
"""

from datetime import datetime
from typing import Final

import asyncpg
import msgspec
import structlog

from services.authz import events as e
from services.authz.callers import called
from services.authz.directory import Person, decode_person
from services.authz.login_views import AT, Session, session_columns, session_of
from services.authz.recording import Recorder, data_of, session_object, session_stream
from services.authz.session_ends import Limits, ended_event, post_of
from services.authz.session_events import SESSION_REFRESHED, SessionRefreshed, session_key
from services.authz.tokens import Tokens, digest
from services.authz.visits import Visit
from services.kernel.database import CONNECTION_ERRORS
from services.kernel.errors import Problem, Unauthenticated
from services.kernel.events import Actor, Event
from services.kernel.groups import Group
from services.kernel.handling import Draft
from services.kernel.http import Call
from services.kernel.log import Refused
from services.kernel.runtime import Runtime
from services.kernel.wholeness import NotSignedIn

_SWEEP: Final = 200
_OF_TOKEN: Final = (
    f"select {AT}, {session_columns('s')}, r.version as token_version, p.state"
    " from (values (1)) one left join (authz.refresh_token r"
    " join authz.login_session s on s.id = r.session_id and s.ended_at is null"
    " join authz.person p on p.id = s.person_id) on r.digest = $1"
)
_logger = structlog.get_logger(__name__)


class Sessions:
    """Refresh, logout, and the sweep."""

    def __init__(
        self, runtime: Runtime, recorder: Recorder, tokens: Tokens, limits: Limits
    ) -> None:
        self._runtime = runtime
        self._effects = runtime.effects
        self._recorder = recorder
        self._tokens = tokens
        self._limits = limits

    async def refresh(self, token: str, call: Call) -> tuple[Session, str]:
        """Rotate a refresh token; return its session and the new token.

        Raises :class:`Unauthenticated` when the token is unknown, and, after the session's end is
        durable, when it was used before, came too late, or its person is suspended.
        """
        used = digest(token)

        async def decide() -> Draft[tuple[Session, str]]:
            row = await self._live(used)
            session, now = session_of(row), self._effects.now()
            person, reason = decode_person(row["state"]), self._limits.expired(session, now)
            if row["token_version"] != session.version:
                reason = "reuse"
            elif person.suspended:
                reason = "suspended"
            if reason is not None:
                ended = await self._ended(session, person, reason, now, call)
                guards = (e.person_key(person.id),)
                return Draft(Group([ended], row["at"], guards), Unauthenticated())
            return await self._rotated(session, person, row["at"], call)

        return await self._runtime.handling.run(decide)

    async def _live(self, used: str) -> asyncpg.Record:
        """Return the live session of a token; raise :class:`NotSignedIn` where there is none."""
        row = await self._runtime.pool.fetchrow(_OF_TOKEN, used)
        assert row is not None  # noqa: S101 - everything is joined to one row
        if row["id"] is None:
            raise NotSignedIn(row["at"])
        return row

    async def _rotated(
        self, session: Session, person: Person, at: int, call: Call
    ) -> Draft[tuple[Session, str]]:
        now = self._effects.now()
        fresh = self._tokens.refresh()
        payload = SessionRefreshed(
            session_id=session.id, person_id=session.person_id, refresh_digest=digest(fresh)
        )
        event = await self._recorder.event(
            SESSION_REFRESHED,
            call,
            action="refresh",
            actor=Actor(person_id=person.id, organisation_id=post_of(session, person, now)),
            session_id=session.id,
            stream=(session_stream(session.id), session.version + 1),
            object_=session_object(session.id),
            data=data_of(payload),
        )
        guards = (e.person_key(session.person_id), session_key(session.id))
        group = Group([event], at, guards, valid_until=self._limits.ends_at(session))
        rotated = msgspec.structs.replace(session, version=session.version + 1, refreshed_at=now)
        return Draft(group, (rotated, fresh))

    async def _ended(
        self, session: Session, person: Person, reason: str, now: datetime, call: Call
    ) -> Event:
        at = min(now, self._limits.ends_at(session))
        event_id = self._effects.new_id()
        origin = await self._runtime.origins.seal(event_id, call, session.id)
        return ended_event(
            self._effects, session, person, reason, at, origin=origin, event_id=event_id
        )

    def ends_at(self, session: Session) -> datetime:
        """Return when a session ends by itself unless it is refreshed (SG-19)."""
        return self._limits.ends_at(session)

    async def logout(self, visit: Visit) -> None:
        """End the session of ``visit``; raise :class:`Unauthenticated` when it has ended."""

        async def decide() -> Draft[None]:
            caller = await called(self._runtime, visit)
            session, person, now = caller.session, caller.caller.person, self._effects.now()
            event = await self._ended(session, person, "logout", now, visit.call)
            return Draft(Group([event], caller.at, caller.caller.guards), None)

        await self._runtime.handling.run(decide)

    async def sweep(self) -> int:
        """End up to two hundred sessions that are over; return how many this process ended.

        Several processes may sweep: of two ends of one session the log takes one.
        """
        now = self._effects.now()
        rows = await self._runtime.pool.fetch(
            f"select {AT}, {session_columns('s')}, p.state from authz.login_session s"
            " join authz.account a using (person_id) join authz.person p on p.id = s.person_id"
            " where s.ended_at is null"
            " and (s.refreshed_at <= $1 or s.expires_at <= $2 or a.suspended) limit $3",
            now - self._limits.idle,
            now,
            _SWEEP,
        )
        ended = 0
        for row in rows:
            session, person = session_of(row), decode_person(row["state"])
            reason = self._limits.expired(session, now) or "suspended"
            at = min(now, self._limits.ends_at(session))
            event = ended_event(self._effects, session, person, reason, at)
            ended += await self._end(Group([event], row["at"], (e.person_key(person.id),)))
        if ended:
            self._runtime.projector.nudge()
        return ended

    async def _end(self, end: Group) -> bool:
        try:
            await self._runtime.log.append(end)
        except Refused:
            return False
        except (Problem, *CONNECTION_ERRORS) as error:
            _logger.warning("session_not_ended", error=type(error).__name__)
            return False
        return True
