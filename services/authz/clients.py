"""Service clients: OAuth 2.0 client credentials (RFC 6749, 4.4) by secret or by signed assertion.

A client is a registration in the log; its secret is 256 random bits of which a digest is kept,
sealed. ``private_key_jwt`` (RFC 7523) takes an EdDSA, ES256 or RS256 assertion, each once. A token
carries the client's scopes and lives five minutes.
"""

import hmac
import re
from datetime import UTC, datetime, timedelta
from functools import partial
from http import HTTPStatus
from typing import Final, NamedTuple

import jwt

from services.authz import access, login_views
from services.authz import events as e
from services.authz.login import Failures, Login
from services.authz.login_views import Client
from services.authz.recording import Recorder
from services.authz.throttle import Throttle
from services.authz.tokens import Tokens, digest
from services.authz.usernames import Usernames
from services.kernel.errors import Problem
from services.kernel.events import Actor, ObjectRef, Outcome
from services.kernel.handling import Draft
from services.kernel.http import Call
from services.kernel.log import Duplicate, Group
from services.kernel.runtime import Runtime

ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
#: what an assertion's audience may name, besides the address of the token endpoint
AUDIENCES: Final = (access.ISSUER,)
_ALGORITHMS: Final = ("EdDSA", "ES256", "RS256")
_LONGEST_LIFE: Final = timedelta(minutes=10)
_LONGEST: Final = 4096
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,99}")


class OAuthProblem(Problem):
    """An error of the token endpoint; ``code`` is RFC 6749's."""

    status, code = HTTPStatus.BAD_REQUEST, "invalid_request"
    title = "Invalid token request"


class UnsupportedGrant(OAuthProblem):
    """Only ``client_credentials`` is granted here."""

    code, title = "unsupported_grant_type", "Unsupported grant type"


class InvalidScope(OAuthProblem):
    """The client is not registered for a scope it asked for."""

    code, title = "invalid_scope", "Scope not granted"


class InvalidClient(OAuthProblem):
    """The client is unknown, revoked, or did not prove who it is; which is not said."""

    status, code, title = HTTPStatus.UNAUTHORIZED, "invalid_client", "Client not authenticated"


class Proof(NamedTuple):
    """How a client says who it is: a secret, or a signed assertion."""

    client_id: str
    secret: str = ""
    assertion: str = ""


class Issued(NamedTuple):
    """A client's access token."""

    access_token: str
    expires_in: int
    scope: str


class Clients:
    """Gives tokens to registered clients."""

    def __init__(
        self,
        *,
        runtime: Runtime,
        recorder: Recorder,
        usernames: Usernames,
        login: Login,
        throttle: Throttle,
        failures: Failures,
        tokens: Tokens,
    ) -> None:
        self._runtime = runtime
        self._recorder = recorder
        self._usernames = usernames
        self._login = login
        self._throttle = throttle
        self._failures = failures
        self._tokens = tokens

    async def token(self, proof: Proof, scope: str, audience: str, call: Call) -> Issued:
        """Return a token with the scopes asked for (all, when none is).

        Raises :class:`InvalidClient`, :class:`InvalidScope`, or 429 when it is not even tried. What
        cannot be a client's id is refused before anything is looked up, and is not counted.
        """
        if _ID.fullmatch(proof.client_id) is None:
            raise InvalidClient
        name = self._usernames.digest(f"client:{proof.client_id}")
        async with self._login.attempt(name, call) as admission:
            try:
                issued = await self._runtime.handling.run(
                    partial(self._issue, proof, scope.split(), audience, call)
                )
            except (InvalidClient, Duplicate):
                admission.wrong = True
                await self._failures.failed(call, name, "client", "mismatch_or_used")
                raise InvalidClient from None
        await self._throttle.know(admission)
        return issued

    async def _issue(
        self, proof: Proof, wanted: list[str], audience: str, call: Call
    ) -> Draft[Issued]:
        client = await login_views.client(self._runtime.pool, proof.client_id)
        if client is None:
            raise InvalidClient
        once = await self._proved(client, proof, audience)
        scopes = tuple(wanted) or client.scopes
        allowed = set(scopes) <= set(client.scopes)
        event = await self._recorder.event(
            e.CLIENT_TOKEN_ISSUED if allowed else e.REFUSED,
            call,
            action="login",
            actor=Actor(client_id=client.client_id),
            outcome=Outcome.ALLOWED if allowed else Outcome.DENIED,
            object_=ObjectRef("client", client.client_id),
            data={"scopes": scopes} if allowed else {"reason": "invalid_scope"},
        )
        group = Group([event], client.at, (e.client_key(client.client_id),), once=once)
        if not allowed:
            return Draft(group, InvalidScope())
        token, seconds = await self._tokens.client(client.client_id, scopes)
        return Draft(group, Issued(token, seconds, " ".join(scopes)))

    async def _proved(self, client: Client, proof: Proof, audience: str) -> tuple[bytes, ...]:
        """Return the once-keys of a proof that holds; raise :class:`InvalidClient` otherwise."""
        if proof.assertion:
            return (self._asserted(client, proof.assertion, audience),)
        await self._runtime.keys.load([client.secret.ref])
        kept = self._runtime.keys.open_sealed(client.secret)
        if not hmac.compare_digest(kept, digest(proof.secret)):
            raise InvalidClient
        return ()

    def _asserted(self, client: Client, assertion: str, audience: str) -> bytes:
        if client.public_key is None or len(assertion) > _LONGEST:
            raise InvalidClient
        try:
            payload = jwt.decode(
                assertion,
                client.public_key,
                algorithms=list(_ALGORITHMS),
                audience=[audience, *AUDIENCES],
                issuer=client.client_id,
                subject=client.client_id,
                options={
                    "require": ["exp", "aud", "iss", "sub", "jti"],
                    "verify_exp": False,
                    "verify_iat": False,
                },
            )
            expires_at = datetime.fromtimestamp(float(payload["exp"]), UTC)
            once = f"assertion:{client.client_id}:{digest(str(payload['jti']))}".encode()
        except (jwt.InvalidTokenError, ValueError, TypeError, OverflowError):
            raise InvalidClient from None
        now = self._runtime.effects.now()
        if not now < expires_at <= now + _LONGEST_LIFE:
            raise InvalidClient
        return once


def client_of(assertion: str) -> str:
    """Return which client an assertion claims to be, unverified; empty when it claims none."""
    try:
        payload = jwt.decode(assertion, options={"verify_signature": False})
    except (jwt.InvalidTokenError, ValueError, RecursionError):
        return ""
    return str(payload.get("sub", ""))
