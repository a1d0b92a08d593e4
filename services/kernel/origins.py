"""Where calls come from: address, device and user agent, sealed under the month's key, and opened.

Staff origin data expires with its period key (AC-USE-1). Once that is destroyed the answer is "not
known any more", never an error: questions and folds over old events stay total. Which service may
open what is sealed here is row security in the key store.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Final
from uuid import UUID

import msgspec

from services.kernel.effects import Effects
from services.kernel.events import Event, Origin
from services.kernel.http import Call
from services.kernel.keystore import KeyStore
from services.kernel.sealing import Compartment, KeyRef, SealBroken, period_subject

_FIELD: Final = "origin"
# An event may have been sealed a moment before or after the time it carries: at a month's turn
# its key is the neighbour's.
_TURN: Final = timedelta(minutes=1)


class Place(msgspec.Struct, frozen=True):
    """Where an event came from, as far as it is still known."""

    ip: str | None = None
    device: str | None = None
    user_agent: str | None = None


UNKNOWN: Final = Place()
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Place).decode


class Origins:
    """Seals where calls come from under the period key of the month."""

    def __init__(self, keys: KeyStore, effects: Effects) -> None:
        self._keys = keys
        self._effects = effects

    async def seal(self, event_id: UUID, call: Call, session_id: UUID | None) -> Origin:
        """Return the origin of an event: IP, device and user agent sealed, references plain."""
        now = self._effects.now()
        ref = _key(now.year, now.month)
        await self._keys.load([ref], create=True)
        place = Place(call.ip, device_of(call.user_agent), call.user_agent)
        return Origin(
            sealed=self._keys.seal(ref, event_id, _FIELD, _encode(place).decode()),
            request_id=call.request_id,
            session_id=session_id,
        )


class Places:
    """Opens origins with the keys that its service may read."""

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys

    async def load(self, events: Iterable[Event]) -> None:
        """Bring the keys of the origins of ``events`` into the cache."""
        await self._keys.load({ref for e in events if e.origin.sealed for ref in _keys_of(e)})

    def of(self, event: Event) -> Place:
        """Return where ``event`` came from; its keys must have been loaded."""
        sealed = event.origin.sealed
        if sealed is None:
            return UNKNOWN
        for ref in _keys_of(event):
            try:
                return _decode(self._keys.open(ref, event.id, _FIELD, sealed))
            except (SealBroken, ValueError):
                continue
        return UNKNOWN


@lru_cache(maxsize=4096)
def network_of(ip: str) -> str:
    """Return what counts as one address, of one subscriber: an IPv4 one, or an IPv6 /64 network.

    What is no address is none: the empty string.
    """
    try:
        address = ip_address(ip)
    except ValueError:
        return ""
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Address(int(address) >> 64 << 64))


@lru_cache(maxsize=1024)
def device_of(user_agent: str) -> str:
    """Return the kind of device a user agent names, such as ``Firefox on Windows`` (AC-USE-1)."""
    from ua_parser import parse

    result = parse(user_agent)
    browser = result.user_agent.family if result.user_agent else "Other"
    system = result.os.family if result.os else "Other"
    return f"{browser} on {system}"


@lru_cache(maxsize=256)
def _key(year: int, month: int) -> KeyRef:
    moment = datetime(year, month, 1, tzinfo=UTC)
    return KeyRef(period_subject(_FIELD, moment), Compartment.ORIGIN)


def _keys_of(event: Event) -> Iterator[KeyRef]:
    """Return the keys an origin may be sealed under, the likeliest first."""
    at = event.recorded_at
    months = dict.fromkeys((m.year, m.month) for m in (at, at - _TURN, at + _TURN))
    return (_key(*month) for month in months)
