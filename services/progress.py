"""Shows how far long work has come: a moving bar on a terminal, a line a stage anywhere else.

Writes to standard error only, so that what a command answers stays clean on standard output.
"""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import Progress as RichProgress


class Progress:
    """The stages of one piece of work."""

    def __init__(self, bars: RichProgress | None) -> None:
        self._bars = bars

    @contextlib.contextmanager
    def stage(self, title: str, total: int | None = None) -> Iterator[Stage]:
        """Show a stage of ``total`` units, or of unknown length."""
        if self._bars is None:
            print(f"casewarden: {title} …", file=sys.stderr, flush=True)  # noqa: T201 - its purpose
            yield Stage(None, 0)
            return
        task = self._bars.add_task(title, total=total)
        yield Stage(self._bars, task)
        self._bars.update(task, total=total or 1, completed=total or 1)


class Stage:
    """One stage under way."""

    def __init__(self, bars: RichProgress | None, task: int) -> None:
        self._bars = bars
        self._task = task

    def advance(self, units: int = 1) -> None:
        """Say that ``units`` more are done."""
        if self._bars is not None:
            self._bars.advance(self._task, units)  # type: ignore[arg-type] # rich's TaskID is an int


@contextlib.contextmanager
def shown() -> Iterator[Progress]:
    """Show progress for the length of the block."""
    if not sys.stderr.isatty():
        yield Progress(None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("[progress.description]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with RichProgress(*columns, console=Console(stderr=True)) as bars:
        yield Progress(bars)
