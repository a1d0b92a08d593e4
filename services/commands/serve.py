"""``casewarden serve``: one service alone, or all three, over a database that is migrated."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from services.commands import preconditions
from services.commands.serving import serve_until_signalled
from services.installation import embedded, running
from services.kernel.events import Service
from services.server import Signals, claim

if TYPE_CHECKING:
    from services.kernel.settings import Settings


def run(settings: Settings, name: str) -> None:
    """Serve until a signal. Migrates nothing: in production that is a step of its own."""
    import uvloop

    services = tuple(Service) if name == "all" else (Service(name),)
    claimed = claim(settings)

    def ready() -> None:
        click.echo(f"casewarden: {name} serves on port {settings.port}", err=True)

    postgres = embedded(settings)
    with (
        Signals() as signals,
        running(settings, postgres) as installation,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        preconditions.check_directory(installation)
        runner.run(
            serve_until_signalled(
                settings,
                installation,
                services,
                claimed,
                postgres,
                signals,
                ready,
                lambda: preconditions.check_databases(installation, services),
            )
        )
