"""How well latency tells what is hidden from what is missing: ``python -m tests.bench.timing``.

Asks, in random order, for cases that exist and are hidden from the caller and for ids that do not
exist, through the application as it is served, and prints the area under the ROC curve of their
latencies: 0.5 is a coin, 1.0 a tell-tale. Not an assertion of the suite: a busy machine lies.
"""

import argparse
import asyncio
import random
import secrets
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from uuid import UUID

from services.kernel.database import Server
from services.kernel.migrate import migrate
from services.kernel.postgres import EmbeddedPostgres
from services.kernel.runtime import Installation
from tests.cases.world import Region, Staff, World, make_region, open_world
from tests.conftest import TYPES, Clock

_CASES = 12
_MANY = 60
_WARM_UP = 200


def auc(hidden: Sequence[float], missing: Sequence[float]) -> float:
    """Return how often a hidden answer takes longer than a missing one, ties counted as half."""
    ranked = sorted([(t, 1) for t in hidden] + [(t, 0) for t in missing])
    ranks = sum(rank for rank, (_, is_hidden) in enumerate(ranked, 1) if is_hidden)
    count = len(hidden)
    return (ranks - count * (count + 1) / 2) / (count * len(missing))


async def _ask(world: World, who: Staff, path: str) -> float:
    started = perf_counter()
    answer = await world.get(who, path)
    took = perf_counter() - started
    if answer.status_code != 404:
        raise RuntimeError(answer.text)
    return took


async def _cases(region: Region) -> list[UUID]:
    """Open cases of several sizes; the last one is outsized."""
    cases = [await region.case() for _ in range(_CASES)]
    for number, case in enumerate(cases):
        for _ in range(_MANY if case == cases[-1] else number % 4):
            note = {"kind": "note", "text": "A visit." * 40}
            await region.world.must(region.manager, "POST", f"/v1/cases/{case}/items", note)
    return cases


async def _measure(region: Region, cases: Sequence[UUID], pairs: int, suffix: str) -> float:
    """Return the AUC over ``pairs`` of one hidden and one missing case, in either order."""
    world, who = region.world, region.other_leader
    hidden: list[float] = []
    missing: list[float] = []
    for number in range(-_WARM_UP, pairs):
        world.forgive()
        case = random.choice(cases)
        # made at the same time, as alike as ids can be, or at any: of no record
        other = UUID(int=case.int ^ random.getrandbits(random.choice((60, 120))))
        both = [(hidden, case), (missing, other)]
        for times, record in random.sample(both, 2):
            took = await _ask(world, who, f"/v1/cases/{record}{suffix}")
            if number >= 0:
                times.append(took)
    return auc(hidden, missing)


async def _run(postgres: EmbeddedPostgres, data: Path, pairs: int) -> None:
    roles = secrets.token_bytes(32)
    (data / "secrets").mkdir(mode=0o700, parents=True)
    (data / "secrets" / "roles").write_bytes(roles)
    server = Server.of(postgres.dsn("casewarden"))
    await migrate(server, roles, TYPES)
    clock = Clock()
    async with open_world(Installation(server, data, clock.effects()), clock) as world:
        region = await make_region(world)
        cases, item = await _cases(region), f"/items/{UUID(int=1)}"
        for name, some, suffix in (
            ("record", cases, ""),
            ("outsized record", cases[-1:], ""),
            ("item", cases, item),
        ):
            found = await _measure(region, some, pairs, suffix)
            print(f"{name}: AUC {found:.3f} over {pairs} pairs")


def main() -> None:
    """Start a server of its own, measure, and leave nothing behind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=2000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        postgres = EmbeddedPostgres(Path(folder) / "postgres")
        postgres.start()
        try:
            asyncio.run(_run(postgres, Path(folder) / "data", arguments.pairs))
        finally:
            postgres.stop()


if __name__ == "__main__":
    main()
