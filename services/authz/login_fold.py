"""The fold of ``authz.login``: what lets people and clients in, and their sessions.

It opens nothing: what is secret stays sealed. What is asked of its rows is in
:mod:`services.authz.login_views`.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final
from uuid import UUID

import msgspec

from services.authz import events as e
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
    data = msgspec.convert(recorded.event.data, e.InvitationIssued)
    yield Write(
        "update authz.account set invitation_digest = $2, invitation_expires_at = $3"
        " where person_id = $1",
        (data.person_id, data.token_digest, data.expires_at),
        (data.person_id,),
    )


def _password(recorded: Recorded) -> Iterator[Write]:
    data = msgspec.convert(recorded.event.data, e.CredentialSet)
    yield Write(
        "update authz.account set password = $2, password_event = $3,"
        " former = (array_prepend($2, former))[1:$4],"
        " former_events = (array_prepend($3, former_events))[1:$4],"
        " invitation_digest = null, invitation_expires_at = null where person_id = $1",
        (data.person_id, data.password_hash, recorded.event.id, REMEMBERED_PASSWORDS),
        (data.person_id,),
    )


def _totp(recorded: Recorded) -> Iterator[Write]:
    data = msgspec.convert(recorded.event.data, e.TotpEnrolled)
    yield Write(
        "update authz.account set totp = $2, totp_event = $3, totp_step = $4 where person_id = $1",
        (data.person_id, data.secret, recorded.event.id, data.step),
        (data.person_id,),
    )


def _recovery(recorded: Recorded) -> Iterator[Write]:
    data = msgspec.convert(recorded.event.data, e.RecoveryCodesIssued)
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


def _started(recorded: Recorded) -> Iterator[Write]:
    event = recorded.event
    data = msgspec.convert(event.data, e.SessionStarted)
    yield Write(
        "insert into authz.login_session (id, person_id, organisation_id, version, started_at,"
        " refreshed_at, expires_at, started_position) values ($1, $2, $3, $4, $5, $5, $6, $7)",
        (
            data.session_id,
            data.person_id,
            data.organisation_id,
            event.version,
            event.recorded_at,
            data.expires_at,
            recorded.position,
        ),
        (data.session_id,),
    )
    yield _remember(data.refresh_digest, data.session_id, event.version or 0)
    if data.totp_step is not None:
        yield Write(
            "update authz.account set totp_step = greatest(totp_step, $2) where person_id = $1",
            (data.person_id, data.totp_step),
            (data.person_id,),
        )


def _refreshed(recorded: Recorded) -> Iterator[Write]:
    data = msgspec.convert(recorded.event.data, e.SessionRefreshed)
    version = recorded.event.version or 0
    yield Write(
        "update authz.login_session set refreshed_at = $2, version = $3 where id = $1",
        (data.session_id, recorded.event.recorded_at, version),
        (data.session_id,),
    )
    yield _remember(data.refresh_digest, data.session_id, version)


def _remember(digest: str, session_id: UUID, version: int) -> Write:
    return Write(
        "insert into authz.refresh_token values ($1, $2, $3)",
        (digest, session_id, version),
        (session_id,),
    )


def _ended(recorded: Recorded) -> Iterator[Write]:
    event = recorded.event
    data = msgspec.convert(event.data, e.SessionEnded)
    yield Write(
        "update authz.login_session set ended_at = $2, version = $3, ended_position = $4"
        " where id = $1",
        (
            data.session_id,
            event.effective_at or event.recorded_at,
            event.version,
            recorded.position,
        ),
        (data.session_id,),
    )
    yield Write(
        "delete from authz.refresh_token where session_id = $1",
        (data.session_id,),
        (data.session_id,),
    )


def _client(recorded: Recorded) -> Iterator[Write]:
    event = recorded.event
    data = msgspec.convert(event.data, e.ClientRegistered)
    yield Write(
        "insert into authz.client values ($1, $2, $3, $4, $5, $6, null) on conflict (client_id)"
        " do update set event_id = excluded.event_id, version = excluded.version,"
        " scopes = excluded.scopes, secret = excluded.secret, public_key = excluded.public_key,"
        " revoked_at = null",
        (
            data.client_id,
            event.id,
            event.version,
            list(data.scopes),
            data.secret,
            data.public_key,
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
    e.INVITATION_ISSUED: _invited,
    e.CREDENTIAL_SET: _password,
    e.TOTP_ENROLLED: _totp,
    e.RECOVERY_CODES_ISSUED: _recovery,
    e.CREDENTIALS_RESET: _reset,
    e.SESSION_STARTED: _started,
    e.SESSION_REFRESHED: _refreshed,
    e.SESSION_ENDED: _ended,
    e.CLIENT_REGISTERED: _client,
    e.CLIENT_REVOKED: _client_revoked,
}
