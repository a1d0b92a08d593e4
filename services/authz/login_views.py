"""Accounts, sessions and clients as logging in needs them: the projection ``authz.login``.

Row types, fold and queries of one read model. Everything that lets somebody in stays sealed here;
each query reads the projection's position in the same statement as the facts.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
import msgspec

from services.authz import events as e
from services.authz.directory import Person, decode_person
from services.kernel.events import Recorded
from services.kernel.projection import Connection
from services.kernel.sealing import Compartment, KeyRef, Sealed

#: the position that facts of authz's own tables are read at; ``authz.activity`` holds no facts
AT: Final = "(select min(position) from authz.projection where name <> 'authz.activity') as at"


class Account(msgspec.Struct, frozen=True):
    """What lets a person in, and when it was read."""

    at: int
    person: Person
    username_digest: str
    username: Sealed
    password: Sealed | None
    totp: Sealed | None
    totp_step: int
    recovery: Sealed | None
    #: the last passwords, the present one among them: none of them may be set again (SG-4)
    former: tuple[Sealed, ...]
    #: live sessions of the person, for SG-4
    live_sessions: int


class Session(msgspec.Struct, frozen=True):
    """A session as the log has it."""

    id: UUID
    person_id: UUID
    organisation_id: UUID | None
    version: int
    started_at: datetime
    refreshed_at: datetime
    expires_at: datetime
    ended_at: datetime | None


class Client(msgspec.Struct, frozen=True):
    """A registered service client."""

    at: int
    client_id: str
    version: int
    scopes: tuple[str, ...]
    secret: Sealed
    public_key: str | None


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

    def __init__(self) -> None:
        self._folds: dict[str, Callable[[Connection, Recorded], Awaitable[None]]] = {
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

    async def fold(self, connection: Connection, batch: Sequence[Recorded]) -> None:
        """Apply ``batch``."""
        for recorded in batch:
            fold = self._folds.get(recorded.event.type)
            if fold is not None:
                await fold(connection, recorded)


async def _registered(connection: Connection, recorded: Recorded) -> None:
    data = msgspec.convert(recorded.event.data, e.PersonRegistered)
    await connection.execute(
        "insert into authz.account (person_id, username_digest, username, username_event)"
        " values ($1, $2, $3, $4)",
        data.person_id,
        data.username_digest,
        data.username,
        recorded.event.id,
    )


async def _corrected(connection: Connection, recorded: Recorded) -> None:
    """Take back what may be at a mistyped address: it would let a stranger in."""
    data = msgspec.convert(recorded.event.data, e.ProfileCorrected)
    if data.address_changed:
        await connection.execute(
            "update authz.account set invitation_digest = null, invitation_expires_at = null"
            " where person_id = $1 and former = '{}'",
            data.person_id,
        )


async def _suspended(connection: Connection, recorded: Recorded) -> None:
    await connection.execute(
        "update authz.account set suspended = $2 where person_id = $1",
        UUID(recorded.event.data["person_id"]),
        recorded.event.type == e.PERSON_SUSPENDED,
    )


async def _invited(connection: Connection, recorded: Recorded) -> None:
    data = msgspec.convert(recorded.event.data, e.InvitationIssued)
    await connection.execute(
        "update authz.account set invitation_digest = $2, invitation_expires_at = $3"
        " where person_id = $1",
        data.person_id,
        data.token_digest,
        data.expires_at,
    )


async def _password(connection: Connection, recorded: Recorded) -> None:
    data = msgspec.convert(recorded.event.data, e.CredentialSet)
    await connection.execute(
        "update authz.account set password = $2, password_event = $3,"
        " former = (array_prepend($2, former))[1:$4],"
        " former_events = (array_prepend($3, former_events))[1:$4],"
        " invitation_digest = null, invitation_expires_at = null where person_id = $1",
        data.person_id,
        data.password_hash,
        recorded.event.id,
        REMEMBERED_PASSWORDS,
    )


async def _totp(connection: Connection, recorded: Recorded) -> None:
    data = msgspec.convert(recorded.event.data, e.TotpEnrolled)
    await connection.execute(
        "update authz.account set totp = $2, totp_event = $3, totp_step = $4 where person_id = $1",
        data.person_id,
        data.secret,
        recorded.event.id,
        data.step,
    )


async def _recovery(connection: Connection, recorded: Recorded) -> None:
    data = msgspec.convert(recorded.event.data, e.RecoveryCodesIssued)
    await connection.execute(
        "update authz.account set recovery = $2, recovery_event = $3 where person_id = $1",
        data.person_id,
        data.hashes,
        recorded.event.id,
    )


async def _reset(connection: Connection, recorded: Recorded) -> None:
    await connection.execute(
        "update authz.account set password = null, password_event = null, totp = null,"
        " totp_event = null, recovery = null, recovery_event = null where person_id = $1",
        UUID(recorded.event.data["person_id"]),
    )


async def _started(connection: Connection, recorded: Recorded) -> None:
    event = recorded.event
    data = msgspec.convert(event.data, e.SessionStarted)
    await connection.execute(
        "insert into authz.login_session (id, person_id, organisation_id, version, started_at,"
        " refreshed_at, expires_at, started_position) values ($1, $2, $3, $4, $5, $5, $6, $7)",
        data.session_id,
        data.person_id,
        data.organisation_id,
        event.version,
        event.recorded_at,
        data.expires_at,
        recorded.position,
    )
    await _remember(connection, data.refresh_digest, data.session_id, event.version or 0)
    if data.totp_step is not None:
        await connection.execute(
            "update authz.account set totp_step = greatest(totp_step, $2) where person_id = $1",
            data.person_id,
            data.totp_step,
        )


async def _refreshed(connection: Connection, recorded: Recorded) -> None:
    data = msgspec.convert(recorded.event.data, e.SessionRefreshed)
    version = recorded.event.version or 0
    await connection.execute(
        "update authz.login_session set refreshed_at = $2, version = $3 where id = $1",
        data.session_id,
        recorded.event.recorded_at,
        version,
    )
    await _remember(connection, data.refresh_digest, data.session_id, version)


async def _remember(connection: Connection, digest: str, session_id: UUID, version: int) -> None:
    await connection.execute(
        "insert into authz.refresh_token values ($1, $2, $3)", digest, session_id, version
    )


async def _ended(connection: Connection, recorded: Recorded) -> None:
    data = msgspec.convert(recorded.event.data, e.SessionEnded)
    await connection.execute(
        "update authz.login_session set ended_at = $2, version = $3, ended_position = $4"
        " where id = $1",
        data.session_id,
        recorded.event.effective_at or recorded.event.recorded_at,
        recorded.event.version,
        recorded.position,
    )
    await connection.execute(
        "delete from authz.refresh_token where session_id = $1", data.session_id
    )


async def _client(connection: Connection, recorded: Recorded) -> None:
    data = msgspec.convert(recorded.event.data, e.ClientRegistered)
    await connection.execute(
        "insert into authz.client values ($1, $2, $3, $4, $5, $6, null) on conflict (client_id)"
        " do update set event_id = excluded.event_id, version = excluded.version,"
        " scopes = excluded.scopes, secret = excluded.secret, public_key = excluded.public_key,"
        " revoked_at = null",
        data.client_id,
        recorded.event.id,
        recorded.event.version,
        list(data.scopes),
        data.secret,
        data.public_key,
    )


async def _client_revoked(connection: Connection, recorded: Recorded) -> None:
    await connection.execute(
        "update authz.client set revoked_at = $2, version = $3 where client_id = $1",
        recorded.event.data["client_id"],
        recorded.event.recorded_at,
        recorded.event.version,
    )


_ACCOUNT: Final = (
    f"select {AT}, a.*, p.state as person_state, (select count(*) from authz.login_session s"
    " where s.person_id = a.person_id and s.ended_at is null and s.expires_at > $2"
    " and s.refreshed_at > $3) as live_sessions"
    " from authz.account a join authz.person p on p.id = a.person_id where "
)


async def account_by(
    pool: asyncpg.Pool, column: str, value: object, now: datetime, idle_after: datetime
) -> Account | None:
    """Return the account whose ``column`` (a constant of the caller's code) is ``value``."""
    row = await pool.fetchrow(f"{_ACCOUNT}{column} = $1 limit 1", value, now, idle_after)
    if row is None:
        return None
    return Account(
        at=row["at"],
        person=decode_person(row["person_state"]),
        username_digest=row["username_digest"],
        username=_required(row, "username"),
        password=_sealed(row, "password", "password_hash"),
        totp=_sealed(row, "totp", "secret"),
        totp_step=row["totp_step"],
        recovery=_sealed(row, "recovery", "hashes"),
        former=_former(row),
        live_sessions=row["live_sessions"],
    )


def _former(row: asyncpg.Record) -> tuple[Sealed, ...]:
    ref = KeyRef(row["person_id"], Compartment.CREDENTIAL)
    kept = zip(row["former_events"], row["former"], strict=True)
    return tuple(Sealed(ref, event_id, "password_hash", text) for event_id, text in kept)


def _sealed(row: asyncpg.Record, column: str, field: str) -> Sealed | None:
    return _required(row, column, field) if row[column] is not None else None


def _required(row: asyncpg.Record, column: str, field: str = "username") -> Sealed:
    ref = KeyRef(row["person_id"], Compartment.CREDENTIAL)
    return Sealed(ref, row[f"{column}_event"], field, row[column])


def session_columns(alias: str) -> str:
    """Return the select list of a session from ``authz.login_session`` under ``alias``."""
    return ", ".join(f"{alias}.{name}" for name in Session.__struct_fields__)


def session_of(row: asyncpg.Record) -> Session:
    """Return the session in a row selected with :func:`session_columns`."""
    return Session(*(row[name] for name in Session.__struct_fields__))


async def live_sessions(pool: asyncpg.Pool | Connection, *person_ids: UUID) -> list[Session]:
    """Return the sessions of a person, or of several, that have not ended."""
    rows = await pool.fetch(
        f"select {session_columns('s')} from authz.login_session s"
        " where person_id = any($1) and ended_at is null",
        person_ids,
    )
    return [session_of(row) for row in rows]


async def client(pool: asyncpg.Pool, client_id: str) -> Client | None:
    """Return a client that is not revoked."""
    row = await pool.fetchrow(
        f"select {AT}, c.* from authz.client c where client_id = $1 and revoked_at is null",
        client_id,
    )
    if row is None:
        return None
    ref = KeyRef(e.client_subject(client_id), Compartment.CREDENTIAL)
    return Client(
        at=row["at"],
        client_id=client_id,
        version=row["version"],
        scopes=tuple(row["scopes"]),
        secret=Sealed(ref, row["event_id"], "secret", row["secret"]),
        public_key=row["public_key"],
    )
