"""``casewarden demo login``: an access token for one account of the demonstration.

Asks the running API like anybody else: password first, then the code its authenticator shows. A
code works once, so logging in twice as the same person takes a new one (every 30 seconds).
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import httpx
import pyotp

from services.commands.demo import day_of, marked, served_at
from services.demo.accounts import accounts
from services.installation import UserError, embedded, running

if TYPE_CHECKING:
    from services.kernel.settings import Settings


def run(settings: Settings, role: str, number: int, username: str | None) -> str:
    """Return a token for ``username``, or for account ``number`` of ``role``."""
    with running(settings, embedded(settings)) as installation:
        mark = asyncio.run(marked(installation))
        now = installation.effects.now()
    found = accounts(mark, day_of(now))
    account = _chosen(found, role, number, username)
    code = pyotp.TOTP(account["totp_secret"]).at(now)
    base = served_at(settings)
    with httpx.Client(base_url=f"{base}/authz/v1", timeout=20, trust_env=False) as client:
        try:
            return _logged_in(client, account, code)
        except httpx.ConnectError:
            raise UserError(f"nothing serves on {base}: start it with casewarden up") from None
        except (httpx.HTTPError, KeyError, ValueError):
            raise UserError(f"what serves on {base} does not answer as Casewarden does") from None


def _chosen(
    found: list[dict[str, Any]], role: str, number: int, username: str | None
) -> dict[str, Any]:
    people = [a for a in found if "username" in a]
    fitting = [a for a in people if (a["username"] == username if username else a["role"] == role)]
    if not 1 <= number <= len(fitting):
        raise UserError(f"the demonstration has no such account: {username or role} {number}")
    return fitting[number - 1]


def _logged_in(client: httpx.Client, account: dict[str, Any], code: str) -> str:
    answer = client.post("/login", json={k: account[k] for k in ("username", "password")})
    if answer.status_code == HTTPStatus.OK:
        proof = {"login_token": answer.json()["login_token"], "method": "totp", "code": code}
        answer = client.post("/login/verify", json=proof)
        if answer.status_code == HTTPStatus.OK:
            return str(answer.json()["access_token"])
    again = answer.status_code == HTTPStatus.UNAUTHORIZED
    hint = " (a code works once: wait for the next)" if again else ""
    raise UserError(f"refused: {answer.json()['title']}{hint}")
