"""Events and services for the claims about the kernel."""

from datetime import UTC, datetime
from itertools import count
from typing import Any
from uuid import UUID, uuid4

from services.authz import events as authz
from services.cases import events as cases
from services.kernel.events import Actor, Event, Service

NOON = datetime(2026, 3, 3, 0, 0, tzinfo=UTC)
_streams = count()

#: an observation and a fact that each role may append
READ = {Service.AUTHZ: authz.READ, Service.CASES: cases.READ}
FACT = {Service.AUTHZ: authz.PERSON_REINSTATED, Service.CASES: "cases.record_closed"}


def read(service: Service = Service.AUTHZ, **fields: Any) -> Event:
    """An observation: it changes nothing."""
    return Event(
        **{"id": uuid4(), "type": f"{service}.read", "recorded_at": NOON, "action": "view"} | fields
    )


def fact(
    stream: str = "", version: int = 1, touches: tuple[str, ...] = (), **fields: Any
) -> Event:
    """A fact of authz, of a stream of its own unless said otherwise."""
    return Event(
        **{
            "id": uuid4(),
            "type": authz.PERSON_REINSTATED,
            "recorded_at": NOON,
            "stream": stream or f"test:{next(_streams)}",
            "version": version,
            "touches": touches,
            "data": {"person_id": UUID(int=7)},
        }
        | fields
    )


def somebody() -> Actor:
    """Somebody who acts."""
    return Actor(person_id=uuid4(), organisation_id=uuid4())
