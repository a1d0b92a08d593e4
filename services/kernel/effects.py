"""Clock, identifiers and randomness: the only door through which chance and time enter.

Every other module takes an :class:`Effects` as an argument, so that a test (or a replay) can
decide what time it is and which ids are drawn. Nothing here knows the domain.
"""

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import time_ns
from uuid import UUID

_MILLISECOND = 1_000_000
_SEQUENCE_BITS = 12


class MonotonicUuid7:
    """Draws UUIDv7 ids (RFC 9562) that never go backwards within one process.

    Guarantees: unique, time-ordered to the millisecond, and ordered within a millisecond by a
    12-bit counter (method 1 of RFC 9562, section 6.2). Does not guarantee order across processes.
    """

    def __init__(self, now_ns: Callable[[], int], token: Callable[[int], bytes]) -> None:
        self._now_ns = now_ns
        self._token = token
        self._last = 0
        self._lock = threading.Lock()

    def __call__(self) -> UUID:
        """Return the next id."""
        with self._lock:
            stamp = (self._now_ns() // _MILLISECOND) << _SEQUENCE_BITS
            self._last = stamp if stamp > self._last else self._last + 1
            stamp = self._last
        milliseconds, sequence = stamp >> _SEQUENCE_BITS, stamp & 0xFFF
        tail = int.from_bytes(self._token(8), "big") & 0x3FFF_FFFF_FFFF_FFFF
        value = (milliseconds << 80) | (0x7 << 76) | (sequence << 64) | (0b10 << 62) | tail
        return UUID(int=value)


def drawn_at(id_: UUID) -> datetime:
    """Return when a UUIDv7 was drawn, in whole milliseconds."""
    return datetime.fromtimestamp((id_.int >> 80) / 1_000, UTC)


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Effects:
    """The outside world as three functions.

    ``now`` gives aware UTC time; ``new_id`` a fresh UUIDv7; ``token`` that many bytes from the
    operating system's cryptographic generator.
    """

    now: Callable[[], datetime] = _utc_now
    token: Callable[[int], bytes] = secrets.token_bytes
    new_id: Callable[[], UUID] = field(
        default_factory=lambda: MonotonicUuid7(time_ns, secrets.token_bytes)
    )
