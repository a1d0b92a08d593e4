"""Assertions that service clients sign: ``private_key_jwt`` (RFC 7523, section 3).

Pure: says which client an assertion claims to be, and whether it proves it. Place in the flow: the
token endpoint asks here for the once-key under which the log takes an assertion once. The algorithm
is the registered key's own, never the assertion's choice (RFC 8725, 3.1), and every time is
compared with the caller's ``now``.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import jwt

from services.authz.client_public_keys import UnfitKey, algorithm_of
from services.authz.tokens import digest

LONGEST: Final = 4096
_LONGEST_LIFE: Final = timedelta(minutes=10)
#: how far a client's clock may be ahead of ours; one that is behind signs for longer
_AHEAD: Final = timedelta(seconds=30)
_REQUIRED: Final = ("exp", "aud", "iss", "sub", "jti")


class NoProof(Exception):  # noqa: N818 - an answer, not a fault
    """The assertion does not prove who the client is."""


def client_of(assertion: str) -> str:
    """Return which client an assertion claims to be, unverified; empty when it claims none."""
    try:
        payload = jwt.decode(assertion, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError):
        return ""
    return str(payload.get("sub", ""))


def proved(
    assertion: str, client_id: str, public_key: str, audiences: Sequence[str], now: datetime
) -> bytes:
    """Return the once-key of an assertion that holds at ``now``; raise :class:`NoProof`."""
    try:
        payload = jwt.decode(
            assertion,
            public_key,
            algorithms=[algorithm_of(public_key)],
            audience=list(audiences),
            issuer=client_id,
            subject=client_id,
            options={
                "require": list(_REQUIRED),
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
            },
        )
        in_time = _in_time(payload, now)
        once = f"assertion:{client_id}:{digest(str(payload['jti']))}".encode()
    except (
        jwt.PyJWTError,
        UnfitKey,
        ValueError,
        TypeError,
        OverflowError,
        OSError,
        RecursionError,
    ):
        raise NoProof from None
    if not in_time:
        raise NoProof
    return once


def _in_time(payload: dict[str, Any], now: datetime) -> bool:
    """Say whether an assertion is not over, not too long-lived, and not of the future."""
    begun = (
        _moment(payload[claim]) <= now + _AHEAD for claim in ("nbf", "iat") if claim in payload
    )
    return now < _moment(payload["exp"]) <= now + _LONGEST_LIFE + _AHEAD and all(begun)


def _moment(claim: object) -> datetime:
    return datetime.fromtimestamp(float(str(claim)), UTC)
