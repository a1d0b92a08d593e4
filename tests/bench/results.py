"""What was measured, by name, and how it is shown and written."""

import os
import platform
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Final

import msgspec

_PACKAGES: Final = (
    "asyncpg",
    "cedarpy",
    "eventsourcing",
    "fastapi",
    "pycasbin",
    "sqlalchemy",
    "uvicorn",
    "uvloop",
)


@dataclass
class Results:
    """Ratios (above 1 we are ahead) and figures, in the order they were measured."""

    ratios: dict[str, float] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)

    def ratio(self, name: str, ours: float, theirs: float, unit: str) -> None:
        """Keep a ratio of rates and show both sides."""
        self.ratios[name] = _rounded(ours / theirs)
        print(f"  {name:<40} {self.ratios[name]:>9}   {ours:>11,.0f} : {theirs:,.0f} {unit}")

    def figure(self, name: str, value: float, unit: str = "") -> None:
        """Keep a figure and show it."""
        self.figures[name] = _rounded(value)
        print(f"  {name:<40} {self.figures[name]:>9}   {unit}")

    def least(self, name: str, *parts: str) -> None:
        """Keep the least of ratios that are known; nothing when one of them is missing."""
        if all(part in self.ratios for part in parts):
            self.ratios[name] = min(self.ratios[part] for part in parts)
            print(f"  {name:<40} {self.ratios[name]:>9}   the least of {len(parts)}")

    def write(self, path: Path) -> None:
        """Write everything as the contract says."""
        content = {"ratios": self.ratios, "figures": self.figures, "machine": machine()}
        path.write_bytes(msgspec.json.format(msgspec.json.encode(content)) + b"\n")


def _rounded(value: float) -> float:
    """Return ``value`` with three significant digits, whole from a hundred on."""
    return round(value) if abs(value) >= 100 else float(f"{value:.3g}")


def machine() -> dict[str, object]:
    """Return what it was measured on; nothing that names the machine."""
    return {
        "cpus": os.cpu_count(),
        "processor": _processor(),
        "system": platform.system(),
        "kernel": platform.release().split("-")[0],
        "python": platform.python_version(),
        "postgresql": "18, embedded",
        "packages": {name: version(name) for name in _PACKAGES},
    }


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.machine()
    named = (line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line)
    return next(named, platform.machine())


def middle(values: list[float]) -> float:
    """Return the median."""
    return median(values)
