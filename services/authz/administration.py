"""The read model of administration: decisions, first leaders, who was registered for whom, resets.

The projection ``authz.administration``, beside the directory. It holds references only; it decides
nothing and appends nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from services.authz import events as e
from services.authz.credential_events import CREDENTIALS_RESET, CredentialsReset
from services.authz.roles import LEAD
from services.kernel.events import Event, Recorded
from services.kernel.projection import Connection
from services.kernel.writes import Write, write

GRANT: Final = "grant"
REVOKE: Final = "revoke"


class AccessDecision(msgspec.Struct, frozen=True):
    """A leader's recorded decision (AC-DO-3): who, which role, until when; whether it served."""

    id: UUID
    person_id: UUID
    role: e.Role
    organisation_id: UUID
    change: str
    expires_at: datetime
    decided_by: UUID
    decided_as: UUID
    served: bool


class Administration:
    """Folds what administration needs beside the directory."""

    name = "authz.administration"
    tables: Sequence[str] = (
        "authz.access_decision",
        "authz.person_home",
        "authz.credential_reset",
        "authz.first_lead",
    )

    def wants(self, type_: str, kind: str) -> bool:  # noqa: ARG002 - the same for every kind
        """Say that it wants what administration does."""
        return type_ in _FOLDS

    async def fold(self, connection: Connection, batch: Sequence[Recorded]) -> None:
        """Apply ``batch``."""
        await write(connection, (w for r in batch for w in _FOLDS[r.event.type](r.event)))


def _home(event: Event) -> Iterator[Write]:
    if event.organisation_id is not None:
        person_id = UUID(event.data["person_id"])
        yield Write(
            "insert into authz.person_home (person_id, organisation_id) values ($1, $2)",
            (person_id, event.organisation_id),
            (person_id,),
        )


def _decided(event: Event) -> Iterator[Write]:
    data = msgspec.convert(event.data, e.AccessDecisionRecorded)
    yield Write(
        "insert into authz.access_decision (id, person_id, role, organisation_id, change,"
        " expires_at, decided_by, decided_as) values ($1, $2, $3, $4, $5, $6, $7, $8)",
        (
            data.decision_id,
            data.person_id,
            data.role.value,
            data.organisation_id,
            data.change,
            data.expires_at,
            event.actor.person_id,
            event.grounds[0].assignment_id,
        ),
        (data.decision_id,),
    )


def _served(event: Event) -> Iterator[Write]:
    decision_id = event.data.get("decision_id")
    if decision_id is not None:
        served = UUID(decision_id)
        yield Write(
            "update authz.access_decision set served = true where id = $1", (served,), (served,)
        )


def _granted(event: Event) -> Iterator[Write]:
    """Keep which grant of a lead's post is an administrator's, until somebody else's follows."""
    yield from _served(event)
    data = msgspec.convert(event.data, e.AssignmentGranted)
    if data.role not in LEAD.values():
        return
    key = (data.organisation_id,)
    yield Write("delete from authz.first_lead where organisation_id = $1", key, key)
    if any(ground.role == e.Role.ADMINISTRATOR for ground in event.grounds):
        yield Write(
            "insert into authz.first_lead (organisation_id, assignment_id) values ($1, $2)",
            (*key, data.assignment_id),
            key,
        )


def _reset(event: Event) -> Iterator[Write]:
    data = msgspec.convert(event.data, CredentialsReset)
    if data.act_id is not None:
        yield Write(
            "insert into authz.credential_reset (act_id, person_id) values ($1, $2)",
            (data.act_id, data.person_id),
            (data.act_id,),
        )


_FOLDS: Final[dict[str, Callable[[Event], Iterator[Write]]]] = {
    e.PERSON_REGISTERED: _home,
    e.ACCESS_DECISION_RECORDED: _decided,
    e.ASSIGNMENT_GRANTED: _granted,
    e.ASSIGNMENT_REVOKED: _served,
    CREDENTIALS_RESET: _reset,
}
