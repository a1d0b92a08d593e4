"""``casewarden verify``: the whole log checked, beside a running service or without one."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import click

from services import witness
from services.installation import UserError, connect_as_owner, embedded, running
from services.progress import shown
from services.verification import Summary, Wrong, verify

if TYPE_CHECKING:
    from services.kernel.runtime import Installation
    from services.kernel.settings import Settings


def run(settings: Settings) -> int:
    """Print the summary, or the first wrong position; return the exit status."""
    with running(settings, embedded(settings)) as installation:
        try:
            summary = asyncio.run(_verify(installation))
        except Wrong as wrong:
            click.echo(f"casewarden: position {wrong.position} is wrong: {wrong.why}", err=True)
            return 1
    click.echo(f"{summary.events} events, root {summary.root}")
    if summary.aside:
        click.echo(f"set aside, and in no read model: {', '.join(map(str, summary.aside))}")
    return 0


async def _verify(installation: Installation) -> Summary:
    owner = await connect_as_owner(installation)
    try:
        if await owner.fetchval("select to_regclass('log.event')") is None:
            raise UserError("there is no log in this database: run casewarden migrate")
        total = await owner.fetchval("select coalesce(max(position) + 1, 0) from log.event")
        with shown() as progress, progress.stage("verifying", total) as stage:
            path = witness.path_of(installation)
            known = witness.seen(path)
            summary = await verify(owner, known, stage.advance)
    finally:
        await owner.close()
    with contextlib.suppress(OSError):
        witness.extend(path, summary.events - len(summary.leaves), summary.leaves)
    return summary
