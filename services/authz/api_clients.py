"""Routes of service clients and relying systems: client tokens, public keys.

Bodies are bounded and never repeated in an answer. Parse, one call, answer; the token endpoint's
errors are RFC 6749's and problem+json at once.
"""

import base64
from collections.abc import Callable, Coroutine, Mapping
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal
from urllib.parse import unquote_plus

from fastapi import APIRouter, Form, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.exceptions import HTTPException

from services.authz.client_assertions import LONGEST, client_of
from services.authz.clients import Clients, InvalidClient, OAuthProblem, Proof, UnsupportedGrant
from services.authz.signing_keys import SigningKeys
from services.kernel.errors import Malformed, Problem, TooManyRequests
from services.kernel.http import call_of
from services.kernel.problem_answers import RETRY_AFTER
from services.kernel.problems import as_problem, problem_response

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

    grant_type: Annotated[str, StringConstraints(max_length=100)] = Field(
        description="Always `client_credentials`", examples=["client_credentials"]
    )
    scope: Annotated[str, StringConstraints(max_length=1000)] = Field(
        "",
        description="Separated by spaces; all that the client has, when it is left out",
        examples=["audit.read"],
    )
    client_assertion_type: Annotated[str, StringConstraints(max_length=200)] = Field(
        "", description="With an assertion always this", examples=[_ASSERTION]
    )
    client_assertion: Annotated[str, StringConstraints(max_length=LONGEST)] = Field(
        "", description="The signed JWT of `private_key_jwt`; serves once"
    )


class SigningKey(BaseModel):
    """A public key as a JWK (RFC 8037)."""

    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    use: Literal["sig"]
    alg: Literal["EdDSA"]
    kid: str
    x: str


class KeySet(BaseModel):
    """The keys that are not retired (RFC 7517)."""

    keys: list[SigningKey]


class TokenProblem(BaseModel):
    """A problem of the token endpoint: RFC 9457's, with RFC 6749's `error`.

    `error` is the `code` too, but for what every endpoint answers alike: `malformed` is
    `invalid_request`, and `too_many_requests` is `slow_down` (RFC 8628, 3.5).
    """

    error: Literal[
        "invalid_request",
        "invalid_client",
        "invalid_scope",
        "unsupported_grant_type",
        "slow_down",
    ]
    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str


#: what clients take for a token unless it has an ``error``; 503 is none to them by its status
_ERRORS: Final[Mapping[type[Problem], str]] = {
    Malformed: "invalid_request",
    TooManyRequests: "slow_down",
}
_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    400: {
        "description": "`unsupported_grant_type`; `invalid_scope`: not one the client has",
        "model": TokenProblem,
    },
    401: {
        "description": "`invalid_client`: unknown, revoked, or not proved; which is not said",
        "model": TokenProblem,
    },
    422: {
        "description": "`malformed`: a parameter is missing, comes twice or cannot be one, or the "
        "client says who it is in two ways at once; the `error` is `invalid_request`, and the "
        "status that of every endpoint here, not RFC 6749's",
        "model": TokenProblem,
    },
    429: {
        "description": "`too_many_requests`: ask again after `Retry-After` seconds; the `error` is "
        "`slow_down`",
        "headers": RETRY_AFTER,
        "model": TokenProblem,
    },
}


class _TokenRoute(APIRoute):
    """Answers every refusal of the token endpoint as RFC 6749, 5.2, wants it, but for one status.

    What is malformed is 422, as at every other endpoint, where RFC 6749 has 400: clients go by
    ``error``, and what they are told by the status is that repeating it changes nothing.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request."""
        answer = super().get_route_handler()

        async def answered(request: Request) -> Response:
            try:
                return await answer(request)
            except (Problem, RequestValidationError, HTTPException) as error:
                problem = as_problem(error)
                known = isinstance(problem, OAuthProblem)
                code = problem.code if known else _ERRORS.get(type(problem))
                if code is None:
                    raise
                return _refusal(problem, code, request)

        return answered


def client_router(clients: Clients, keys: SigningKeys) -> APIRouter:
    """Return the routes of service clients and relying systems."""
    router = APIRouter(tags=["clients"])
    tokens = APIRouter(route_class=_TokenRoute)

    @tokens.post("/v1/token", responses=_REFUSALS)
    async def issue_client_token(
        request: Request, body: Annotated[TokenRequest, Form()]
    ) -> ClientToken:
        """Give a service client an access token (RFC 6749, 4.4; AC-SHARE-7).

        The client says who it is in one of two ways, never in both. *client_secret_basic*: its id
        and secret in `Authorization: Basic`. *private_key_jwt* (RFC 7523): `client_assertion_type`
        and `client_assertion` in the form, and no `Authorization`; the assertion is a JWT signed
        with the key that is registered for the client (Ed25519: `EdDSA`; P-256: `ES256`; RSA:
        `RS256`), with `iss` and `sub` the client's id, `aud` this endpoint's address or
        `casewarden`, `exp` at most ten minutes ahead, and a `jti` that was never used before.

        There is no refresh token: ask again. Failed attempts are throttled like logins (SG-9).
        """
        await _check_form(request)
        proof = _proof(request, body)
        if body.grant_type != "client_credentials":
            raise UnsupportedGrant
        issued = await clients.token(proof, body.scope, request.url, call_of(request))
        return ClientToken(
            access_token=issued.access_token, expires_in=issued.expires_in, scope=issued.scope
        )

    router.include_router(tokens)

    @router.get("/.well-known/jwks.json", response_model=KeySet)
    async def list_signing_keys() -> dict[str, list[dict[str, str]]]:
        """Publish the keys that access tokens are signed with (RFC 7517, RFC 8037).

        A valid signature does not say that the session lives: only a service here knows (SG-3).
        """
        return await keys.jwks()

    return router


def _proof(request: Request, body: TokenRequest) -> Proof:
    """Return how the client says who it is; raise :class:`InvalidClient` when it does not.

    Raises :class:`Malformed` when it does so in two ways at once (RFC 6749, 2.3).
    """
    header = request.headers.get("authorization")
    if header is not None and (body.client_assertion or body.client_assertion_type):
        raise Malformed("an assertion, or an Authorization header: not both")
    if body.client_assertion_type == _ASSERTION and body.client_assertion:
        return Proof(client_of(body.client_assertion), assertion=body.client_assertion)
    scheme, _, text = (header or "").partition(" ")
    if scheme.lower() != "basic" or len(text) > LONGEST:
        raise InvalidClient
    try:
        client_id, _, secret = base64.b64decode(text, validate=True).decode().partition(":")
    except ValueError:  # not base64, not ASCII, or not UTF-8
        raise InvalidClient from None
    return Proof(unquote_plus(client_id), secret=unquote_plus(secret))


async def _check_form(request: Request) -> None:
    """Raise :class:`Malformed` for a parameter that comes twice (RFC 6749, 3.2).

    And for a multipart form, which the framework would take as well (4.4.2).
    """
    if request.headers.get("content-type", "").lower().startswith("multipart/"):
        raise Malformed("the form is not application/x-www-form-urlencoded")
    form = await request.form()
    if len(form.multi_items()) != len(form):
        raise Malformed("a parameter comes twice")


def _refusal(problem: Problem, code: str, request: Request) -> Response:
    response = problem_response(problem, request.scope["casewarden.request_id"], error=code)
    if problem.status is HTTPStatus.UNAUTHORIZED:
        response.headers["www-authenticate"] = 'Basic realm="casewarden"'
    return response
