"""Envelopes: what every event of authz says besides its own data, and the streams of its facts.

Builds events from a call and an actor; appends nothing. The ids of events whose data is sealed
are drawn first, because what is sealed is bound to its event.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from services.kernel.effects import Effects
from services.kernel.events import Actor, Event, Ground, ObjectRef, Outcome
from services.kernel.http import Call
from services.kernel.origins import Origins


def person_stream(person_id: UUID) -> str:
    """Return the stream of a person."""
    return f"person:{person_id}"


def organisation_stream(organisation_id: UUID) -> str:
    """Return the stream of an organisation and of its catchments."""
    return f"organisation:{organisation_id}"


def session_stream(session_id: UUID) -> str:
    """Return the stream of a session."""
    return f"session:{session_id}"


def data_of(payload: msgspec.Struct) -> Mapping[str, Any]:
    """Return a payload as an event's data."""
    return msgspec.structs.asdict(payload)


class Recorder:
    """Builds this service's events with their origin sealed."""

    def __init__(self, effects: Effects, origins: Origins) -> None:
        self._effects = effects
        self._origins = origins

    async def event(
        self,
        type_: str,
        call: Call,
        *,
        action: str,
        actor: Actor = Actor(),  # noqa: B008 - immutable
        session_id: UUID | None = None,
        event_id: UUID | None = None,
        stream: tuple[str, int] | None = None,
        outcome: Outcome = Outcome.ALLOWED,
        effective_at: datetime | None = None,
        grounds: Sequence[Ground] = (),
        policy_version: str | None = None,
        object_: ObjectRef | None = None,
        shown: Mapping[str, Sequence[str]] | None = None,
        touches: Sequence[str] = (),
        data: Mapping[str, Any] | None = None,
    ) -> Event:
        """Return one event of ``type_``; ``stream`` is a fact's stream and version."""
        event_id = event_id or self._effects.new_id()
        return Event(
            id=event_id,
            type=type_,
            stream=stream[0] if stream else None,
            version=stream[1] if stream else None,
            recorded_at=self._effects.now(),
            effective_at=effective_at,
            actor=actor,
            origin=await self._origins.seal(event_id, call, session_id),
            action=action,
            outcome=outcome,
            grounds=tuple(grounds),
            policy_version=policy_version,
            purpose=call.purpose,
            object=object_,
            organisation_id=actor.organisation_id,
            shown=shown or {},
            touches=tuple(touches),
            data=data or {},
        )


def person_object(person_id: UUID) -> ObjectRef:
    """Return the reference to a person."""
    return ObjectRef("person", str(person_id))


def session_object(session_id: UUID) -> ObjectRef:
    """Return the reference to a session."""
    return ObjectRef("session", str(session_id))
