"""The fold of ``authz.login``: what lets people and clients in, and their sessions.

Owns accounts and clients; the sessions of the same projection are folded as
:mod:`services.authz.session_fold` says. Place in the flow: ``log -> fold -> tables``; what is asked
of the rows is in :mod:`services.authz.login_views`. It opens nothing: what is secret stays sealed.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final
from uuid import UUID

import msgspec

from services.authz import events as e
from services.authz.client_events import CLIENT_REGISTERED, CLIENT_REVOKED, ClientRegistered
from services.authz.credential_events import (
    CREDENTIAL_SET,
    CREDENTIALS_RESET,
    INVITATION_ISSUED,
    RECOVERY_CODES_ISSUED,
    TOTP_ENROLLED,
    CredentialSet,
    InvitationIssued,
    RecoveryCodesIssued,
    TotpEnrolled,
)
from services.authz.session_fold import SESSION_FOLDS
from services.kernel.events import Recorded
from services.kernel.projection import Connection
from services.kernel.writes import Write, write

#: how many of a person's last passwords are remembered
REMEMBERED_PASSWORDS: Final = 5


class LoginView:
    """The projection ``authz.login``."""

    name = "authz.login"
    tables: Sequence[str] = (
        "authz.account",
        "authz.login_session",
        "authz.refresh_token",
        "authz.client",
    )

    def wants(self, type_: str, kind: str) -> bool:  # noqa: ARG002 - the same for every kind
        """Say that it wants what lets people and clients in, and their sessions."""
        return type_ in _FOLDS

    async def fold(self, connection: Connection, batch: Sequence[Recorded]) -> None:
        """Apply ``batch``."""
        await write(connection, (w for r in batch for w in _FOLDS[r.event.type](r)))


def _registered(recorded: Recorded) -> Iterator[Write]:
    data = msgspec.convert(recorded.event.data, e.PersonRegistered)
    yield Write(
        "insert into authz.account (person_id, username_digest, username, username_event)"
        " values ($1, $2, $3, $4)",
        (data.person_id, data.username_digest, data.username, recorded.event.id),
        (data.person_id,),
    )


def _corrected(recorded: Recorded) -> Iterator[Write]:
    """Take back what may be at a mistyped address: it would let a stranger in."""
    data = msgspec.convert(recorded.event.data, e.ProfileCorrected)
    if data.address_changed:
        yield Write(
            "update authz.account set invitation_digest = null, invitation_expires_at = null"
            " where person_id = $1 and former = '{}'",
            (data.person_id,),
            (data.person_id,),
        )


def _suspended(recorded: Recorded) -> Iterator[Write]:
    person_id = UUID(recorded.event.data["person_id"])
    yield Write(
        "update authz.account set suspended = $2 where person_id = $1",
        (person_id, recorded.event.type == e.PERSON_SUSPENDED),
        (person_id,),
    )


def _invited(recorded: Recorded) -> Iterator[Write]:
    data = msgspec.convert(recorded.event.data, InvitationIssued)
    yield Write(
        "update authz.account set invitation_digest = $2, invitation_expires_at = $3"
        " where person_id = $1",
        (data.person_id, data.token_digest, data.expires_at),
        (data.person_id,),
    )


def _password(recorded: Recorded) -> Iterator[Write]:
    data = msgspec.convert(recorded.event.data, CredentialSet)
    yield Write(
        "update authz.account set password = $2, password_event = $3,"
        " former = (array_prepend($2, former))[1:$4],"
        " former_events = (array_prepend($3, former_events))[1:$4],"
        " invitation_digest = null, invitation_expires_at = null where person_id = $1",
        (data.person_id, data.password_hash, recorded.event.id, REMEMBERED_PASSWORDS),
        (data.person_id,),
    )


def _totp(recorded: Recorded) -> Iterator[Write]:
    data = msgspec.convert(recorded.event.data, TotpEnrolled)
    yield Write(
        "update authz.account set totp = $2, totp_event = $3, totp_step = $4 where person_id = $1",
        (data.person_id, data.secret, recorded.event.id, data.step),
        (data.person_id,),
    )


def _recovery(recorded: Recorded) -> Iterator[Write]:
    data = msgspec.convert(recorded.event.data, RecoveryCodesIssued)
    yield Write(
        "update authz.account set recovery = $2, recovery_event = $3 where person_id = $1",
        (data.person_id, data.hashes, recorded.event.id),
        (data.person_id,),
    )


def _reset(recorded: Recorded) -> Iterator[Write]:
    person_id = UUID(recorded.event.data["person_id"])
    yield Write(
        "update authz.account set password = null, password_event = null, totp = null,"
        " totp_event = null, recovery = null, recovery_event = null where person_id = $1",
        (person_id,),
        (person_id,),
    )


def _client(recorded: Recorded) -> Iterator[Write]:
    event = recorded.event
    data = msgspec.convert(event.data, ClientRegistered)
    yield Write(
        "insert into authz.client (client_id, event_id, version, scopes, secret, public_key,"
        " organisation_id) values ($1, $2, $3, $4, $5, $6, $7) on conflict (client_id)"
        " do update set event_id = excluded.event_id, version = excluded.version,"
        " scopes = excluded.scopes, secret = excluded.secret, public_key = excluded.public_key,"
        " organisation_id = excluded.organisation_id, revoked_at = null",
        (
            data.client_id,
            event.id,
            event.version,
            list(data.scopes),
            data.secret,
            data.public_key,
            data.organisation_id,
        ),
        (data.client_id,),
    )


def _client_revoked(recorded: Recorded) -> Iterator[Write]:
    event = recorded.event
    client_id = event.data["client_id"]
    yield Write(
        "update authz.client set revoked_at = $2, version = $3 where client_id = $1",
        (client_id, event.recorded_at, event.version),
        (client_id,),
    )


_FOLDS: Final[dict[str, Callable[[Recorded], Iterator[Write]]]] = {
    e.PERSON_REGISTERED: _registered,
    e.PROFILE_CORRECTED: _corrected,
    e.PERSON_SUSPENDED: _suspended,
    e.PERSON_REINSTATED: _suspended,
    INVITATION_ISSUED: _invited,
    CREDENTIAL_SET: _password,
    TOTP_ENROLLED: _totp,
    RECOVERY_CODES_ISSUED: _recovery,
    CREDENTIALS_RESET: _reset,
    **SESSION_FOLDS,
    CLIENT_REGISTERED: _client,
    CLIENT_REVOKED: _client_revoked,
}
