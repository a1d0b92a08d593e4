"""``casewarden rebuild``: read models emptied and folded again from the log.

A projection can always be dropped: the log is the only truth. While it is folded again its service
answers from what is folded so far, or 503; so stop the service, or expect that.
"""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Final

import click

from services.app import build_service
from services.commands import preconditions
from services.installation import UserError, embedded, running
from services.kernel.events import Service
from services.progress import shown

if TYPE_CHECKING:
    from services.kernel.runtime import Installation
    from services.kernel.settings import Settings
    from services.progress import Progress

#: objects made between two looks for cycles: folding leaves none behind
_GARBAGE: Final = 200_000


def run(settings: Settings, names: tuple[str, ...]) -> None:
    """Rebuild the projections called ``names`` (``cases.records``, or ``cases``), or all."""
    unknown = [name for name in names if name.partition(".")[0] not in {str(s) for s in Service}]
    if unknown:
        raise UserError(f"there is no projection {unknown[0]}; each begins with a service's name")
    with running(settings, embedded(settings)) as installation, shown() as progress:
        gc.set_threshold(_GARBAGE)
        asyncio.run(preconditions.check(installation))
        for service in Service:
            mine = [name for name in names if name.partition(".")[0] == service]
            if mine or not names:
                asyncio.run(_rebuild(settings, installation, service, mine, progress))


async def _rebuild(
    settings: Settings,
    installation: Installation,
    service: Service,
    names: list[str],
    progress: Progress,
) -> None:
    built = await build_service(service, installation, settings)
    try:
        known = tuple(name for projector in built.projectors for name in projector.names)
        wanted = _chosen(service, names, known)
        for projector in built.projectors:
            chosen = [name for name in projector.names if name in wanted]
            if chosen:
                with progress.stage(f"rebuilding {', '.join(chosen)}"):
                    folded = await projector.rebuild(chosen)
                click.echo(f"{', '.join(chosen)}: {folded} events folded")
    finally:
        await built.runtime.stop()


def _chosen(service: Service, names: list[str], known: tuple[str, ...]) -> tuple[str, ...]:
    wrong = [name for name in names if name not in (*known, str(service))]
    if wrong:
        raise UserError(f"there is no projection {wrong[0]}; {service} has {', '.join(known)}")
    return known if not names or str(service) in names else tuple(names)
