"""What a projector takes in of the log: decoded once, and only what one of its folds wants.

The header line of a body says type and stream. By it everything is passed over that no projection
of the projector folds; of a thousand events most are such. What is passed over is not decoded, so
bytes that nobody could read stop the folds that want them, and no others. A type that is not known
stops the fold all the same, whoever wants it, and so does a newer schema of a known one.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Final

import msgspec

from services.kernel.event_types import Registry, UnknownEvent
from services.kernel.events import Actor, Event, Recorded, decode, decode_by, header_of

#: the bytes of an event name its schema only when it is not the first
_SCHEMA: Final = b'"schema":'
_NOBODY: Final = Actor()

Wants = Callable[[str, str], bool]
Decode = Callable[[int, bytes], Recorded]


class _Envelope(msgspec.Struct, frozen=True):
    recorded_at: datetime
    actor: Actor = _NOBODY


_envelope = msgspec.json.Decoder(_Envelope)


def decode_envelope(position: int, body: bytes) -> Recorded:
    """Return the header, time and actor of the event in ``body`` and nothing else of it.

    What else there is may be of any shape. Raises what :func:`services.kernel.events.decode_by`
    does, when these are not there.
    """
    return decode_by(_read_envelope, position, body)


def _read_envelope(text: bytes) -> Event:
    envelope = _envelope.decode(text)
    return Event(recorded_at=envelope.recorded_at, actor=envelope.actor)


class Intake:
    """Takes in the events that some projections want, in today's schema."""

    def __init__(
        self, registry: Registry, wants: Sequence[Wants], decode_: Decode = decode
    ) -> None:
        self._registry = registry
        self._wants = wants
        self._decode = decode_
        #: who wants a type of event in a kind of stream, ``None`` for what concerns nobody
        self._takers: dict[tuple[str, str], Sequence[int] | None] = {}

    def take(self, rows: Iterable[tuple[int, bytes]]) -> list[list[Recorded]]:
        """Return what each wants of ``rows`` of positions and bodies, in order.

        Raises :class:`UnknownEvent` at a type or schema that this build does not know, unless it is
        of a service whose types are not registered; :class:`CorruptEvent` where bytes cannot be
        decoded. Either names the position.
        """
        taken: list[list[Recorded]] = [[] for _ in self._wants]
        for position, body in rows:
            _, type_, stream, _ = header_of(position, body)
            try:
                takers = self._takers_of(type_, stream)
                if takers is None or not (takers or _SCHEMA in body):
                    continue
                recorded = self._decode(position, body)
                event = self._registry.upcast(recorded.event)
            except UnknownEvent as unknown:
                raise UnknownEvent(f"position {position}: {unknown}") from None
            if event is not recorded.event:
                recorded = Recorded(position, event, body)
            for taker in takers:
                taken[taker].append(recorded)
        return taken

    def _takers_of(self, type_: str, stream: str) -> Sequence[int] | None:
        kind = stream.partition(":")[0]
        try:
            return self._takers[type_, kind]
        except KeyError:
            takers = self._find_takers(type_, kind)
            self._takers[type_, kind] = takers
            return takers

    def _find_takers(self, type_: str, kind: str) -> Sequence[int] | None:
        if not self._registry.concerns(type_):
            return None
        takers = [n for n, wants in enumerate(self._wants) if wants(type_, kind)]
        if not takers:
            self._registry.get(type_)
        return takers
