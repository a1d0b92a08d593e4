"""Routes of service clients and relying systems: client tokens, public keys.

Bodies are bounded and never repeated in an answer. Parse, one call, answer; the token endpoint's
errors are RFC 6749's and problem+json at once.
"""

import base64
from http import HTTPStatus
from typing import Annotated, Final, Literal
from urllib.parse import unquote_plus

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, StringConstraints

from services.authz.client_assertions import LONGEST, client_of
from services.authz.clients import Clients, InvalidClient, OAuthProblem, Proof, UnsupportedGrant
from services.authz.signing_keys import SigningKeys
from services.kernel.http import call_of

_ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class ClientToken(BaseModel):
    """A service client's access token (RFC 6749, 5.1)."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - RFC 6750's name of the scheme
    expires_in: int
    scope: str


class TokenRequest(BaseModel):
    """A client credentials request (RFC 6749, 4.4.2)."""

    model_config = ConfigDict(hide_input_in_errors=True)

    grant_type: Annotated[str, StringConstraints(max_length=100)]
    scope: Annotated[str, StringConstraints(max_length=1000)] = ""
    client_assertion_type: Annotated[str, StringConstraints(max_length=200)] = ""
    client_assertion: Annotated[str, StringConstraints(max_length=LONGEST)] = ""


def client_router(clients: Clients, keys: SigningKeys) -> APIRouter:
    """Return the routes of service clients and relying systems."""
    router = APIRouter(tags=["clients"])

    @router.post("/v1/token")
    async def token(request: Request, body: Annotated[TokenRequest, Form()]) -> ClientToken:
        """Give a service client an access token."""
        proof = _proof(request, body)
        if body.grant_type != "client_credentials":
            raise UnsupportedGrant
        issued = await clients.token(proof, body.scope, request.url, call_of(request))
        return ClientToken(
            access_token=issued.access_token, expires_in=issued.expires_in, scope=issued.scope
        )

    @router.get("/.well-known/jwks.json")
    async def jwks() -> dict[str, list[dict[str, str]]]:
        """Publish the keys that access tokens are verified with (RFC 7517)."""
        return await keys.jwks()

    return router


def _proof(request: Request, body: TokenRequest) -> Proof:
    """Return how the client says who it is; raise :class:`InvalidClient` when it does not."""
    if body.client_assertion_type == _ASSERTION and body.client_assertion:
        return Proof(client_of(body.client_assertion), assertion=body.client_assertion)
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic" or len(text) > LONGEST:
        raise InvalidClient
    try:
        client_id, _, secret = base64.b64decode(text, validate=True).decode().partition(":")
    except ValueError:  # not base64, not ASCII, or not UTF-8
        raise InvalidClient from None
    return Proof(unquote_plus(client_id), secret=unquote_plus(secret))


async def render_oauth(request: Request, error: Exception) -> Response:
    """Answer an error of the token endpoint as RFC 6749 wants it, and as problem+json too."""
    problem = error if isinstance(error, OAuthProblem) else OAuthProblem()
    body = {
        "error": problem.code,
        "type": f"urn:casewarden:problem:{problem.code}",
        "title": problem.title,
        "status": int(problem.status),
        "detail": problem.detail,
        "code": problem.code,
        "request_id": request.scope["casewarden.request_id"],
    }
    refused = problem.status is HTTPStatus.UNAUTHORIZED
    headers = {"www-authenticate": 'Basic realm="casewarden"'} if refused else None
    return JSONResponse(body, int(problem.status), headers, "application/problem+json")
