"""What is appended together, and how it is laid out for ``log.append``.

Place in the flow: a decision makes a :class:`Group`; :mod:`services.kernel.log` waits with it in an
:class:`Entry` and lays many of them out as the arguments of one call. Talks to no database.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from services.kernel.errors import TooLarge
from services.kernel.events import Event, OversizedBody, encode, guard_key

APPEND: Final = (
    "select status, at from log.append($1, $2::text::int[], $3::text::bigint[], $4,"
    " $5::text::int[], $6::text::bigint[], $7::text::int[], $8::text::bigint[],"
    " $9::text::int[], $10)"
)


@dataclass(frozen=True, slots=True)
class Group:
    """What one request appends, together or not at all.

    ``at`` is the position its facts were read at; ``guards`` the keys of every fact the decision
    used; ``valid_until`` when the decision ends by itself; ``once`` keys that may exist only once.
    """

    events: Sequence[Event]
    at: int = -1
    guards: Sequence[str] = ()
    valid_until: datetime | None = None
    once: Sequence[bytes] = ()


@dataclass(slots=True)
class Entry:
    """A group that somebody waits for until ``deadline``, with the bodies of its events."""

    group: Group
    bodies: list[bytes]
    answer: asyncio.Future[int]
    deadline: float
    #: offered on a connection that was lost before it answered: it may have landed
    unsure: bool = field(default=False)


def bodies_of(group: Group) -> list[bytes]:
    """Return the canonical bytes of a group that makes sense; raise ``ValueError`` otherwise.

    What a caller sent may be too large for an event: that is theirs to know (:class:`TooLarge`).

    Only facts touch: whoever waits until a touched key is folded waits for a fact.
    """
    if not group.events:
        msg = "a group has at least one event"
        raise ValueError(msg)
    if any(event.touches and event.stream is None for event in group.events):
        msg = "only a fact touches keys"
        raise ValueError(msg)
    try:
        return [encode(event) for event in group.events]
    except OversizedBody:
        raise TooLarge from None


def arguments(batch: Sequence[Entry]) -> tuple[object, ...]:
    """Lay ``batch`` out as ``log.append`` takes it; numbers travel as text, for they are many."""
    bodies = [body for entry in batch for body in entry.bodies]
    single = len(bodies) == len(batch)
    until = [entry.group.valid_until for entry in batch]
    guards = [(n, key) for n, e in enumerate(batch, 1) for key in e.group.guards]
    touches = [
        (n, key)
        for n, e in enumerate(batch, 1)
        for event in e.group.events
        for key in event.touches
    ]
    once = [(n, key) for n, e in enumerate(batch, 1) for key in e.group.once]
    return (
        bodies,
        None if single else _array(n for n, e in enumerate(batch, 1) for _ in e.bodies),
        _array(entry.group.at for entry in batch),
        until if any(until) else None,
        _array(n for n, _ in guards),
        _array(guard_key(key) for _, key in guards),
        _array(n for n, _ in touches),
        _array(guard_key(key) for _, key in touches),
        _array(n for n, _ in once),
        [key for _, key in once] or None,
    )


def _array(numbers: Iterable[int]) -> str | None:
    """Return the array of ``numbers`` as PostgreSQL reads it, none as null."""
    text = ",".join(map(str, numbers))
    return f"{{{text}}}" if text else None
