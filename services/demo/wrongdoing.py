"""The two wrongdoers of the school day, and those who forgot a password.

Nothing here gets round anything: it makes the same requests as everybody else, more curiously.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from services.demo.caller import Caller

#: what people choose when they may; no demonstration account has it
SPRAYED: Final = "Welcome2026!"
_TRIES_BEFORE_GIVING_UP: Final = 6


async def browse(caller: Caller, cases: Sequence[str], requests: Sequence[str]) -> str | None:
    """Look into case after case at night, most of them none of one's business.

    Returns the learner whose record was looked at longest, if any was shown.
    """
    await caller.login()
    listed = await caller.items("/cases/v1/cases?limit=20")
    for case in listed[:4]:
        for parts in ("overview,contacts", "items", "family"):
            await caller.ask("GET", f"/cases/v1/cases/{case['id']}?parts={parts}")
    for case_id in cases:
        await caller.ask("GET", f"/cases/v1/cases/{case_id}?parts=family,items,referral")
    for request_id in requests:
        await caller.ask("GET", f"/cases/v1/requests/{request_id}")
    return listed[0]["student_id"] if listed else None


async def spray(callers: Sequence[Caller]) -> int:
    """Try one password on many accounts from one address; return how many were tried."""
    tried = 0
    for caller in callers:
        answered = await caller.attempt(SPRAYED)
        tried += answered.status_code == HTTPStatus.UNAUTHORIZED
    return tried


async def remember(caller: Caller, draw: Random) -> None:
    """Mistype the password twice, then remember it."""
    for number in range(2):
        await caller.attempt(f"{caller.account.password[:-1]}{draw.randint(0, 9)}{number}")
        await asyncio.sleep(0.1)
    await caller.login()


async def give_up(caller: Caller) -> None:
    """Mistype the password until one is asked to wait, and leave it at that."""
    for number in range(_TRIES_BEFORE_GIVING_UP):
        answered = await caller.attempt(f"it was this one {number}")
        if answered.status_code == HTTPStatus.TOO_MANY_REQUESTS:
            return
