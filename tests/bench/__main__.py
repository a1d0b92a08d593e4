"""``make bench``: measures against the peers, prints side by side, and writes ``bench.json``."""

import argparse
import asyncio
import gc
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from services.commands.serving import COLLECTED
from tests.bench import appends, decisions, lists, memory, place, reads, whole
from tests.bench.results import Results

SUITES: Final = ("reads", "lists", "decisions", "appends", "whole", "memory")


def main() -> None:
    """Measure what was asked for, or everything."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("suites", nargs="*", help=f"of {', '.join(SUITES)}; all when not said")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--to", type=Path, default=Path("bench.json"))
    asked = parser.parse_args()
    if unknown := set(asked.suites) - set(SUITES):
        parser.error(f"no such suite: {', '.join(sorted(unknown))}")
    suites = asked.suites or SUITES
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    gc.set_threshold(*COLLECTED)  # as when it serves, for every side measured in this process
    results = Results()
    try:
        _measure(results, suites, quick=asked.quick)
    finally:  # what was measured before something failed is worth having
        results.write(asked.to)


def _measure(results: Results, suites: Sequence[str], *, quick: bool) -> None:
    with place.place() as installation:
        made = place.region()
        asyncio.run(place.seed(installation, made))
        asyncio.run(place.fold(installation))
        if "reads" in suites:
            effort = reads.Effort(rounds=3, seconds=0.8) if quick else reads.Effort()
            reads.measure(results, installation, made, effort)
        if "lists" in suites:
            lists.measure(results, installation, made, quick=quick)
        if "decisions" in suites:
            decisions.measure(results, installation, quick=quick)
        if "appends" in suites:
            appends.measure(results, installation, quick=quick)
        if "whole" in suites:
            whole.measure(results, installation, quick=quick)
    if "memory" in suites:
        memory.measure(results, quick=quick)


if __name__ == "__main__":
    main()
