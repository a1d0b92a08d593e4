"""``casewarden demo login``: an access token for one account of the demonstration.

Asks the running API like anybody else: password first, then the code its authenticator shows. A
code works once, so whoever logged in with it already waits for the next, 30 seconds at most.
"""

from __future__ import annotations

import asyncio
import math
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import click
import httpx
import pyotp

from services.commands.demo import day_of, marked, served_at
from services.demo.accounts import accounts
from services.installation import UserError, embedded, running

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from services.kernel.effects import Effects
    from services.kernel.settings import Settings


def run(settings: Settings, role: str, number: int, username: str | None) -> str:
    """Return a token for ``username``, or for account ``number`` of ``role``."""
    with running(settings, embedded(settings)) as installation:
        mark = asyncio.run(marked(installation))
    effects = installation.effects
    found = [a for a in accounts(mark, day_of(effects.now())) if "username" in a]
    account = called(found, username) if username else numbered(found, role, number)
    base = served_at(settings)
    try:
        with httpx.Client(base_url=f"{base}/authz/v1", timeout=20, trust_env=False) as client:
            return logged_in(client, account, effects)
    except (httpx.ConnectError, httpx.InvalidURL):
        raise UserError(f"nothing serves on {base}: start it with casewarden up") from None
    except (httpx.HTTPError, KeyError, TypeError, ValueError):
        raise UserError(f"what serves on {base} does not answer as Casewarden does") from None


def called(people: Sequence[dict[str, Any]], username: str) -> dict[str, Any]:
    """Return the account with this user name; raise :class:`UserError` when there is none."""
    for account in people:
        if account["username"] == username:
            return account
    raise UserError(f"the demonstration has no account called {username}")


def numbered(people: Sequence[dict[str, Any]], role: str, number: int) -> dict[str, Any]:
    """Return account ``number`` of ``role``, from 1; raise :class:`UserError` that says how many.

    Roles without any account are unknown ones.
    """
    fitting = [account for account in people if account["role"] == role]
    if not fitting:
        roles = ", ".join(sorted({account["role"] for account in people}))
        raise UserError(f"the demonstration has nobody of role {role}; it has {roles}")
    if not 1 <= number <= len(fitting):
        there = f"1 to {len(fitting)}" if len(fitting) > 1 else "1 alone"
        raise UserError(f"there is no {role} number {number}: {there}")
    return fitting[number - 1]


def logged_in(
    client: httpx.Client,
    account: dict[str, Any],
    effects: Effects,
    wait: Callable[[float], None] = time.sleep,
) -> str:
    """Return a token of a new session; raise :class:`UserError` with what refuses it.

    A code that is refused was used: it is said that the next one is waited for, and done, once.
    """
    totp, now = pyotp.TOTP(account["totp_secret"]), effects.now()
    answer = _proved(client, account, totp.at(now))
    if answer.status_code == HTTPStatus.UNAUTHORIZED:
        wait_s = totp.interval - now.timestamp() % totp.interval
        seconds = math.ceil(wait_s)
        click.echo(
            f"casewarden: that code was used; waiting {seconds} s for the next one", err=True
        )
        wait(wait_s)
        answer = _proved(client, account, totp.at(now, counter_offset=1))
    return str(_taken(answer)["access_token"])


def _proved(client: httpx.Client, account: dict[str, Any], code: str) -> httpx.Response:
    """Return the answer to the code, after the password, which is not refused."""
    credentials = {key: account[key] for key in ("username", "password")}
    begun = _taken(client.post("/login", json=credentials))
    proof = {"login_token": begun["login_token"], "method": "totp", "code": code}
    return client.post("/login/verify", json=proof)


def _taken(answer: httpx.Response) -> dict[str, Any]:
    said: dict[str, Any] = answer.json()
    if answer.status_code != HTTPStatus.OK:
        raise UserError(f"refused: {said['title']}")
    return said
