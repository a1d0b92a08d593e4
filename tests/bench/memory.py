"""Resident memory of one process that serves all three services, after a school day."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.bench import serving
from tests.bench.results import Results

_DAY_S: Final = 1_800


def measure(results: Results, *, quick: bool) -> None:
    """Start the demonstration, drive the day through it, and read what its process holds."""
    directory = Path(tempfile.mkdtemp(prefix="casewarden-bench-"))
    scale = "0.1" if quick else "1"
    try:
        with serving.demonstration(directory / "data") as (one, settings):
            command = [sys.executable, "-m", "services.cli", "demo", "day", "--scale", scale]
            subprocess.run(
                command, env=settings, check=True, stdout=subprocess.DEVNULL, timeout=_DAY_S
            )
            print(f"one process for all, after a school day of scale {scale}")
            results.figure("rss_mb", one.resident_mb(), "MiB, PostgreSQL apart")
    finally:
        shutil.rmtree(directory, ignore_errors=True)
