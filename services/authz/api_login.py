"""Routes before there is a session: login, refresh, enrolment, client tokens, public keys.

Bodies are bounded and never repeated in an answer. Parse, one call, answer.
"""

import base64
from http import HTTPStatus
from typing import Annotated, Final, Literal
from urllib.parse import unquote_plus

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, StringConstraints

from services.authz.clients import (
    ASSERTION,
    Clients,
    InvalidClient,
    OAuthProblem,
    Proof,
    UnsupportedGrant,
    client_of,
)
from services.authz.enrolment import Enrolment
from services.authz.login import METHODS, Login
from services.authz.sessions import Sessions
from services.authz.signing_keys import SigningKeys
from services.authz.tokens import Tokens
from services.kernel.http import call_of

_LONGEST: Final = 4096
Short = Annotated[str, StringConstraints(min_length=1, max_length=254)]
Secret = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
Token = Annotated[str, StringConstraints(min_length=1, max_length=2048)]
#: a one-time or recovery code: what a keyboard prints in ASCII, and nothing else
Code = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[ -~]+$")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class Credentials(_Body):
    """The first factor."""

    username: Short
    password: Secret


class LoginBegun(BaseModel):
    """The first factor was right."""

    login_token: str
    methods: tuple[str, ...]


class SecondFactor(_Body):
    """The second factor, with the token of the first."""

    login_token: Token
    method: Literal["totp", "recovery_code"]
    code: Code


class RefreshToken(_Body):
    """A refresh token, good for one use."""

    refresh_token: Token


class SessionTokens(BaseModel):
    """An access token, and the refresh token that follows it."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - RFC 6750's name of the scheme
    expires_in: int
    refresh_token: str


class ClientToken(BaseModel):
    """A service client's access token (RFC 6749, 5.1)."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - RFC 6750's name of the scheme
    expires_in: int
    scope: str


class Invited(_Body):
    """An invitation, and the password chosen."""

    invitation: Token
    password: Secret


class Enrolling(BaseModel):
    """What an authenticator app needs; shown once."""

    totp_secret: str
    otpauth_uri: str


class Confirmation(_Body):
    """An invitation, and the code that the authenticator app shows."""

    invitation: Token
    code: Annotated[Code, StringConstraints(max_length=16)]


class Enrolled(BaseModel):
    """Recovery codes; shown once."""

    recovery_codes: tuple[str, ...]


class TokenRequest(BaseModel):
    """A client credentials request (RFC 6749, 4.4.2)."""

    model_config = ConfigDict(hide_input_in_errors=True)

    grant_type: Annotated[str, StringConstraints(max_length=100)]
    scope: Annotated[str, StringConstraints(max_length=1000)] = ""
    client_assertion_type: Annotated[str, StringConstraints(max_length=200)] = ""
    client_assertion: Annotated[str, StringConstraints(max_length=_LONGEST)] = ""


def login_router(
    login: Login, sessions: Sessions, tokens: Tokens, enrolment: Enrolment
) -> APIRouter:
    """Return the routes of people."""
    router = APIRouter(tags=["login"])

    @router.post("/v1/login")
    async def begin(request: Request, body: Credentials) -> LoginBegun:
        """Offer the first factor (SG-2)."""
        token = await login.password(body.username, body.password, call_of(request))
        return LoginBegun(login_token=token, methods=METHODS)

    @router.post("/v1/login/verify")
    async def verify(request: Request, body: SecondFactor) -> SessionTokens:
        """Offer the second factor and begin a session (SG-2)."""
        begun = await login.verify(body.login_token, body.method, body.code, call_of(request))
        session = begun.session
        access, seconds = await tokens.access(session.person_id, session.id, session.expires_at)
        return SessionTokens(
            access_token=access, expires_in=seconds, refresh_token=begun.refresh_token
        )

    @router.post("/v1/token/refresh")
    async def refresh(request: Request, body: RefreshToken) -> SessionTokens:
        """Rotate the refresh token (SG-19)."""
        session, fresh = await sessions.refresh(body.refresh_token, call_of(request))
        access, seconds = await tokens.access(session.person_id, session.id, session.expires_at)
        return SessionTokens(access_token=access, expires_in=seconds, refresh_token=fresh)

    @router.post("/v1/enrolment")
    async def enrol(request: Request, body: Invited) -> Enrolling:
        """Choose a password with a one-time invitation (SG-4, SG-21)."""
        begun = await enrolment.begin(body.invitation, body.password, call_of(request))
        return Enrolling(totp_secret=begun.totp_secret, otpauth_uri=begun.otpauth_uri)

    @router.post("/v1/enrolment/confirm")
    async def confirm(request: Request, body: Confirmation) -> Enrolled:
        """Confirm the second factor; password and factor count from now (SG-2)."""
        codes = await enrolment.confirm(body.invitation, body.code, call_of(request))
        return Enrolled(recovery_codes=tuple(codes))

    return router


def client_router(clients: Clients, keys: SigningKeys) -> APIRouter:
    """Return the routes of service clients and relying systems."""
    router = APIRouter(tags=["clients"])

    @router.post("/v1/token")
    async def token(request: Request, body: Annotated[TokenRequest, Form()]) -> ClientToken:
        """Give a service client an access token."""
        proof = _proof(request, body)
        if body.grant_type != "client_credentials":
            raise UnsupportedGrant
        audience = str(request.url.replace(query="", fragment=""))
        issued = await clients.token(proof, body.scope, audience, call_of(request))
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
    if body.client_assertion_type == ASSERTION and body.client_assertion:
        return Proof(client_of(body.client_assertion), assertion=body.client_assertion)
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic" or len(text) > _LONGEST:
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
