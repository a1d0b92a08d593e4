"""From the steps of the history to events of the cases service: sealed, versioned, in order.

Every text is sealed under the key of its learner and compartment and bound to the event it is in.
``recorded_at`` is now, the truth of recording; ``effective_at`` is when it happened in the region.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from services.cases.events import TYPE_OF
from services.cases.terms import Box
from services.kernel.events import Actor, Event, ObjectRef
from services.kernel.sealing import KeyRef

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from services.demo.steps import Step
    from services.kernel.effects import Effects
    from services.kernel.keystore import KeyStore

_KEYS_AT_ONCE = 4_000


class Sealer:
    """Makes events of steps; one for a whole loading, since it counts each stream's versions."""

    def __init__(self, keys: KeyStore, effects: Effects) -> None:
        self._keys = keys
        self._effects = effects
        self._versions: dict[str, int] = {}

    async def prepare(self, steps: Iterable[Step]) -> None:
        """Make every key the steps need."""
        refs = list(
            dict.fromkeys(
                KeyRef(step.student_id, text.compartment)
                for step in steps
                for text in step.texts.values()
            )
        )
        for first in range(0, len(refs), _KEYS_AT_ONCE):
            await self._keys.load(refs[first : first + _KEYS_AT_ONCE], create=True)

    def events(self, steps: Sequence[Step]) -> list[Event]:
        """Return the events of ``steps``, which must come in the order of each stream."""
        return [self._event(step) for step in steps]

    def _event(self, step: Step) -> Event:
        event_id = self._effects.new_id()
        stream = f"{step.kind}:{step.id}"
        version = self._versions[stream] = self._versions.get(stream, 0) + 1
        fields: dict[str, Any] = dict(step.fields)
        for name, text in step.texts.items():
            ref = KeyRef(step.student_id, text.compartment)
            sealed = self._keys.seal(ref, event_id, name, text.text)
            fields[name] = Box(event_id, name, sealed, text.compartment)
        payload = step.payload(**fields)
        return Event(
            id=event_id,
            type=TYPE_OF[step.payload],
            stream=stream,
            version=version,
            recorded_at=self._effects.now(),
            effective_at=step.at,
            actor=_actor(step),
            action=step.action,
            student_id=step.student_id,
            object=step.about or ObjectRef(step.kind, str(step.id)),
            organisation_id=step.organisation_id,
            touches=step.touches,
            data=msgspec.structs.asdict(payload),
        )


def _actor(step: Step) -> Actor:
    if step.actor is None:
        return Actor()
    return Actor(person_id=step.actor.person_id, organisation_id=step.actor.organisation_id)
