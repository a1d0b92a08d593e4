"""``casewarden demo load``: what ``up`` runs the first time, in a process of its own.

Loads the region into an empty log and folds it, so that the serving process starts warm and lean.
"""

from __future__ import annotations

import asyncio
import gc
import signal
from typing import TYPE_CHECKING, Final

from services import demonstration as marker
from services.app import House
from services.commands import preconditions
from services.commands.demo import day_of
from services.commands.serving import as_user_errors
from services.demo import seed
from services.installation import UserError, connect_as_owner, embedded, running
from services.kernel.events import Service
from services.kernel.logs import configure_logging
from services.progress import shown

if TYPE_CHECKING:
    from services.kernel.runtime import Installation
    from services.kernel.settings import Settings
    from services.progress import Progress

_FOLD_S: Final = 300.0
#: objects made between two looks for cycles
_GARBAGE: Final = 200_000


def run(settings: Settings) -> None:
    """Load, or finish loading; load nothing twice, and wait for whoever is loading."""
    # at once, for there is nothing to leave: up, which sends it, keeps the database itself
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with running(settings, embedded(settings)) as installation, shown() as progress:
        # the whole region stays in memory: looking through it for garbage took a tenth of the time
        gc.set_threshold(_GARBAGE)
        # the progress bar says already how far folding has come
        configure_logging(settings.log_format, "WARNING")
        asyncio.run(_run(settings, installation, progress))


async def _run(settings: Settings, installation: Installation, progress: Progress) -> None:
    await preconditions.check(installation)
    owner = await connect_as_owner(installation)
    try:
        if not await marker.turn(owner):
            with progress.stage("waiting for another process that loads the demonstration"):
                await marker.wait_turn(owner)
        today = day_of(installation.effects.now())
        try:
            mark = await marker.begin(owner, marker.SEED, today)
        except ValueError as error:
            raise UserError(f"the demonstration is not loaded: {error}") from None
        if not mark.finished:
            await seed.load(installation, owner, mark, progress)
    finally:
        await owner.close()
    with progress.stage("folding"):
        with as_user_errors():
            house = await House.build(installation, settings, tuple(Service))
            await house.start()
        try:
            await house.caught_up(_FOLD_S)
        finally:
            await house.stop()
