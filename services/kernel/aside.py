"""Setting a position aside: the one way past an event that no fold can understand.

The owner of the log appends a fact that names the position and its leaf hash. From then on no fold
sees the event, now or when rebuilt; its bytes stay in the log and in the tree. The version of its
stream that it took is free again. Decided in docs/decisions/0013.
"""

import re
from dataclasses import dataclass
from typing import Final

import asyncpg
import msgspec

from services.kernel.effects import Effects
from services.kernel.event_types import SET_ASIDE, aside_stream
from services.kernel.events import (
    NO_STREAM,
    Event,
    ObjectRef,
    Recorded,
    Service,
    encode,
    header_of,
    leaf_hash,
)
from services.kernel.groups import APPEND

_REASON: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,63}")


class PositionSetAside(msgspec.Struct, frozen=True, kw_only=True):
    """No fold sees the event at ``position``; ``reason`` is a reference, no free text (SG-18)."""

    position: int
    leaf_hash: str
    reason: str


@dataclass(frozen=True, slots=True)
class Aside:
    """What was set aside: what folds see of it from its header alone, and who is past it."""

    recorded: Recorded
    #: names of projections that were past its position when it was set aside
    past: frozenset[str]


class NotSetAside(Exception):  # noqa: N818 - an answer, not a fault
    """The position cannot be set aside; the message says why."""


async def set_aside(
    owner: asyncpg.Connection, effects: Effects, position: int, reason: str
) -> Aside:
    """Set ``position`` aside. Raises :class:`NotSetAside`.

    A read model that has folded the event already still shows it: the caller has those rebuilt.
    Which they are is certain, since no fold moves between looking and the fact being there.
    """
    if not _REASON.fullmatch(reason):
        raise NotSetAside("the reason is a reference of at most 64 letters, digits and . _ / -")
    row = await owner.fetchrow("select id, type, body from log.event where position = $1", position)
    if row is None:
        raise NotSetAside(f"there is no position {position}")
    if row["type"] == SET_ASIDE.name:
        raise NotSetAside(f"position {position} itself sets another aside")
    now = effects.now()
    event = Event(
        id=effects.new_id(),
        type=SET_ASIDE.name,
        stream=aside_stream(position),
        version=1,
        recorded_at=now,
        action="set_aside",
        object=ObjectRef("event", str(row["id"])),
        data=msgspec.to_builtins(
            PositionSetAside(
                position=position, leaf_hash=leaf_hash(row["body"]).hex(), reason=reason
            )
        ),
    )
    async with owner.transaction():
        past = await _past(owner, position)
        answer = await owner.fetchrow(APPEND, [encode(event)], None, "{-1}", *(None,) * 7)
        if answer is None or answer["status"] != [0]:
            raise NotSetAside(f"position {position} is set aside already")
        await owner.execute("delete from log.fact where position = $1", position)
    _, type_, stream, _ = header_of(position, row["body"])
    header = Event(
        id=row["id"],
        type=type_,
        stream=None if stream == NO_STREAM else stream,
        recorded_at=now,
    )
    return Aside(Recorded(position, header, row["body"]), past)


async def _past(owner: asyncpg.Connection, position: int) -> frozenset[str]:
    """Return which projections are past ``position``; until this transaction ends none folds.

    Locked in the order that folds lock in, and before the append lock: nobody waits in a circle.
    """
    past: list[str] = []
    for service in Service:
        rows = await owner.fetch(
            f"select name, position from {service}.projection order by name for update"
        )
        past.extend(row["name"] for row in rows if row["position"] >= position)
    return frozenset(past)
