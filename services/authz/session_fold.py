"""The sessions of ``authz.login``: how each fact of one changes its row and its refresh tokens.

With its beginning a step of the account's second factor is used up. Place in the flow: part of the
fold of :mod:`services.authz.login_fold`. Runs nothing itself and decides nothing: that a session is
over is a fact before it is a row.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final
from uuid import UUID

import msgspec

from services.authz.session_events import (
    SESSION_ENDED,
    SESSION_REFRESHED,
    SESSION_STARTED,
    SessionEnded,
    SessionRefreshed,
    SessionStarted,
)
from services.kernel.events import Recorded
from services.kernel.writes import Write


def _started(recorded: Recorded) -> Iterator[Write]:
    event = recorded.event
    data = msgspec.convert(event.data, SessionStarted)
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
    data = msgspec.convert(recorded.event.data, SessionRefreshed)
    version = recorded.event.version or 0
    yield Write(
        "update authz.login_session set refreshed_at = $2, version = $3 where id = $1",
        (data.session_id, recorded.event.recorded_at, version),
        (data.session_id,),
    )
    yield _remember(data.refresh_digest, data.session_id, version)


def _remember(digest: str, session_id: UUID, version: int) -> Write:
    return Write(
        "insert into authz.refresh_token (digest, session_id, version) values ($1, $2, $3)",
        (digest, session_id, version),
        (session_id,),
    )


def _ended(recorded: Recorded) -> Iterator[Write]:
    event = recorded.event
    data = msgspec.convert(event.data, SessionEnded)
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


SESSION_FOLDS: Final[Mapping[str, Callable[[Recorded], Iterator[Write]]]] = {
    SESSION_STARTED: _started,
    SESSION_REFRESHED: _refreshed,
    SESSION_ENDED: _ended,
}
