"""The keys that access tokens are signed with: made, rotated, retired, and published.

Public keys are facts of the stream ``signing-keys``, which every service folds; its versions let
one process win when two make a key at once. Private keys are kept beside the projections, sealed
under ``credential``, so that a retired one can be deleted, which the log could not.

A new key signs nothing until it is a few seconds old (unless it is the only one), so that every
service has folded it before it meets a token of it. Whoever has something to sign and finds none
that is fit to (the only one was set aside, docs/decisions/0013) makes one, as the first was made.
"""

import asyncio
import base64
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import NAMESPACE_URL, UUID, uuid5

import asyncpg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from services.authz.login_views import AT
from services.authz.recording import data_of
from services.authz.session_events import (
    SIGNING_KEY_ADDED,
    SIGNING_KEY_RETIRED,
    SigningKeyAdded,
    SigningKeyRetired,
)
from services.kernel.effects import Effects, drawn_at
from services.kernel.errors import Unavailable
from services.kernel.events import Event
from services.kernel.groups import Group
from services.kernel.log import Stale, VersionConflict
from services.kernel.runtime import Runtime
from services.kernel.sealing import Compartment, KeyRef
from services.kernel.wholeness import NEWEST, AsOf, whole

STREAM: Final = "signing-keys"
ROTATE_AFTER: Final = timedelta(days=30)
_SETTLES: Final = timedelta(seconds=5)
_JWKS_FOR: Final = timedelta(seconds=5)
#: the version is the log's own: one that was set aside leaves a gap (docs/decisions/0013)
_STATE: Final = (
    f"select {AT},"
    " (select coalesce(max(version), 0) from log.fact where stream = $1) as version,"
    " coalesce(array_agg(kid) filter (where retired_at is null), '{}') as live,"
    " coalesce(array_agg(kid) filter (where retired_at is null and exists"
    " (select from authz.signing_secret s where s.kid = k.kid)), '{}') as fit"
    " from authz.signing_key k"
)
_PUBLIC: Final = (
    f"select {AT}, {NEWEST}, k.public_key from (values (1)) one"
    " left join authz.signing_key k on k.kid = $1 and k.retired_at is null"
)
_REF: Final = KeyRef(uuid5(NAMESPACE_URL, "casewarden:signing-keys"), Compartment.CREDENTIAL)


class SigningKey(NamedTuple):
    """A key to sign with, and its name."""

    kid: str
    private: Ed25519PrivateKey


class _State(NamedTuple):
    """The keys that are not retired, where they were read, and the version of their stream.

    ``fit`` to sign are those whose private half is kept.
    """

    at: int
    version: int
    live: list[str]
    fit: list[str]


def made_at(kid: str) -> datetime:
    """Return when a key was made: its ``kid`` is a UUIDv7."""
    return drawn_at(UUID(kid))


class SigningKeys:
    """The installation's signing keys, seen from one process of authz."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._private: dict[str, Ed25519PrivateKey] = {}
        self._jwks: tuple[datetime, dict[str, list[dict[str, str]]]] | None = None
        #: anybody may ask, and one at a time waits for the log
        self._publishing = asyncio.Lock()
        #: many may need a key at once, and one at a time makes sure that there is one
        self._ensuring = asyncio.Lock()

    @property
    def _effects(self) -> Effects:
        return self._runtime.effects

    @property
    def _pool(self) -> asyncpg.Pool:
        return self._runtime.pool

    async def ensure(self) -> None:
        """Make a key where none is fit to sign: exactly one, however many see that at once."""
        async with self._ensuring:
            await self._add(only_first=True)

    async def rotate(self) -> None:
        """Add a key. The former ones go on being accepted until retired."""
        await self._add(only_first=False)

    async def _add(self, *, only_first: bool) -> None:
        while True:
            state = await self._state()
            if state.fit and only_first:
                return
            kid, event = await self._make(state.version)
            if await self._append(event, state):
                return
            await self._forget(kid)

    async def retire(self, kid: str) -> None:
        """Stop accepting tokens of a key, and delete its private half."""
        while True:
            state = await self._state()
            if kid not in state.live:
                break
            data = data_of(SigningKeyRetired(kid=kid))
            event = self._event(SIGNING_KEY_RETIRED, state.version, data, "revoke")
            if await self._append(event, state):
                break
        await self._forget(kid)

    async def _append(self, event: Event, state: _State) -> bool:
        """Append and fold ``event``; say no when the keys are others than ``state`` says."""
        try:
            position = await self._runtime.log.append(Group([event], state.at, [STREAM]))
        except (Stale, VersionConflict):
            return False
        await self._runtime.projector.reached(position)
        return True

    async def turn(self, token_life: timedelta) -> None:
        """Rotate a key that is old; retire those that nothing valid is signed with any more."""
        state, now = await self._state(), self._effects.now()
        newest = max(state.fit, default=None)
        if newest is None or made_at(newest) + ROTATE_AFTER <= now:
            await self.rotate()
        elif made_at(newest) + 2 * (token_life + _SETTLES) <= now:
            for kid in state.live:
                if kid != newest:
                    await self.retire(kid)

    async def current(self) -> SigningKey:
        """Return the key to sign with; where there is none it is made.

        Raises :class:`Unavailable` while the keys are folded anew.
        """
        fit = (await self._keys()).fit
        if not fit:
            await self.ensure()
            fit = (await self._keys()).fit
        settled = [k for k in fit if made_at(k) + _SETTLES <= self._effects.now()]
        kid = max(settled, default=None) or min(fit, default=None)
        if kid is None:
            raise Unavailable
        if kid not in self._private:
            row = await self._pool.fetchrow(
                "select event_id, sealed from authz.signing_secret where kid = $1", kid
            )
            if row is None:
                raise Unavailable
            await self._runtime.keys.load([_REF])
            text = self._runtime.keys.open(_REF, row["event_id"], "private_key", row["sealed"])
            self._private = {
                kid: Ed25519PrivateKey.from_private_bytes(base64.b64decode(text)),
            }
        return SigningKey(kid, self._private[kid])

    async def public(self, kid: str) -> Ed25519PublicKey | None:
        """Return the public key called ``kid`` that is not retired.

        Raises :class:`Unavailable` while the keys are folded anew.
        """

        async def read() -> AsOf[bytes | None]:
            row = await self._pool.fetchrow(_PUBLIC, kid)
            assert row is not None  # noqa: S101 - positions are there, whatever is not
            return AsOf(row["public_key"], row["at"], row["newest"])

        raw = await whole(self._runtime.projector, read)
        return None if raw is None else Ed25519PublicKey.from_public_bytes(raw)

    async def jwks(self) -> dict[str, list[dict[str, str]]]:
        """Return the public keys as a JWK set (RFC 7517, RFC 8037), at most five seconds old.

        Raises :class:`Unavailable` rather than leave out what is folded anew.
        """
        now = self._effects.now()
        async with self._publishing:
            if self._jwks is None or self._jwks[0] + _JWKS_FOR <= now:
                await self._runtime.projector.caught_up()
                rows = await self._pool.fetch(
                    "select kid, public_key from authz.signing_key where retired_at is null"
                    " order by kid"
                )
                self._jwks = (now, {"keys": [_jwk(r["kid"], r["public_key"]) for r in rows]})
            return self._jwks[1]

    async def _state(self) -> _State:
        """Return how things stand once the log as it is now is folded."""
        await self._runtime.projector.caught_up()
        return await self._keys()

    async def _keys(self) -> _State:
        """Return how things stand as far as the log is folded."""
        row = await self._pool.fetchrow(_STATE, STREAM)
        assert row is not None  # noqa: S101 - an aggregate always has a row
        return _State(row["at"], row["version"], list(row["live"]), list(row["fit"]))

    async def _make(self, version: int) -> tuple[str, Event]:
        kid, private = str(self._effects.new_id()), self._effects.token(32)
        public = Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
        payload = SigningKeyAdded(kid=kid, public_key=base64.b64encode(public).decode())
        event = self._event(SIGNING_KEY_ADDED, version, data_of(payload), "create")
        await self._runtime.keys.load([_REF], create=True)
        sealed = self._runtime.keys.seal(
            _REF, event.id, "private_key", base64.b64encode(private).decode()
        )
        await self._pool.execute(
            "insert into authz.signing_secret (kid, event_id, sealed) values ($1, $2, $3)",
            kid,
            event.id,
            sealed,
        )
        return kid, event

    def _event(self, type_: str, version: int, data: Mapping[str, Any], action: str) -> Event:
        return Event(
            id=self._effects.new_id(),
            type=type_,
            stream=STREAM,
            version=version + 1,
            recorded_at=self._effects.now(),
            action=action,
            touches=(STREAM,),
            data=data,
        )

    async def _forget(self, kid: str) -> None:
        self._private.pop(kid, None)
        await self._pool.execute("delete from authz.signing_secret where kid = $1", kid)


def _jwk(kid: str, public: bytes) -> dict[str, str]:
    x = base64.urlsafe_b64encode(public).decode().rstrip("=")
    return {"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": kid, "x": x}
