"""The vocabulary of sessions: logins, sessions, and the keys that tokens are signed with.

The other services fold sessions and keys too: no token outlives either. Never folds and never
decides; all of it is registered in :mod:`services.authz.events`.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

SESSION_STARTED: Final = "authz.session_started"
SESSION_REFRESHED: Final = "authz.session_refreshed"
SESSION_ENDED: Final = "authz.session_ended"
SIGNING_KEY_ADDED: Final = "authz.signing_key_added"
SIGNING_KEY_RETIRED: Final = "authz.signing_key_retired"
#: somebody's password was right: no login, and nothing is open before the second factor is too
PASSWORD_ACCEPTED: Final = "authz.password_accepted"  # noqa: S105 - the name of an event
#: somebody's password or second factor was wrong
LOGIN_FAILED: Final = "authz.login_failed"
#: logins from one address that were not even tried, as a counted window
LOGIN_THROTTLED: Final = "authz.login_throttled"


def session_key(session_id: UUID) -> str:
    """Guard key of a session's life."""
    return f"session:{session_id}"


def login_key(person_id: UUID) -> str:
    """Guard key of a person's logins: which steps were used, which sessions were begun."""
    return f"login:{person_id}"


class SessionStarted(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody logged in with two factors (SG-2). ``refresh_digest`` identifies the family.

    ``totp_step`` is the step that was used up; ``other_sessions`` how many sessions of the person
    were live already, which is an event worth an alert (SG-4).
    """

    session_id: UUID
    person_id: UUID
    organisation_id: UUID | None
    methods: tuple[str, ...]
    expires_at: datetime
    refresh_digest: str
    totp_step: int | None = None
    other_sessions: int = 0


class SessionRefreshed(msgspec.Struct, frozen=True, kw_only=True):
    """The refresh token was rotated."""

    session_id: UUID
    person_id: UUID
    refresh_digest: str


class SessionEnded(msgspec.Struct, frozen=True, kw_only=True):
    """A session is over.

    Why: ``logout``, ``idle``, ``absolute``, ``reuse``, ``suspended``, ``revoked`` or ``reset``.
    """

    session_id: UUID
    person_id: UUID
    reason: str
    duration_s: int


class SigningKeyAdded(msgspec.Struct, frozen=True, kw_only=True):
    """A public key that access tokens may be signed with. ``public_key`` is raw Ed25519, base64."""

    kid: str
    public_key: str


class SigningKeyRetired(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of this key are no longer accepted."""

    kid: str


#: the facts, with their titles
FACTS: Final[Mapping[str, str]] = {
    SESSION_STARTED: "session started",
    SESSION_REFRESHED: "session refreshed",
    SESSION_ENDED: "session ended",
    SIGNING_KEY_ADDED: "signing key added",
    SIGNING_KEY_RETIRED: "signing key retired",
}
#: the observations, with their titles
OBSERVATIONS: Final[Mapping[str, str]] = {
    PASSWORD_ACCEPTED: "password accepted",
    LOGIN_FAILED: "login failed",
    LOGIN_THROTTLED: "logins throttled",
}
