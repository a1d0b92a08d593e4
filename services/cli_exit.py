"""How the ``casewarden`` command exits: what it says of a failure, and with which status.

What the user can put right is one plain line on standard error and exit status 1 (2 for a command
typed wrong, and after the help of a group of commands that is named without one); nobody is shown a
traceback for it. What is a fault of ours is told by its type and the places it came through: a
message may quote what the log holds (SG-18).

SIGTERM and SIGHUP (a terminal that is closed) end a command as Ctrl-C does: an embedded database it
started does not stay behind. What serves holds them itself: :class:`services.server.Signals`.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType, TracebackType
from typing import Final

import click

from services.installation import UserError
from services.kernel.settings import BadSetting, Settings

_INTERRUPTED: Final = 130


def run(command: click.Command) -> None:
    """Run ``command``; turn what a user can put right into one line and a status."""
    _hold_signals()
    sys.excepthook = _unexpected
    try:
        command.main(standalone_mode=False)
    except _Ended as ended:
        signal.signal(ended.number, signal.SIG_DFL)
        signal.raise_signal(ended.number)
    except click.exceptions.NoArgsIsHelpError as help_:
        help_.show()
        sys.exit(help_.exit_code)
    except click.ClickException as error:
        _fail(error.format_message(), error.exit_code)
    except (UserError, BadSetting) as error:
        _fail(str(error), 1)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(_INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        data = Settings.from_environment().data
        if not concerns(data, error):
            raise
        _fail(f"the data directory {data} cannot be used: {error.strerror}: {error.filename}", 1)


class _Ended(SystemExit):
    """A signal asks to end; who raised it says so by dying of it once everything is left."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def _hold_signals() -> None:
    """Have SIGTERM and SIGHUP raise :class:`_Ended`, unless nohup has SIGHUP ignored."""
    signal.signal(signal.SIGTERM, _end)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _end)


def _end(number: int, _frame: FrameType | None) -> None:
    """Leave. A terminal that closes says so twice; whoever sends SIGTERM again means at once."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    raise _Ended(number)


def concerns(data: Path, error: OSError) -> bool:
    """Say whether ``error`` is about the data directory, what is in it or the way to it."""
    if not isinstance(error.filename, str):
        return False
    # as it was named and, where links lead there, as it is called
    ways = (
        (data.absolute(), Path(error.filename).absolute()),
        (data.resolve(), Path(error.filename).resolve()),
    )
    return any(met.is_relative_to(whole) or whole.is_relative_to(met) for whole, met in ways)


def _unexpected(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Tell an error that nobody caught, unless it is none; who serves logs it instead."""
    if not isinstance(error, Exception):
        sys.__excepthook__(kind, error, trace)
        return
    from services.kernel.telemetry import places_of

    places = " ".join(places_of(error))
    click.echo(f"casewarden: unexpected {kind.__name__} at {places}", err=True)


def _fail(message: str, status: int) -> None:
    click.echo(f"casewarden: {' '.join(message.split())}", err=True)
    sys.exit(status)
