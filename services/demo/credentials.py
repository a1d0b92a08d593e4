"""Demonstration credentials, derived from the seed so that they can be shown again.

For demonstrations only. Whoever knows the seed knows every one of them, so they
must never be accepted by an installation that holds real records.

Owns passwords, one-time-code secrets and the service clients of the demonstration.
"""

from __future__ import annotations

import base64
import hmac
import re
from dataclasses import dataclass
from hashlib import sha256

from services.demo.tables import words

WORDS_IN_A_PASSWORD = 5
TOTP_BYTES = 20


@dataclass(frozen=True, slots=True)
class ServiceClient:
    """A system that asks in its own name; its secret comes from `secret_for`."""

    client_id: str
    name: str
    scopes: tuple[str, ...]


SERVICE_CLIENTS = (
    ServiceClient(
        "demo-student-management", "Student management system (decisions)", ("decisions",)
    ),
    ServiceClient("demo-ministry-feeds", "Ministry enrolment and attendance feeds", ("feeds",)),
    ServiceClient(
        "demo-security-monitoring", "Security monitoring (audit export)", ("audit.read",)
    ),
)


def password_for(seed: int, username: str) -> str:
    """Return a passphrase of five words and two digits, at least 24 characters.

    It holds no part of the username of three letters or more (SG-4, SG-21).
    """
    own = [part for part in re.split(r"[^a-z]+", username.lower()) if len(part) > 2]  # noqa: PLR2004
    attempt = 0
    while True:
        candidate = _passphrase(_derive(seed, f"password:{attempt}:{username}"))
        if not any(part in candidate for part in own):
            return candidate
        attempt += 1


def totp_secret_for(seed: int, username: str) -> str:
    """Return a one-time-code secret of 20 bytes in base32 (RFC 4648, no padding)."""
    return base64.b32encode(_derive(seed, f"totp:{username}")[:TOTP_BYTES]).decode()


def secret_for(seed: int, client_id: str) -> str:
    """Return the secret of a service client: 32 bytes in base64url without padding."""
    return base64.urlsafe_b64encode(_derive(seed, f"client:{client_id}")).decode().rstrip("=")


def _derive(seed: int, label: str) -> bytes:
    return hmac.digest(f"casewarden-demonstration-only:{seed}".encode(), label.encode(), sha256)


def _passphrase(digest: bytes) -> str:
    number = int.from_bytes(digest)
    vocabulary = words()
    chosen: list[str] = []
    while len(chosen) < WORDS_IN_A_PASSWORD:
        number, index = divmod(number, len(vocabulary))
        if vocabulary[index] not in chosen:
            chosen.append(vocabulary[index])
    return "-".join(chosen) + f"-{number % 90 + 10}"
