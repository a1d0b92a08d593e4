"""The event types of an installation: who appends each, and how its old schemas are read.

Each service declares its own in its ``events`` module; wiring puts them together in a
:class:`Registry`. What an event looks like is :mod:`services.kernel.events`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from services.kernel.codes import Code
from services.kernel.events import Event, Service


class Kind(Code):
    """Whether an event changes what is true."""

    FACT = "fact"
    OBSERVATION = "observation"


class UnknownEvent(Exception):  # noqa: N818 - a state of the world, not of the code
    """A fold met an event type or schema this build does not know; it stops, it never skips."""


#: returns the data of an event in the next schema
Upcaster = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class EventType:
    """A registered type: who may append it, its kind, and how old schemas are read.

    ``upcasters`` holds, by schema, what leads from it to the next: one for each older schema.
    ``streams`` is what the names of the streams of a fact begin with, up to the first colon. An
    event ``by_owner`` is appended by the owner of the database, and by no service.
    """

    name: str
    service: Service
    kind: Kind
    title: str
    schema: int = 1
    upcasters: Mapping[int, Upcaster] = field(default_factory=dict)
    streams: tuple[str, ...] = ()
    by_owner: bool = False

    def __post_init__(self) -> None:
        if not self.name.startswith(f"{self.service}."):
            raise ValueError(f"{self.name} is not of service {self.service}")


#: no fold sees the event at a position that one of these names (docs/decisions/0013)
SET_ASIDE: Final = EventType(
    "audit.position_set_aside",
    Service.AUDIT,
    Kind.FACT,
    "a position set aside",
    streams=("position",),
    by_owner=True,
)


def aside_stream(position: int) -> str:
    """Return the stream that exists once ``position`` is set aside."""
    return f"position:{position}"


class Registry:
    """The event types that a process knows, registered explicitly at wiring."""

    def __init__(self, types: Sequence[EventType]) -> None:
        self._types = {t.name: t for t in types}
        if len(self._types) != len(types):
            raise ValueError("an event type is registered twice")
        self._services = {str(t.service) for t in types}

    def get(self, name: str) -> EventType:
        """Return the type called ``name`` or raise :class:`UnknownEvent`."""
        try:
            return self._types[name]
        except KeyError:
            raise UnknownEvent(name) from None

    def concerns(self, name: str) -> bool:
        """Say whether ``name`` is of a service whose types are registered here, known or not."""
        return name.partition(".")[0] in self._services

    def upcast(self, event: Event) -> Event:
        """Return ``event`` in its type's current schema; raise :class:`UnknownEvent` if newer."""
        known = self.get(event.type)
        if event.schema == known.schema:
            return event
        if event.schema > known.schema:
            raise UnknownEvent(f"{event.type} schema {event.schema}")
        data = dict(event.data)
        for schema in range(event.schema, known.schema):
            data = known.upcasters[schema](data)
        return msgspec.structs.replace(event, schema=known.schema, data=data)
