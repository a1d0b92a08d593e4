"""Accounts, sessions and clients as logging in needs them: asked of the projection ``authz.login``.

Row types and queries of one read model; its fold is :mod:`services.authz.login_fold`. Everything
that lets somebody in stays sealed here; each query reads the projection's position in the same
statement as the facts. Where nothing may be found, the newest fact of the log is read with it
(:mod:`services.kernel.wholeness`).
"""

from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
import msgspec

from services.authz.client_events import client_subject
from services.authz.directory import (
    CALLER_COLUMNS,
    Caller,
    Person,
    caller_joins,
    caller_of,
    decode_person,
)
from services.kernel.projection import Connection
from services.kernel.sealing import Compartment, KeyRef, Sealed
from services.kernel.wholeness import NEWEST, AsOf, NotSignedIn, not_behind

#: the position that facts of authz's own tables are read at; ``authz.activity`` holds no facts
AT: Final = "(select min(position) from authz.projection where name <> 'authz.activity') as at"

_CALLER: Final = (
    f"select {AT}, {CALLER_COLUMNS} from (select) one{caller_joins('authz', '$1', '$2')}"
)


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
    #: until when the newest invitation serves, unless it was used or taken back
    invitation_expires_at: datetime | None
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
    secret: Sealed | None
    public_key: str | None
    organisation_id: UUID | None


_ACCOUNT: Final = (
    f"select {AT}, {NEWEST}, a.*, p.state as person_state,"
    " (select count(*) from authz.login_session s"
    " where s.person_id = a.person_id and s.ended_at is null and s.expires_at > $2"
    " and s.refreshed_at > $3) as live_sessions from (values (1)) one left join"
    " (authz.account a join authz.person p on p.id = a.person_id) on "
)


async def account_by(
    pool: asyncpg.Pool, column: str, value: object, now: datetime, idle_after: datetime
) -> AsOf[Account | None]:
    """Look for the account whose ``column`` (a constant of the caller's code) is ``value``."""
    row = await pool.fetchrow(f"{_ACCOUNT}{column} = $1 limit 1", value, now, idle_after)
    assert row is not None  # noqa: S101 - positions are there, whoever is not
    found = None if row["person_id"] is None else _account(row)
    return AsOf(found, row["at"], row["newest"])


def _account(row: asyncpg.Record) -> Account:
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
        invitation_expires_at=row["invitation_expires_at"],
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


async def live_caller(
    pool: asyncpg.Pool | Connection,
    person_id: UUID,
    session_id: UUID,
    expires_at: datetime,
    now: datetime,
) -> tuple[Caller, int]:
    """Return who is calling, and the position it was read at.

    Raises :class:`NotSignedIn` without a live session.
    """
    row = await pool.fetchrow(_CALLER, person_id, session_id)
    assert row is not None  # noqa: S101 - everything is joined to one row
    caller = caller_of(row, session_id, expires_at, now)
    if caller is None:
        raise NotSignedIn(row["at"])
    return caller, row["at"]


async def live_sessions(
    pool: asyncpg.Pool | Connection, *person_ids: UUID, known: int
) -> list[Session]:
    """Return the sessions of a person, or of several, that have not ended.

    Raises :class:`Unavailable` for rows behind ``known``, the position of an earlier read.
    """
    rows = await pool.fetch(
        f"select {AT}, {session_columns('s')} from (values (1)) one left join authz.login_session s"
        " on s.person_id = any($1) and s.ended_at is null",
        person_ids,
    )
    not_behind(rows[0]["at"], known)
    return [session_of(row) for row in rows if row["id"] is not None]


async def client_by(pool: asyncpg.Pool, client_id: str) -> AsOf[Client | None]:
    """Look for a client that is not revoked."""
    row = await pool.fetchrow(
        f"select {AT}, {NEWEST}, c.* from (values (1)) one left join authz.client c"
        " on c.client_id = $1 and c.revoked_at is null",
        client_id,
    )
    assert row is not None  # noqa: S101 - positions are there, whoever is not
    found = None if row["client_id"] is None else _client(row)
    return AsOf(found, row["at"], row["newest"])


def _client(row: asyncpg.Record) -> Client:
    client_id = row["client_id"]
    ref, secret = KeyRef(client_subject(client_id), Compartment.CREDENTIAL), row["secret"]
    return Client(
        at=row["at"],
        client_id=client_id,
        version=row["version"],
        scopes=tuple(row["scopes"]),
        secret=None if secret is None else Sealed(ref, row["event_id"], "secret", secret),
        public_key=row["public_key"],
        organisation_id=row["organisation_id"],
    )
