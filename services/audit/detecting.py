"""The projection ``audit.detection``: signals folded by the rules, and what they found.

The rules' memory (:mod:`services.audit.memory`) is cached between batches; the hours of
organisations are folded here as well, so that findings depend on the order of the log alone and a
rebuild finds the same. A finding is only stored: appending is for whoever reads ``audit.finding``
(:mod:`services.audit.raising`), never for a fold.

Detection has a :class:`Projector` of its own: it may begin anew, and fold the whole log again,
while questions are answered.
"""

from collections.abc import Iterable, Sequence
from typing import Final
from uuid import UUID

import asyncpg
import msgspec

from services.audit.detection import rules
from services.audit.detection.calendar import Hours
from services.audit.detection.signals import Finding
from services.audit.events import WholeLog
from services.audit.memory import TABLE, Memory, is_of_other_rules, recall
from services.audit.signals import Signals, hours_of, organisation_of
from services.authz import events as authz
from services.kernel.event_types import EventType
from services.kernel.events import Recorded
from services.kernel.keystore import KeyStore
from services.kernel.origins import Places
from services.kernel.projection import Connection
from services.kernel.projector import Projector

_WATCHED: Final = rules.TYPES | {authz.ORGANISATION_REGISTERED}
_finding = msgspec.json.Encoder()


class Detection:
    """The projection ``audit.detection``."""

    name = "audit.detection"
    tables: Sequence[str] = (TABLE, "audit.detection_hours", "audit.finding")

    def __init__(self, places: Places, signals: Signals) -> None:
        self._places = places
        self._signals = signals
        self._memory: Memory | None = None

    def wants(self, type_: str, kind: str) -> bool:  # noqa: ARG002 - the same for every kind
        """Say that it wants what the rules watch, and the hours of organisations."""
        return type_ in _WATCHED

    async def fold(self, connection: Connection, batch: Sequence[Recorded]) -> None:
        """Fold the logins and organisations of ``batch``; everything else costs a comparison."""
        watched = [r for r in batch if r.event.type in _WATCHED]
        if not watched:
            return
        memory, found = await self._recall(connection), list[tuple[int, Finding]]()
        hours = await _hours(connection, watched)
        await self._places.load(r.event for r in watched)
        for recorded in watched:
            if recorded.event.type == authz.ORGANISATION_REGISTERED:
                await _learn(connection, recorded, hours)
                continue
            findings = memory.fold(self._signals.of(recorded, hours))
            found += [(recorded.position, finding) for finding in findings]
        await memory.store(connection)
        await _keep(connection, found)
        self._memory = memory

    async def _recall(self, connection: Connection) -> Memory:
        """Take the memory out of the cache: a fold that fails leaves none there."""
        cached, self._memory = self._memory, None
        return await recall(connection, cached)


async def _keep(connection: Connection, found: Iterable[tuple[int, Finding]]) -> None:
    for at, finding in found:
        await connection.execute(
            "insert into audit.finding (key, ordinal, position, finding) select $1,"
            " coalesce(max(ordinal), 0) + 1, $2, $3 from audit.finding where key = $1",
            finding.key,
            at,
            _finding.encode(finding),
        )


async def _hours(connection: Connection, watched: Iterable[Recorded]) -> dict[UUID, Hours | None]:
    """Return the hours of the organisations of these logins, as known before them."""
    wanted = {organisation_of(r) for r in watched if r.event.type in rules.TYPES} - {None}
    rows = await connection.fetch(
        "select * from audit.detection_hours where organisation_id = any($1)", list(wanted)
    )
    return {
        row["organisation_id"]: hours_of(row["kind"], row["time_zone"], row["holiday_subdivision"])
        for row in rows
    }


async def _learn(
    connection: Connection, recorded: Recorded, hours: dict[UUID, Hours | None]
) -> None:
    data = msgspec.convert(recorded.event.data, authz.OrganisationRegistered)
    terms = (data.kind.value, data.time_zone, data.holiday_subdivision)
    await connection.execute(
        "insert into audit.detection_hours (organisation_id, kind, time_zone, holiday_subdivision)"
        " values ($1, $2, $3, $4) on conflict (organisation_id) do update set"
        " kind = excluded.kind, time_zone = excluded.time_zone,"
        " holiday_subdivision = excluded.holiday_subdivision",
        data.organisation_id,
        *terms,
    )
    hours[data.organisation_id] = hours_of(*terms)


def follower(
    pool: asyncpg.Pool, keys: KeyStore, secret: bytes, vocabulary: Sequence[EventType]
) -> Projector:
    """Return the projector that keeps detection up to date; whoever has it starts it."""
    places = Places(keys)
    detection = Detection(places, Signals(places, secret))
    return Projector(pool, "audit", WholeLog(vocabulary), [detection], observations=True)


async def forget_other_rules(pool: asyncpg.Pool) -> None:
    """Begin detection anew from position 0 when its memory is of other rules than these.

    Call before the projector starts. What is found again is not raised again. Copies of the
    service with different rules must not fold side by side: the older one would stop.
    """
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "select from audit.projection where name = $1 for update", Detection.name
        )
        if not await is_of_other_rules(connection):
            return
        for table in Detection.tables:
            await connection.execute(f"delete from {table}")
        await connection.execute(
            "update audit.projection set position = -1 where name = $1", Detection.name
        )
