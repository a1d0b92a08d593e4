"""``casewarden keys rotate``: wrap the data keys under this epoch's key, destroy former ones.

Run monthly, as the owner of the key store, on the machine that holds the epoch keys. A data key
that was deleted before is unreadable in every backup once the key that wrapped it is destroyed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import click

from services.installation import UserError, embedded, running
from services.kernel.epochs import EpochKeys
from services.kernel.keystore import KeyStore
from services.kernel.sealing import KeyNotLoaded, SealBroken

if TYPE_CHECKING:
    from services.kernel.runtime import Installation
    from services.kernel.settings import Settings


def run(settings: Settings) -> None:
    """Rewrap and destroy; prints the names of the keys that are gone."""
    with running(settings, embedded(settings)) as installation:
        gone = asyncio.run(_rotate(installation))
    epoch_keys = ", ".join(gone) if gone else "none was of an epoch that ended an hour ago or more"
    click.echo(f"destroyed: {epoch_keys}")


async def _rotate(installation: Installation) -> list[str]:
    try:
        pool = await asyncpg.create_pool(
            installation.server.keys_url, min_size=1, max_size=1, command_timeout=600
        )
    except (OSError, asyncpg.PostgresError, TimeoutError) as error:
        raise UserError(f"the key store cannot be reached: {error}") from None
    async with pool:
        effects = installation.effects
        store = KeyStore(pool, EpochKeys(installation.data / "keys", effects), effects)
        try:
            return await store.rewrap()
        except (SealBroken, KeyNotLoaded):
            raise UserError(
                f"nothing is rotated: {installation.data / 'keys'} has not every key in use"
            ) from None
