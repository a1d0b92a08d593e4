"""What authz signs: access tokens (RFC 9068) and login tokens, Ed25519, five minutes at most.

A login token says that the first factor was right and nothing more: its type and audience are its
own, so that no service takes it for an access token. Refresh tokens are not signed: they are 256
random bits of which only a digest is kept.
"""

import base64
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import jwt
import msgspec

from services.authz import access
from services.authz.signing_keys import SigningKey, SigningKeys
from services.kernel.effects import Effects
from services.kernel.errors import Unauthenticated

LOGIN_AUDIENCE: Final = "casewarden-login"
LOGIN_TYPE: Final = "login+jwt"
LOGIN_LIFE: Final = timedelta(minutes=5)
_REFRESH_BYTES: Final = 32
_LONGEST: Final = 2048
_REQUIRED: Final = ("exp", "sub", "aud", "iss", "jti", "pwd")


class LoginToken(msgspec.Struct, frozen=True):
    """The first factor was right: whose, with which password, and once."""

    person_id: UUID
    password_event: UUID
    token_id: UUID
    expires_at: datetime

    @property
    def once(self) -> bytes:
        """Once-key: a login token begins one session."""
        return f"login:{self.token_id}".encode()


class Tokens:
    """Signs and reads authz's tokens."""

    def __init__(self, keys: SigningKeys, effects: Effects, access_life: timedelta) -> None:
        self._keys = keys
        self._effects = effects
        self._access_life = access_life

    async def key(self) -> SigningKey:
        """Return the key to sign with; raise :class:`Unavailable` while it is not known.

        Whoever hands out what cannot be asked for twice has it before that is in the log.
        """
        return await self._keys.current()

    def access(
        self, key: SigningKey, person_id: UUID, session_id: UUID, until: datetime
    ) -> tuple[str, int]:
        """Return an access token of a session that ends at ``until``, and its life in seconds."""
        seconds = self._seconds(until)
        claims = {"sub": str(person_id), "sid": str(session_id)}
        return self._signed(key, claims, access.AUDIENCE, access.TYPE, seconds), seconds

    async def client(self, client_id: str, scopes: tuple[str, ...]) -> tuple[str, int]:
        """Return an access token of a service client, and its life in seconds."""
        seconds = int(self._access_life.total_seconds())
        claims = {"sub": client_id, "client_id": client_id, "scope": " ".join(scopes)}
        key = await self.key()
        return self._signed(key, claims, access.AUDIENCE, access.TYPE, seconds), seconds

    async def login(self, person_id: UUID, password_event: UUID) -> str:
        """Return the token that a second factor completes."""
        claims = {"sub": str(person_id), "pwd": str(password_event)}
        seconds = int(LOGIN_LIFE.total_seconds())
        return self._signed(await self.key(), claims, LOGIN_AUDIENCE, LOGIN_TYPE, seconds)

    async def read_login(self, token: str) -> LoginToken:
        """Return what a login token says; raise :class:`Unauthenticated` when it is not one."""
        if len(token) > _LONGEST:
            raise Unauthenticated
        try:
            head = jwt.get_unverified_header(token)
            key = await self._keys.public(str(UUID(str(head.get("kid")))))
            if head.get("typ") != LOGIN_TYPE or key is None:
                raise Unauthenticated
            payload = jwt.decode(
                token,
                key,
                algorithms=[access.ALGORITHM],
                audience=LOGIN_AUDIENCE,
                issuer=access.ISSUER,
                options={"require": list(_REQUIRED), "verify_exp": False, "verify_iat": False},
            )
            login = LoginToken(
                person_id=UUID(str(payload["sub"])),
                password_event=UUID(str(payload["pwd"])),
                token_id=UUID(str(payload["jti"])),
                expires_at=datetime.fromtimestamp(float(payload["exp"]), UTC),
            )
        except (jwt.InvalidTokenError, ValueError, TypeError, RecursionError):
            raise Unauthenticated from None
        if login.expires_at <= self._effects.now():
            raise Unauthenticated
        return login

    def refresh(self) -> str:
        """Return a new refresh token."""
        raw = self._effects.token(_REFRESH_BYTES)
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")

    def _seconds(self, until: datetime) -> int:
        left = until - self._effects.now()
        return max(0, int(min(self._access_life, left).total_seconds()))

    def _signed(
        self, key: SigningKey, claims: dict[str, str], audience: str, kind: str, seconds: int
    ) -> str:
        issued = int(self._effects.now().timestamp())
        payload = {
            **claims,
            "iss": access.ISSUER,
            "aud": audience,
            "iat": issued,
            "exp": issued + seconds,
            "jti": str(self._effects.new_id()),
        }
        return jwt.encode(payload, key.private, access.ALGORITHM, {"kid": key.kid, "typ": kind})


def digest(token: str) -> str:
    """Return what is kept of a random token; 256 random bits need no slow hash."""
    return hashlib.sha256(token.encode()).hexdigest()
