"""Access tokens, seen from the services that accept them.

An access token is a JWT (RFC 9068 profile) signed with Ed25519; the algorithm is pinned, ``kid``
must name a key of the log, and audience, issuer, expiry and type are required. Verifying says who
signed in and in which session; whether that session still lives is a fact, loaded and guarded
with every decision.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg
import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from starlette.requests import Request

from services.kernel.errors import Unauthenticated, Unavailable
from services.kernel.projector import Projector
from services.kernel.wholeness import not_behind

ISSUER: Final = "casewarden"
AUDIENCE: Final = "casewarden"
ALGORITHM: Final = "EdDSA"
TYPE: Final = "at+jwt"
_CACHE: Final = 4096
_REQUIRED: Final = ("exp", "iat", "sub", "aud", "iss", "jti")
_LONGEST: Final = 2048
#: how long a retired key may still be accepted, and how often an unknown one is looked for
_KEYS_LAST: Final = timedelta(seconds=60)
_LOOK_AGAIN: Final = timedelta(seconds=1)


class Claims(msgspec.Struct, frozen=True):
    """What a valid token says. A person has a session; a service client has scopes."""

    expires_at: datetime
    person_id: UUID | None = None
    session_id: UUID | None = None
    client_id: str | None = None
    scopes: Sequence[str] = ()


class AccessTokens:
    """Verifies access tokens with the public keys that the log carries.

    A verified token is remembered until the keys are loaded anew without the one that signed it, so
    that its signature is seldom checked twice. They are loaded anew once a minute at least: within
    it a retired key is refused. Whether a session lives is asked every time.
    """

    def __init__(self, pool: asyncpg.Pool, schema: str, projector: Projector) -> None:
        self._pool = pool
        self._select = (
            f"select (select min(position) from {schema}.projection where name = any($1)) as at,"
            f" k.kid, k.public_key from (values (1)) one left join {schema}.signing_key k"
            " on k.retired_at is null"
        )
        self._projector = projector
        self._keys: dict[str, Ed25519PublicKey] = {}
        self._known: OrderedDict[str, Claims] = OrderedDict()
        self._loaded_at: datetime | None = None
        #: when a key that is not known was looked for, and whether the log was folded to its head
        self._sought_at: datetime | None = None
        self._whole = False
        self._looking = asyncio.Lock()

    async def claims(self, request: Request, now: datetime) -> Claims:
        """Return the claims of the request's bearer token; raise :class:`Unauthenticated`.

        Raises :class:`Unavailable` for a key that is not known while the log is not folded to its
        head: it may be a new one, or keys are folded anew.
        """
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token or len(token) > _LONGEST:
            raise Unauthenticated
        if self._loaded_at is not None and now - self._loaded_at > _KEYS_LAST:
            self.forget_keys()
        claims = self._known.get(token)
        if claims is None:
            claims = self._known[token] = await self._verify(token, now)
            if len(self._known) > _CACHE:
                self._known.popitem(last=False)
        if claims.expires_at <= now:
            self._known.pop(token, None)
            raise Unauthenticated
        return claims

    async def person(self, request: Request, now: datetime) -> tuple[UUID, UUID, datetime]:
        """Return person, session and expiry of a person's token; raise :class:`Unauthenticated`."""
        claims = await self.claims(request, now)
        if claims.person_id is None or claims.session_id is None:
            raise Unauthenticated
        return claims.person_id, claims.session_id, claims.expires_at

    def forget_keys(self) -> None:
        """Load the keys again: one may have been retired."""
        self._loaded_at = self._sought_at = None
        self._keys.clear()
        self._known.clear()

    async def _verify(self, token: str, now: datetime) -> Claims:
        try:
            head = jwt.get_unverified_header(token)
            kid = head.get("kid")
            if head.get("typ") != TYPE or head.get("alg") != ALGORITHM or not isinstance(kid, str):
                raise Unauthenticated
            payload = jwt.decode(
                token,
                await self._key(kid, now),
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                issuer=ISSUER,
                options={"require": list(_REQUIRED), "verify_exp": False, "verify_iat": False},
            )
            return _claims(payload)
        except (jwt.InvalidTokenError, ValueError, KeyError, TypeError, RecursionError):
            raise Unauthenticated from None

    async def _key(self, kid: str, now: datetime) -> Ed25519PublicKey:
        """Return the key called ``kid``; unknown names cost one look a second, not one each."""
        if kid not in self._keys:
            async with self._looking:
                await self._look(kid, now)
        try:
            return self._keys[kid]
        except KeyError:
            raise (Unauthenticated if self._whole else Unavailable) from None

    async def _look(self, kid: str, now: datetime) -> None:
        """Load the keys if they are not; again, with the log folded, when ``kid`` is not there."""
        if self._loaded_at is None:
            await self._load(now)
        if kid not in self._keys and self._due(now):
            self._sought_at, self._whole = now, False
            await self._projector.caught_up()
            await self._load(now, known=self._projector.folded)
            self._whole = True

    def _due(self, now: datetime) -> bool:
        """Say whether to look: also where nobody has had a key yet, for the first signs at once."""
        first = self._whole and not self._keys
        return first or self._sought_at is None or now - self._sought_at >= _LOOK_AGAIN

    async def _load(self, now: datetime, known: int = -1) -> None:
        """Load the keys; raise :class:`Unavailable` from rows behind the position ``known``."""
        rows = await self._pool.fetch(self._select, self._projector.names)
        not_behind(rows[0]["at"], known)
        keys = {
            r["kid"]: Ed25519PublicKey.from_public_bytes(r["public_key"])
            for r in rows
            if r["kid"] is not None
        }
        if self._keys.keys() - keys.keys():
            # else whoever keeps asking for unknown names keeps what a retired key signed
            self._known.clear()
        self._keys, self._loaded_at = keys, now


def _claims(payload: dict[str, object]) -> Claims:
    expires_at = datetime.fromtimestamp(float(str(payload["exp"])), UTC)
    if "client_id" in payload:
        scopes = str(payload.get("scope", "")).split()
        return Claims(expires_at, client_id=str(payload["client_id"]), scopes=tuple(scopes))
    return Claims(
        expires_at, person_id=UUID(str(payload["sub"])), session_id=UUID(str(payload["sid"]))
    )
