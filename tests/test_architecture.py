"""The house rules that no type says: who imports whom, and where time and chance come in."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent
SERVICES: Final = ROOT / "services"

#: modules that time, ids and randomness come from, and what of them is harmless
SOURCES: Final = {
    "time": {"perf_counter", "monotonic", "sleep"},
    "uuid": {"UUID", "uuid5", "NAMESPACE_URL", "NAMESPACE_OID"},
    "secrets": {"compare_digest"},
    "random": {"Random"},  # a seeded one; see below
}
#: reads of the clock on classes, whatever they are called when imported
CLOCKS: Final = {"now", "utcnow", "today"}
DATES: Final = {"datetime", "date"}

#: who may, and why
ALLOWED: Final = {
    "kernel/effects.py": "the one door",
    "demo/caller.py": "an authenticator app against a running installation shows the code of now",
    "demo/day.py": "says what a day of a running installation logged since it began",
    "kernel/boundary.py": "an id for a request that came without one; it decides nothing",
}


def modules() -> list[Path]:
    """Return every module of the services."""
    return sorted(SERVICES.rglob("*.py"))


def impurities(source: str) -> list[str]:
    """Name each use of the clock, of chance, or of a fresh id in ``source``."""
    found = [
        (node.lineno, name)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.expr | ast.stmt)
        for name in _impurity(node)
    ]
    return [f"line {line}: {name}" for line, name in found]


def _impurity(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Import(names=names):
            # under another name the rest of the scan would not know it
            yield from (n.name for n in names if n.name in SOURCES and n.asname)
        case ast.ImportFrom(module=str(module), names=names) if module in SOURCES:
            yield from (f"{module}.{n.name}" for n in names if n.name not in SOURCES[module])
        case ast.Call() if ast.unparse(node) in {"Random()", "random.Random()"}:
            yield "Random without a seed"
        case ast.Attribute(value=ast.Name(id=owner), attr=name) if owner in SOURCES:
            yield from (f"{owner}.{name}" for _ in range(name not in SOURCES[owner]))
        case ast.Attribute(value=value, attr=name):
            owner = ast.unparse(value)
            if owner.rpartition(".")[2] in DATES and name in CLOCKS:
                yield f"{owner}.{name}"
            if (owner, name) == ("os", "urandom"):
                yield "os.urandom"
        case _:
            pass


@pytest.mark.parametrize(
    "source",
    [
        "import time\ntime.time()",
        "from time import time",
        "import uuid as u\nu.uuid4()",
        "from uuid import uuid4",
        "import datetime\ndatetime.datetime.now()",
        "from datetime import datetime\ndatetime.now(UTC)",
        "from datetime import date\ndate.today()",
        "import secrets\nsecrets.token_hex()",
        "import random\nrandom.random()",
        "from random import Random\nRandom()",
        "import random\nrandom.Random()",
        "import os\nos.urandom(3)",
    ],
)
def test_the_scan_finds_each_way_in(source: str) -> None:
    assert impurities(source)


def test_the_scan_leaves_pure_uses_alone() -> None:
    source = (
        "from datetime import datetime\nfrom uuid import UUID, uuid5\nimport time\n"
        "datetime(2026, 1, 1)\ntime.perf_counter()\neffects.now()\nRandom(7)\n"
    )
    assert not impurities(source)


@pytest.mark.parametrize("module", modules(), ids=lambda p: str(p.relative_to(SERVICES)))
def test_time_ids_and_randomness_come_through_effects(module: Path) -> None:
    """So that a test, or a replay, decides what time it is and which ids are drawn."""
    found = impurities(module.read_text())
    if str(module.relative_to(SERVICES)) not in ALLOWED:
        assert not found


@pytest.mark.parametrize("name", sorted(ALLOWED))
def test_every_exception_is_still_needed(name: str) -> None:
    assert impurities((SERVICES / name).read_text())


def test_the_import_contracts_are_kept() -> None:
    """The services share the kernel and the log; see ``[tool.importlinter]``."""
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-1_000:]
    assert "0 broken" in done.stdout


def test_migrations_are_one_chain_from_an_empty_database() -> None:
    versions = sorted((SERVICES / "kernel" / "migrations" / "versions").glob("v*.py"))
    previous = None
    for path in versions:
        tree = ast.parse(path.read_text())
        values = {
            target.id: ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name) and target.id in {"revision", "down_revision"}
        }
        assert values == {"revision": path.name[1:5], "down_revision": previous}
        previous = values["revision"]
