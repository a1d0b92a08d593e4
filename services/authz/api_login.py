"""Routes before there is a session: login, refresh, enrolment.

Bodies are bounded and never repeated in an answer. Parse, one call, answer.
"""

from typing import Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, StringConstraints

from services.authz.attempts import BadCredentials
from services.authz.enrolment import BadCode, BadInvitation, Enrolment
from services.authz.login import Login
from services.authz.login_views import Session
from services.authz.passwords import REFUSALS
from services.authz.second_factors import METHODS, Method
from services.authz.sessions import Sessions
from services.authz.signing_keys import SigningKey
from services.authz.tokens import Tokens
from services.authz.verification import Verification
from services.kernel.errors import Malformed, Unauthenticated
from services.kernel.http import call_of
from services.kernel.problem_answers import one_of

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
    methods: tuple[Method, ...]


class SecondFactor(_Body):
    """The second factor, with the token of the first."""

    login_token: Token
    method: Method
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


def login_router(
    login: Login,
    verification: Verification,
    sessions: Sessions,
    tokens: Tokens,
    enrolment: Enrolment,
) -> APIRouter:
    """Return the routes of people."""
    router = APIRouter(tags=["login"])

    def handed_out(key: SigningKey, session: Session, refresh_token: str) -> SessionTokens:
        until = sessions.ends_at(session)
        access, seconds = tokens.access(key, session.person_id, session.id, until)
        return SessionTokens(access_token=access, expires_in=seconds, refresh_token=refresh_token)

    @router.post("/v1/login", responses=one_of(BadCredentials))
    async def begin_login(request: Request, body: Credentials) -> LoginBegun:
        """Offer the first factor (SG-2). The `login_token` serves five minutes.

        What is wrong is not said, and is said no sooner than after a fixed time.
        """
        token = await login.password(body.username, body.password, call_of(request))
        return LoginBegun(login_token=token, methods=METHODS)

    @router.post("/v1/login/verify", responses=one_of(BadCredentials))
    async def verify_login(request: Request, body: SecondFactor) -> SessionTokens:
        """Offer the second factor and begin a session (SG-2). A code serves once."""
        key, call = await tokens.key(), call_of(request)
        begun = await verification.verify(body.login_token, body.method, body.code, call)
        return handed_out(key, begun.session, begun.refresh_token)

    @router.post("/v1/token/refresh", responses=one_of(Unauthenticated))
    async def refresh_session(request: Request, body: RefreshToken) -> SessionTokens:
        """Take a new access token, and the next refresh token, for the one there is (SG-19).

        A refresh token serves once: a second use ends the session, whoever it is by.
        """
        key = await tokens.key()
        session, fresh = await sessions.refresh(body.refresh_token, call_of(request))
        return handed_out(key, session, fresh)

    @router.post("/v1/enrolment", responses=one_of(BadInvitation, Malformed, *REFUSALS))
    async def begin_enrolment(request: Request, body: Invited) -> Enrolling:
        """Choose a password with a one-time invitation (SG-4, SG-21)."""
        begun = await enrolment.begin(body.invitation, body.password, call_of(request))
        return Enrolling(totp_secret=begun.totp_secret, otpauth_uri=begun.otpauth_uri)

    @router.post("/v1/enrolment/confirm", responses=one_of(BadInvitation, Malformed, BadCode))
    async def confirm_enrolment(request: Request, body: Confirmation) -> Enrolled:
        """Confirm the second factor; password and factor count from now (SG-2)."""
        codes = await enrolment.confirm(body.invitation, body.code, call_of(request))
        return Enrolled(recovery_codes=tuple(codes))

    return router
