"""The second factor: time-based one-time codes (RFC 6238) and recovery codes (SG-2).

Pure functions over a secret and a moment. That a step or a recovery code serves only once is kept
by the log, under the once-keys named here: across processes, and for good.
"""

import base64
import hashlib
import hmac
from datetime import datetime
from typing import Final
from uuid import UUID

import pyotp

STEP_S: Final = 30
_DRIFT: Final = (0, -1, 1)
_SECRET_BYTES: Final = 20
_RECOVERY_CODES: Final = 10
_RECOVERY_BYTES: Final = 10
ISSUER: Final = "Casewarden"


def new_secret(token: bytes) -> str:
    """Return twenty random bytes as a base32 secret."""
    return base64.b32encode(token).decode().rstrip("=")


def secret_bytes() -> int:
    """Return how many random bytes :func:`new_secret` wants."""
    return _SECRET_BYTES


def uri(secret: str, username: str) -> str:
    """Return the ``otpauth://`` URI that authenticator apps read."""
    return pyotp.TOTP(secret).provisioning_uri(name=username, issuer_name=ISSUER)


def matching_step(secret: str, code: str, now: datetime, after: int) -> int | None:
    """Return the step, later than ``after``, whose code this is: now's, or one beside it."""
    generator = pyotp.TOTP(secret, interval=STEP_S)
    current = int(now.timestamp()) // STEP_S
    found = None
    for drift in _DRIFT:
        step = current + drift
        fits = hmac.compare_digest(generator.generate_otp(step).encode(), code.encode())
        if fits and step > after:
            found = step
    return found


def step_once(person_id: UUID, step: int) -> bytes:
    """Once-key of a person's step."""
    return f"totp:{person_id}:{step}".encode()


def new_recovery_codes(token: bytes) -> list[str]:
    """Return ten codes of eighty bits each, from one hundred random bytes."""
    chunks = (token[i : i + _RECOVERY_BYTES] for i in range(0, len(token), _RECOVERY_BYTES))
    texts = (base64.b32encode(chunk).decode().lower() for chunk in chunks)
    return ["-".join((t[:4], t[4:8], t[8:12], t[12:])) for t in texts]


def recovery_bytes() -> int:
    """Return how many random bytes :func:`new_recovery_codes` wants."""
    return _RECOVERY_CODES * _RECOVERY_BYTES


def recovery_hash(code: str) -> str:
    """Return what is kept of a recovery code; eighty random bits need no slow hash."""
    return hashlib.sha256(code.strip().lower().replace("-", "").encode()).hexdigest()


def recovery_once(issued: UUID, digest: str) -> bytes:
    """Once-key of one code of the set that event ``issued`` gave out."""
    return f"recovery:{issued}:{digest}".encode()
