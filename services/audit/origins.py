"""Opens where events came from: IP address, device and user agent, under the month's key.

Staff origin data is sealed under period keys that expire. Once a key is destroyed the answer is
"not known any more", never an error: queries and folds over old events stay total.
"""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Final

import msgspec

from services.kernel.events import Event
from services.kernel.sealing import Compartment, KeyRef, KeyStore, SealBroken, period_subject

# An event may have been sealed a moment before or after the time it carries: at a month's turn
# its key is the neighbour's.
_TURN: Final = timedelta(minutes=1)


class Place(msgspec.Struct, frozen=True):
    """Where an event came from, as far as it is still known."""

    ip: str | None = None
    device: str | None = None
    user_agent: str | None = None


UNKNOWN: Final = Place()
_place = msgspec.json.Decoder(Place)


class Places:
    """Opens origins with the keys audit may read."""

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys

    async def load(self, events: Iterable[Event]) -> None:
        """Bring the keys of the origins of ``events`` into the cache."""
        await self._keys.load({ref for e in events if e.origin.sealed for ref in _refs(e)})

    def of(self, event: Event) -> Place:
        """Return where ``event`` came from; its keys must have been loaded."""
        sealed = event.origin.sealed
        if sealed is None:
            return UNKNOWN
        for ref in _refs(event):
            try:
                return _place.decode(self._keys.open(ref, event.id, "origin", sealed))
            except (SealBroken, ValueError):
                continue
        return UNKNOWN


def _refs(event: Event) -> Iterator[KeyRef]:
    at = event.recorded_at
    months = {(m.year, m.month): m for m in (at, at - _TURN, at + _TURN)}
    for moment in months.values():
        yield KeyRef(period_subject("origin", moment), Compartment.ORIGIN)
