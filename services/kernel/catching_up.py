"""Waiting for folds that have far to go when a service starts: for as long as they come further.

After an upgrade that keeps a read model in another shape the whole log is folded anew. Owns how
long that is waited for, and the line in the log that says how far it is. Place in the flow: before
a service serves. Folds nothing that the projector would not.
"""

import asyncio
from typing import Final

import structlog

from services.kernel.background import ended, patiently
from services.kernel.database import passes
from services.kernel.projector import Projector

_TELL_S: Final = 5.0
_logger = structlog.get_logger(__name__)


async def caught_up(projector: Projector) -> None:
    """Return when the log as it is now is folded, however long that takes.

    Raises what it last met when nothing was folded for a minute, and at once when a fold stopped.
    """
    head = await patiently(projector.head)
    telling = asyncio.create_task(_tell(projector))
    try:
        while not await _further(projector, head):
            pass
    finally:
        await ended(telling)


async def _further(projector: Projector, head: int) -> bool:
    """Fold up to ``head``; say no when that broke off and came further than it was."""
    folded = projector.progress.folded
    try:
        await patiently(
            lambda: projector.reached(head, within_s=None), hopeless=lambda: projector.stopped
        )
    except Exception as error:
        if not passes(error) or projector.stopped or projector.progress.folded <= folded:
            raise
        return False
    return True


async def _tell(projector: Projector) -> None:
    while True:
        await asyncio.sleep(_TELL_S)
        progress = projector.progress
        _logger.info(
            "catching_up",
            projections=", ".join(projector.names),
            folded=progress.folded,
            to_fold=progress.to_fold,
        )
