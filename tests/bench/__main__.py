"""``make bench``: measures against the peers, prints side by side, and writes ``bench.json``."""

import argparse
import asyncio
from pathlib import Path
from typing import Final

from tests.bench import place, reads
from tests.bench.results import Results

SUITES: Final = ("reads",)


def main() -> None:
    """Measure what was asked for, or everything."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("suites", nargs="*", help=f"of {', '.join(SUITES)}; all when not said")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--to", type=Path, default=Path("bench.json"))
    asked = parser.parse_args()
    results = Results()
    effort = reads.Effort(rounds=3, seconds=0.8) if asked.quick else reads.Effort()
    with place.place() as installation:
        made = place.region()
        asyncio.run(place.seed(installation, made))
        reads.measure(results, installation, made, effort)
    results.write(asked.to)


if __name__ == "__main__":
    main()
