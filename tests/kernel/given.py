"""Events for the claims about the kernel."""

from datetime import UTC, datetime
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec

from services.authz import events as authz
from services.cases import events as cases
from services.kernel.events import Event, Recorded, Service, decode
from services.kernel.reading import rows_of_all, rows_of_facts

NOON = datetime(2026, 3, 3, 0, 0, tzinfo=UTC)
_streams = count()

Reader = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy
STREAMS = {Service.AUTHZ: "person", Service.CASES: "case"}
FACTS = {Service.AUTHZ: authz.PERSON_REINSTATED, Service.CASES: cases.CASE_CLOSED}


def read(service: Service = Service.AUTHZ, **fields: Any) -> Event:  # noqa: ANN401 - any field
    """Return an observation: it changes nothing."""
    plain = Event(id=uuid4(), type=f"{service}.read", recorded_at=NOON, action="view")
    return msgspec.structs.replace(plain, **fields)


def fact(
    stream: str = "",
    version: int = 1,
    *touches: str,
    service: Service = Service.AUTHZ,
    **fields: Any,  # noqa: ANN401 - any field of an event
) -> Event:
    """Return a fact, of a stream of its own unless said otherwise."""
    plain = Event(
        id=uuid4(),
        type=FACTS[service],
        recorded_at=NOON,
        stream=stream or f"{STREAMS[service]}:{next(_streams)}",
        version=version,
        touches=touches,
        data={"person_id": UUID(int=7)},
    )
    return msgspec.structs.replace(plain, **fields)


async def read_all(connection: Reader, after: int, limit: int) -> list[Recorded]:
    """Return up to ``limit`` events after position ``after``, in order, but none set aside."""
    rows = await rows_of_all(connection, after, limit)
    return [decode(row["position"], row["body"]) for row in rows]


async def read_facts(connection: Reader, after: int, limit: int) -> list[Recorded]:
    """Return up to ``limit`` facts after position ``after``, in order, without scanning reads."""
    rows = await rows_of_facts(connection, after, limit)
    return [decode(row["position"], row["body"]) for row in rows]
