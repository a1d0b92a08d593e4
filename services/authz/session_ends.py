"""How sessions end: their limits, and the one event that ends each (SG-3, SG-19).

Whatever a session comes to is told to an organisation that its person works at just then: where
somebody went on to work is not for the one they left to know.

Place in the flow: whoever ends sessions (a refresh too late, a logout, the sweep; a suspension, a
reset, a revocation) appends the events that are made here. An end touches the session's guard key,
which stops every answer in every process at once. Loads and appends nothing.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from services.authz.directory import Person
from services.authz.login_views import Session
from services.authz.recording import data_of, session_object, session_stream
from services.authz.session_events import SESSION_ENDED, SessionEnded, session_key
from services.kernel.effects import Effects
from services.kernel.events import Actor, Event, Origin
from services.kernel.settings import Settings


class Limits:
    """How long a session may idle, and how long it may last."""

    def __init__(self, settings: Settings) -> None:
        self.idle = timedelta(seconds=settings.session_idle_seconds)
        self.absolute = timedelta(seconds=settings.session_absolute_seconds)

    def ends_at(self, session: Session) -> datetime:
        """Return when a session ends by itself unless it is refreshed."""
        return min(session.refreshed_at + self.idle, session.expires_at)

    def expired(self, session: Session, now: datetime) -> str | None:
        """Return why a session is over at ``now``: ``absolute``, ``idle``, or not at all."""
        if session.expires_at <= now:
            return "absolute"
        return "idle" if session.refreshed_at + self.idle <= now else None


def post_of(session: Session, person: Person, now: datetime) -> UUID | None:
    """Return which organisation is told of ``session`` at ``now``, if its person works anywhere.

    The one the session began for while they work there, else that of their first post in force.
    """
    places = [a.organisation_id for a in person.assignments if a.in_force(now)]
    began_for = session.organisation_id
    return began_for if began_for in places else next(iter(places), None)


def ended_event(
    effects: Effects,
    session: Session,
    person: Person,
    reason: str,
    at: datetime,
    *,
    actor: Actor | None = None,
    origin: Origin | None = None,
    event_id: UUID | None = None,
) -> Event:
    """Return the end of ``session`` at ``at``, which is its true end, not when it was noticed.

    For whoever ends sessions: suspension, a reset, a sweep; ``person`` is whose it is. Appended
    with the stream's next version, so a refresh at the same time makes the log say conflict, not
    both.
    """
    now = effects.now()
    place = post_of(session, person, now)
    seconds = max(0, int((at - session.started_at).total_seconds()))
    payload = SessionEnded(
        session_id=session.id, person_id=session.person_id, reason=reason, duration_s=seconds
    )
    return Event(
        id=event_id or effects.new_id(),
        type=SESSION_ENDED,
        stream=session_stream(session.id),
        version=session.version + 1,
        recorded_at=now,
        effective_at=at,
        actor=actor or Actor(person_id=session.person_id, organisation_id=place),
        origin=origin or Origin(session_id=session.id),
        action="logout",
        object=session_object(session.id),
        organisation_id=place,
        touches=(session_key(session.id),),
        data=data_of(payload),
    )


def endings(
    effects: Effects,
    person: Person,
    sessions: Sequence[Session],
    reason: str,
    limits: Limits,
    actor: Actor,
) -> list[Event]:
    """Return the ends, now, of ``person``'s live sessions, by somebody else's act."""
    now = effects.now()
    return [
        ended_event(
            effects,
            session,
            person,
            limits.expired(session, now) or reason,
            min(now, limits.ends_at(session)),
            actor=actor,
        )
        for session in sessions
    ]
