"""The read model of administration: leaders' decisions, who was registered for whom, mass resets.

The projection ``authz.administration``, beside the directory. It holds references only; it decides
nothing and appends nothing.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from services.authz import events as e
from services.kernel.events import Event, Recorded
from services.kernel.projection import Connection

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
    )

    async def fold(self, connection: Connection, batch: Sequence[Recorded]) -> None:
        """Apply ``batch``."""
        for recorded in batch:
            event = recorded.event
            match event.type:
                case e.PERSON_REGISTERED:
                    await _home(connection, event)
                case e.ACCESS_DECISION_RECORDED:
                    await _decided(connection, event)
                case e.ASSIGNMENT_GRANTED | e.ASSIGNMENT_REVOKED:
                    await _served(connection, event)
                case e.CREDENTIALS_RESET:
                    await _reset(connection, event)
                case _:
                    pass


async def _home(connection: Connection, event: Event) -> None:
    if event.organisation_id is not None:
        await connection.execute(
            "insert into authz.person_home values ($1, $2)",
            UUID(event.data["person_id"]),
            event.organisation_id,
        )


async def _decided(connection: Connection, event: Event) -> None:
    data = msgspec.convert(event.data, e.AccessDecisionRecorded)
    await connection.execute(
        "insert into authz.access_decision values ($1, $2, $3, $4, $5, $6, $7, $8)",
        data.decision_id,
        data.person_id,
        data.role.value,
        data.organisation_id,
        data.change,
        data.expires_at,
        event.actor.person_id,
        event.grounds[0].assignment_id,
    )


async def _served(connection: Connection, event: Event) -> None:
    decision_id = event.data.get("decision_id")
    if decision_id is not None:
        await connection.execute(
            "update authz.access_decision set served = true where id = $1", UUID(decision_id)
        )


async def _reset(connection: Connection, event: Event) -> None:
    data = msgspec.convert(event.data, e.CredentialsReset)
    if data.act_id is not None:
        await connection.execute(
            "insert into authz.credential_reset values ($1, $2)", data.act_id, data.person_id
        )
