"""``casewarden demo login``: an access token for one account of the demonstration.

Asks the running API like anybody else: password first, then the code its authenticator shows. A
code works once, so logging in twice as the same person takes a new one (every 30 seconds).
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import httpx
import pyotp

from services.commands.demo import marked
from services.demo.accounts import accounts
from services.installation import UserError, embedded, running

if TYPE_CHECKING:
    from services.kernel.settings import Settings


def run(settings: Settings, role: str, number: int, username: str | None) -> str:
    """Return a token for ``username``, or for account ``number`` of ``role``."""
    with running(settings, embedded(settings)) as installation:
        mark = asyncio.run(marked(installation))
        now = installation.effects.now()
    found = accounts(mark, now.astimezone(ZoneInfo("Pacific/Auckland")).date())
    account = _chosen(found, role, number, username)
    code = pyotp.TOTP(account["totp_secret"]).at(now)
    base = f"http://{settings.host}:{settings.port}/authz/v1"
    with httpx.Client(base_url=base, timeout=20) as client:
        return _logged_in(client, account, code)


def _chosen(
    found: list[dict[str, Any]], role: str, number: int, username: str | None
) -> dict[str, Any]:
    people = [a for a in found if "username" in a]
    fitting = [a for a in people if (a["username"] == username if username else a["role"] == role)]
    if not 1 <= number <= len(fitting):
        raise UserError(f"the demonstration has no such account: {username or role} {number}")
    return fitting[number - 1]


def _logged_in(client: httpx.Client, account: dict[str, Any], code: str) -> str:
    try:
        first = client.post("/login", json={k: account[k] for k in ("username", "password")})
        if first.status_code == HTTPStatus.OK:
            proof = {"login_token": first.json()["login_token"], "method": "totp", "code": code}
            second = client.post("/login/verify", json=proof)
            if second.status_code == HTTPStatus.OK:
                return str(second.json()["access_token"])
            first = second
    except httpx.HTTPError:
        raise UserError("nothing serves there: start it with casewarden up") from None
    problem = first.json()
    hint = " (a code works once: wait for the next)" if first.status_code == 401 else ""  # noqa: PLR2004 - HTTP
    raise UserError(f"refused: {problem.get('title')}{hint}")
