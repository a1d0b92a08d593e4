"""Service clients: OAuth 2.0 client credentials (RFC 6749, 4.4) by secret or by signed assertion.

Place in the flow: ``proof -> attempt -> client's access token``; there is no session. A client is
a registration in the log; its secret is 256 random bits of which a digest is kept, sealed. A token
carries the client's scopes, and every one that is issued is an event.
"""

import hmac
from functools import partial
from http import HTTPStatus
from typing import Final, NamedTuple

from starlette.datastructures import URL

from services.authz import access, login_views
from services.authz import events as e
from services.authz.client_assertions import NoProof, proved
from services.authz.client_events import CLIENT_ID, CLIENT_TOKEN_ISSUED, client_key
from services.authz.front_door import FrontDoor
from services.authz.login_views import Client
from services.authz.tokens import digest
from services.kernel.errors import Problem
from services.kernel.events import Actor, ObjectRef, Outcome
from services.kernel.groups import Group
from services.kernel.handling import Draft
from services.kernel.http import Call
from services.kernel.log import Duplicate
from services.kernel.wholeness import whole

#: what an assertion's audience may name, besides the address of the token endpoint
AUDIENCES: Final = (access.ISSUER,)


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

    def __init__(self, door: FrontDoor, authz_url: str = "") -> None:
        self._door = door
        self._runtime = door.runtime
        self._authz_url = authz_url.rstrip("/")

    async def token(self, proof: Proof, scope: str, asked: URL, call: Call) -> Issued:
        """Return a token with the scopes asked for (all, when none is).

        Raises :class:`InvalidClient`, :class:`InvalidScope`, or 429 when it is not even tried. What
        cannot be a client's id is refused before anything is looked up, and is not counted.
        """
        if CLIENT_ID.fullmatch(proof.client_id) is None:
            raise InvalidClient
        audience = self._endpoint(asked)
        name = self._door.usernames.digest(f"client:{proof.client_id}")
        async with self._door.attempts.on(name, call) as attempt:
            try:
                issued = await self._runtime.handling.run(
                    partial(self._issue, proof, scope.split(), audience, call)
                )
            except (NoProof, Duplicate):
                await attempt.wrong("client", "mismatch_or_used")
                raise InvalidClient from None
            await attempt.right()
        return issued

    def _endpoint(self, asked: URL) -> str:
        """Return the token endpoint's address, which an assertion may be meant for.

        Where authz's address is set, the caller does not choose it: whoever holds an assertion that
        was meant for another server cannot name that server as the host here.
        """
        if self._authz_url:
            return f"{self._authz_url}/v1/token"
        return str(asked.replace(query="", fragment=""))

    async def _issue(
        self, proof: Proof, wanted: list[str], audience: str, call: Call
    ) -> Draft[Issued]:
        read = partial(login_views.client_by, self._runtime.pool, proof.client_id)
        client = await whole(self._runtime.projector, read)
        if client is None:
            raise NoProof
        once = await self._proved(client, proof, audience)
        scopes = tuple(wanted) or client.scopes
        allowed = set(scopes) <= set(client.scopes)
        event = await self._door.recorder.event(
            CLIENT_TOKEN_ISSUED if allowed else e.REFUSED,
            call,
            action="login",
            actor=Actor(client_id=client.client_id, organisation_id=client.organisation_id),
            outcome=Outcome.ALLOWED if allowed else Outcome.DENIED,
            object_=ObjectRef("client", client.client_id),
            data={"scopes": scopes} if allowed else {"code": InvalidScope.code},
        )
        group = Group([event], client.at, (client_key(client.client_id),), once=once)
        if not allowed:
            return Draft(group, InvalidScope())
        token, seconds = await self._door.tokens.client(client.client_id, scopes)
        return Draft(group, Issued(token, seconds, " ".join(scopes)))

    async def _proved(self, client: Client, proof: Proof, audience: str) -> tuple[bytes, ...]:
        """Return the once-keys of a proof that holds; raise :class:`NoProof` otherwise."""
        if proof.assertion:
            if client.public_key is None:
                raise NoProof
            now, audiences = self._runtime.effects.now(), (audience, *AUDIENCES)
            return (proved(proof.assertion, client.client_id, client.public_key, audiences, now),)
        if client.secret is None:
            raise NoProof
        await self._runtime.keys.load([client.secret.ref])
        kept = self._runtime.keys.open_sealed(client.secret)
        if not hmac.compare_digest(kept, digest(proof.secret)):
            raise NoProof
        return ()
