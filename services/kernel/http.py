"""What a request says of itself, apart from what it asks: which call it is, from where, and why.

Place in the flow: the :mod:`services.kernel.boundary` has given it an id; who records what was
asked records this with it. Trusts nothing of it, and decides nothing by it.
"""

from dataclasses import dataclass, replace
from typing import Final

from starlette.requests import Request

from services.kernel import errors

#: how much of a user agent is kept
_USER_AGENT: Final = 300
#: the form of ``X-Request-ID`` (contract), as a pattern without anchors
REQUEST_ID: Final = "[A-Za-z0-9-]{1,64}"
#: Why somebody looks (SG-15); the optional ``Purpose`` header is one of these codes.
PURPOSES: Final = frozenset(
    {
        "attendance_support",
        "case_management",
        "case_review",
        "investigation",
        "contract_management",
        "prosecution",
        "safeguarding",
        "subject_request",
        "security_review",
        "breach_response",
        "system_support",
    }
)


@dataclass(frozen=True, slots=True)
class Call:
    """Where a request comes from, apart from who sends it."""

    request_id: str
    ip: str
    user_agent: str
    purpose: str | None = None


def call_of(request: Request) -> Call:
    """Return the call; raise :class:`Malformed` for a purpose that is not a published code."""
    purpose = request.headers.get("purpose")
    if purpose is not None and purpose not in PURPOSES:
        raise errors.Malformed("Purpose is not one of the published codes")
    return replace(call_without_purpose(request), purpose=purpose)


def call_without_purpose(request: Request) -> Call:
    """Return the call, whatever purpose it names: for what is recorded of anybody's request."""
    client = request.client
    return Call(
        request_id=request.scope["casewarden.request_id"],
        ip=client.host if client else "",
        user_agent=request.headers.get("user-agent", "")[:_USER_AGENT],
    )
