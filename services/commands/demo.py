"""``casewarden demo``: who can log in to the demonstration, and how.

Refused on a database that was not started as a demonstration: the mark is in the database itself.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import asyncpg
import click

from services import demonstration
from services.installation import UserError, connect_as_owner, embedded, running

if TYPE_CHECKING:
    from datetime import date, datetime

    from services.demonstration import Mark
    from services.kernel.runtime import Installation
    from services.kernel.settings import Settings

_REGION: Final = ZoneInfo("Pacific/Auckland")
#: addresses to listen on that this machine reaches as itself
_OWN: Final = ("0.0.0.0", "::", "localhost")  # noqa: S104 - compared with, never listened on


def run(settings: Settings, *, as_json: bool) -> None:
    """Print every account as JSON, or two of each role for people to read."""
    from services.demo.accounts import accounts

    with running(settings, embedded(settings)) as installation:
        mark = asyncio.run(marked(installation))
        now = installation.effects.now()
    found = accounts(mark, day_of(now))
    if as_json:
        click.echo(json.dumps(found, indent=1, ensure_ascii=False))
    else:
        _table(found)


def served_at(settings: Settings) -> str:
    """Return the address by which this machine reaches what these settings serve."""
    host = "127.0.0.1" if settings.host in _OWN else settings.host
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def day_of(moment: datetime) -> date:
    """Return the day it is in the demonstration's region at ``moment``."""
    return moment.astimezone(_REGION).date()


async def marked(installation: Installation) -> Mark:
    """Return the mark of the database; raise :class:`UserError` when it is no demonstration."""
    owner = await connect_as_owner(installation)
    try:
        mark = await demonstration.read(owner)
    except asyncpg.InsufficientPrivilegeError:
        raise UserError("CASEWARDEN_DATABASE_URL does not name the database's owner") from None
    finally:
        await owner.close()
    if mark is None:
        raise UserError("this database was not started as a demonstration")
    if not mark.finished:
        raise UserError("the demonstration is not loaded yet: casewarden up loads it")
    return mark


def _table(found: list[dict[str, Any]]) -> None:
    shown: dict[str, int] = {}
    click.echo(f"{'role':26} {'username':26} {'password':44} organisation")
    for account in found:
        role = account["role"]
        shown[role] = shown.get(role, 0) + 1
        if "username" in account and shown[role] <= 2:  # noqa: PLR2004 - two of each are enough
            click.echo(
                f"{role:26} {account['username']:26} {account['password']:44}"
                f" {account['organisation']}"
            )
    click.echo(f"\n{len(found)} accounts and clients; with their TOTP secrets: demo --json")
