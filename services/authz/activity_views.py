"""What somebody is shown of what they did: the contract's event, less its position and some ids.

Ids of records and learners are only for those who may still see them (AC-SEE-22), and whether
somebody may is the cases service's to decide, not authz's. So of everything that is not about
accounts and staff the kind of thing and the names of its parts are left, never an id; and of what
was done for an organisation one has left, all but oneself. What is kept is listed here; what nobody
thought of is left out.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final
from uuid import UUID

from pydantic import AwareDatetime, BaseModel

from services.kernel.events import Event, ObjectRef, Outcome, Service
from services.kernel.origins import Place

_OWN: Final = f"{Service.AUTHZ}."
#: what authz's events act upon: accounts, staff and the places they work at
_KEPT: Final = frozenset(
    {"person", "session", "staff", "organisation", "catchment", "access_decision"}
)


class OwnActor(BaseModel):
    """Oneself, for the organisation one acted for."""

    person_id: UUID
    client_id: None = None
    organisation_id: UUID | None


class OwnOrigin(BaseModel):
    """Where from (AC-USE-1). The first three are null once the period's key is destroyed."""

    ip: str | None
    device: str | None
    user_agent: str | None
    request_id: str | None
    session_id: UUID | None


class OwnGround(BaseModel):
    """Which of one's assignments, by which clause, let which parts be shown or done."""

    assignment_id: UUID
    role: str
    clause: str
    parts: Sequence[str]


class OwnObject(BaseModel):
    """What was acted upon; ``id`` is null when it is, or may be, a record or a learner."""

    type: str
    id: str | None


class OwnEvent(BaseModel):
    """One thing one did. ``student_id`` is always null; ``shown`` may name parts without ids."""

    id: UUID
    type: str
    occurred_at: AwareDatetime
    effective_at: AwareDatetime | None
    actor: OwnActor
    origin: OwnOrigin
    action: str
    outcome: Outcome
    grounds: Sequence[OwnGround]
    policy_version: str | None
    purpose: str | None
    student_id: None = None
    object: OwnObject | None
    shown: Mapping[str, Sequence[str]]


class ActivityPage(BaseModel):
    """One's activity, newest first."""

    items: Sequence[OwnEvent]
    next_cursor: str | None


def own_event(person_id: UUID, event: Event, place: Place, own: Collection[UUID]) -> OwnEvent:
    """Return ``event`` as ``person_id``, who is its actor, sees it; never its data.

    ``own`` are the organisations they work at.
    """
    about, origin = event.object, event.origin
    kept = event.type.startswith(_OWN) and (
        event.actor.organisation_id in own or _oneself(person_id, event)
    )
    kept = kept and (about is None or about.type in _KEPT)
    return OwnEvent(
        id=event.id,
        type=event.type,
        occurred_at=event.recorded_at,
        effective_at=event.effective_at,
        actor=OwnActor(person_id=person_id, organisation_id=event.actor.organisation_id),
        origin=OwnOrigin(
            ip=place.ip,
            device=place.device,
            user_agent=place.user_agent,
            request_id=origin.request_id,
            session_id=origin.session_id if kept or not _of_a_session(event) else None,
        ),
        action=event.action,
        outcome=event.outcome,
        grounds=[
            OwnGround(assignment_id=g.assignment_id, role=g.role, clause=g.clause, parts=g.parts)
            for g in event.grounds
        ],
        policy_version=event.policy_version,
        purpose=event.purpose,
        object=OwnObject(type=about.type, id=about.id if kept else None) if about else None,
        shown={part: ids if kept else [] for part, ids in event.shown.items()},
    )


def _oneself(person_id: UUID, event: Event) -> bool:
    """Say whether an event is about its actor alone: their profile, activity or session."""
    if _of_a_session(event):
        return bool(event.data.get("person_id") == str(person_id))
    return event.object == ObjectRef("person", str(person_id))


def _of_a_session(event: Event) -> bool:
    """Say whether a session is what was acted upon; it may be somebody else's."""
    return event.object is not None and event.object.type == "session"
