"""``casewarden set-aside``: have every fold pass over one event that none understands.

Works beside a running service or without one: folds that have stopped at the event go on by
themselves within seconds. Read models that had folded it already are rebuilt here, so that they are
the same as after any later rebuild.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import asyncpg
import click

from services.app import build_service
from services.installation import UserError, connect_as_owner, embedded, running
from services.kernel.aside import Aside, NotSetAside, set_aside
from services.kernel.events import Service
from services.progress import shown

if TYPE_CHECKING:
    from services.kernel.runtime import Installation
    from services.kernel.settings import Settings
    from services.progress import Progress


def run(settings: Settings, position: int, reason: str, *, yes: bool) -> None:
    """Set ``position`` aside and rebuild what had folded it; say what was done.

    It cannot be taken back: on a terminal it asks, and elsewhere ``yes`` has to be said.
    """
    with running(settings, embedded(settings)) as installation:
        if not yes:
            _ask(position, asyncio.run(_type_of(installation, position)))
        with shown() as progress:
            aside = asyncio.run(_append(installation, position, reason))
            click.echo(f"position {position} ({aside.recorded.event.type}) is set aside")
            for service in Service:
                asyncio.run(_rebuild(settings, installation, service, aside, progress))


def _ask(position: int, type_: str) -> None:
    """Return when whoever sits at the terminal agrees; raise otherwise."""
    if not sys.stdin.isatty():
        raise UserError("setting a position aside cannot be taken back: say --yes")
    click.confirm(
        f"No read model will ever show position {position} ({type_}) again. Set it aside?",
        abort=True,
        err=True,
    )


async def _type_of(installation: Installation, position: int) -> str:
    owner = await connect_as_owner(installation)
    try:
        type_: str | None = await owner.fetchval(
            "select type from log.event where position = $1", position
        )
    except asyncpg.UndefinedTableError:
        raise UserError("the database is not migrated: run casewarden migrate") from None
    finally:
        await owner.close()
    if type_ is None:
        raise UserError(f"there is no position {position}")
    return type_


async def _append(installation: Installation, position: int, reason: str) -> Aside:
    owner = await connect_as_owner(installation)
    try:
        return await set_aside(owner, installation.effects, position, reason)
    except NotSetAside as refused:
        raise UserError(str(refused)) from None
    except asyncpg.InsufficientPrivilegeError:
        raise UserError("only who migrated the database can set a position aside") from None
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedFunctionError):
        raise UserError("the database is not migrated: run casewarden migrate") from None
    finally:
        await owner.close()


async def _rebuild(
    settings: Settings,
    installation: Installation,
    service: Service,
    aside: Aside,
    progress: Progress,
) -> None:
    built = await build_service(service, installation, settings)
    try:
        for projector in built.projectors:
            names = [name for name in projector.folding(aside.recorded) if name in aside.past]
            if names:
                with progress.stage(f"rebuilding {', '.join(names)}"):
                    await projector.rebuild(names)
    finally:
        await built.runtime.stop()
