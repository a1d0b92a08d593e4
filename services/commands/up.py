"""``casewarden up``: the whole of it with one command.

Starts the embedded database unless one is named, migrates, loads the demonstration into a log that
is empty, and serves. Migrating and loading run in processes of their own: what they need in
memory goes with them.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Literal

import asyncpg
import click
from stamina.instrumentation import set_on_retry_hooks

from services import demonstration
from services.commands import migrate, preconditions
from services.commands.serving import as_user_errors, serve_until_signalled
from services.installation import UserError, connect_as_owner, embedded, installation_of
from services.kernel.background import patiently
from services.kernel.cluster import PostgresError
from services.kernel.database import CONNECTION_ERRORS, is_connection_error
from services.kernel.events import Service
from services.server import Signals, claim

if TYPE_CHECKING:
    import socket

    from services.kernel.postgres import EmbeddedPostgres
    from services.kernel.runtime import Installation
    from services.kernel.settings import Settings


def run(settings: Settings) -> None:
    """Serve until a signal; repeating them changes nothing."""
    began = time.monotonic()
    claimed = claim(settings)
    postgres = embedded(settings)
    with Signals() as signals:
        try:
            if postgres is not None:
                postgres.start()
            installation = installation_of(settings, postgres)
            asyncio.run(_answering(installation, signals))
            loaded = _prepare(installation, signals)
            ready = _Ready(settings, began, demonstration=loaded)
            _serve(settings, installation, claimed, postgres, signals, ready)
        except PostgresError as error:
            raise UserError(str(error)) from None
        except _Stopped:
            click.echo("casewarden: stopped", err=True)
        finally:
            claimed.close()
            if postgres is not None:
                postgres.stop()


def _serve(
    settings: Settings,
    installation: Installation,
    claimed: socket.socket,
    postgres: EmbeddedPostgres | None,
    signals: Signals,
    ready: _Ready,
) -> None:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(
            serve_until_signalled(
                settings, installation, tuple(Service), claimed, postgres, signals, ready
            )
        )


class _Stopped(Exception):  # noqa: N818 - what was asked for
    """A signal came before anything was served."""


def _child(signals: Signals, *arguments: str) -> None:
    """Run another command of ours in a process of its own; end with it when it fails.

    It has a session of its own, so that Ctrl-C reaches it once, from here, as SIGTERM.
    """
    _check(signals)
    command = [sys.executable, "-m", "services.cli", *arguments]
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    signals.tell(child.terminate)
    status = child.wait()
    signals.tell(None)
    _check(signals)
    if status > 0:
        # it has said why
        sys.exit(status)
    if status:
        raise UserError(f"{' '.join(arguments)} was ended by signal {-status}")


def _check(signals: Signals) -> None:
    if signals.asked:
        raise _Stopped


async def _answering(installation: Installation, signals: Signals) -> None:
    """Return once the database answers; one that is away is waited for as long as serving waits.

    Returns too when what it answers is a refusal: whoever asks next says which.
    """
    loop, waiting = asyncio.get_running_loop(), asyncio.current_task()
    assert waiting is not None  # noqa: S101 - a coroutine runs in a task
    signals.tell(lambda: loop.call_soon_threadsafe(waiting.cancel))
    set_on_retry_hooks(())  # what is waited for is said once
    try:
        await _reached(installation)
    except asyncio.CancelledError:
        raise _Stopped from None
    finally:
        signals.tell(None)
        set_on_retry_hooks(None)


async def _reached(installation: Installation) -> None:
    try:
        await _reach(installation)
    except CONNECTION_ERRORS:
        click.echo("casewarden: waiting for the database …", err=True)
        with as_user_errors():
            await patiently(lambda: _reach(installation))


async def _reach(installation: Installation) -> None:
    """Raise what keeps the database from answering, if that may pass by itself."""
    try:
        owner = await asyncpg.connect(installation.server.url, timeout=5)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        if is_connection_error(error):
            raise
    else:
        await owner.close()


def _prepare(installation: Installation, signals: Signals) -> bool:
    """Migrate and load what is missing; say whether the database is a demonstration."""
    if asyncio.run(migrate.needed(installation)):
        click.echo("casewarden: making the database …", err=True)
        _child(signals, "migrate")
    asyncio.run(preconditions.check(installation))
    state = asyncio.run(_state(installation))
    if state == "empty":
        _child(signals, "demo", "load")
    _check(signals)
    return state != "own"


async def _state(installation: Installation) -> Literal["empty", "demonstration", "own"]:
    """Return what the log of this database is; one that is half loaded still counts as empty."""
    owner = await connect_as_owner(installation)
    try:
        mark = await demonstration.read(owner)
        if mark is not None:
            return "demonstration" if mark.finished else "empty"
        own = await owner.fetchval("select exists (select from log.event)")
        return "own" if own else "empty"
    finally:
        await owner.close()


class _Ready:
    """Says, once, that it serves, and what to try."""

    def __init__(self, settings: Settings, began: float, *, demonstration: bool) -> None:
        self._settings = settings
        self._demonstration = demonstration
        self._began = began

    def __call__(self) -> None:
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        base = f"http://{host}:{self._settings.port}"
        seconds = time.monotonic() - self._began
        command = os.path.relpath(sys.argv[0]) if os.sep in sys.argv[0] else "casewarden"
        click.echo(f"\nCasewarden serves on {base} (after {seconds:.1f} s). Ctrl-C stops it.")
        if not self._demonstration:
            click.echo("This database was not started as a demonstration.\n")
            return
        click.echo(
            "\nIn another terminal:\n"
            f"  {command} demo              the accounts of the demonstration\n"
            f"  {command} demo day          a school day of work, two wrongdoers among it\n"
            f"  {command} verify            check the whole log\n"
            f"  curl {base}/healthz\n"
        )
