"""What a second factor may be: a one-time code that an app shows, or a recovery code (SG-2).

Pure: says whether a code fits what is kept of an account, and under which once-key the log lets it
serve. Place in the flow: the second step opens what is kept, asks here, and begins a session with
the factor's once-key.
"""

import hmac
from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal, NamedTuple
from uuid import UUID

from services.authz import totp

Method = Literal["totp", "recovery_code"]
METHODS: Final[tuple[Method, ...]] = ("totp", "recovery_code")


class Factor(NamedTuple):
    """A second factor that fits: its once-key, and the step it used up."""

    once: bytes
    step: int | None


def one_time_code(
    person_id: UUID, secret: str, code: str, now: datetime, after: int
) -> Factor | None:
    """Return the factor that ``code`` is, unless a code as new as step ``after`` was used."""
    step = totp.matching_step(secret, code, now, after)
    return None if step is None else Factor(totp.step_once(person_id, step), step)


def recovery_code(issued: UUID, kept: Sequence[str], code: str) -> Factor | None:
    """Return the factor that ``code`` is, of the set of hashes that event ``issued`` gave out."""
    offered = totp.recovery_hash(code)
    known = [one for one in kept if hmac.compare_digest(one, offered)]
    return Factor(totp.recovery_once(issued, offered), None) if known else None
