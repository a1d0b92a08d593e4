"""Processes that serve: Casewarden's own command, or a peer, on a free port of this machine."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.request import urlopen

import msgspec

from services.kernel.runtime import Installation
from tests.bench.client import Order, Seen

_READY_S: Final = 60
_STOP_S: Final = 30
#: the first start makes the database and loads the region
_LOADED_S: Final = 600


@dataclass(frozen=True)
class Serving:
    """A process that answers on a port."""

    port: int
    pid: int
    environment: dict[str, str]

    def load(self, requests: Sequence[bytes], connections: int, seconds: float) -> Seen:
        """Let the load generator ask for some time; return what it saw."""
        order = Order(self.port, list(requests), connections, seconds)
        ran = subprocess.run(
            [sys.executable, "-m", "tests.bench.client"],
            input=msgspec.json.encode(order),
            stdout=subprocess.PIPE,
            check=True,
            timeout=seconds + 60,
        )
        return msgspec.json.decode(ran.stdout, type=Seen)

    def resident_mb(self) -> float:
        """Return the resident memory of the process, in MiB."""
        with open(f"/proc/{self.pid}/status", encoding="ascii") as status:  # noqa: PTH123 - procfs
            line = next(line for line in status if line.startswith("VmRSS:"))
        return int(line.split()[1]) / 1024


def request(path: str, token: str = "") -> bytes:
    """Return a GET as it goes over the wire, as a browser of a school would send it."""
    lines = [
        f"GET {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
        "Accept: application/json",
    ]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    return "\r\n".join([*lines, "", ""]).encode()


@contextmanager
def casewarden(installation: Installation, service: str) -> Iterator[Serving]:
    """Serve a service of the installation (or ``all``) as production does: `casewarden serve`."""
    command = [sys.executable, "-m", "services.cli", "serve", service]
    settings = {
        "CASEWARDEN_DATA": str(installation.data),
        "CASEWARDEN_DATABASE_URL": installation.server.url,
        "CASEWARDEN_KEYS_URL": installation.server.keys_url,
    }
    with _process(command, settings) as serving:
        _await_health(serving)
        yield serving


@contextmanager
def demonstration(data: Path) -> Iterator[tuple[Serving, dict[str, str]]]:
    """Serve the whole demonstration as ``casewarden up`` does; give the environment as well."""
    command = [sys.executable, "-m", "services.cli", "up"]
    with _process(command, {"CASEWARDEN_DATA": str(data)}, ready_s=_LOADED_S) as serving:
        _await_health(serving)
        yield serving, serving.environment


@contextmanager
def peer(name: str, settings: dict[str, str]) -> Iterator[Serving]:
    """Serve a peer of :mod:`tests.bench.peers`."""
    with _process([sys.executable, "-m", "tests.bench.peers", name], settings) as serving:
        yield serving


@contextmanager
def _process(
    command: Sequence[str], settings: dict[str, str], ready_s: float = _READY_S
) -> Iterator[Serving]:
    port = _free_port()
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("CASEWARDEN_")},
        **settings,
        "CASEWARDEN_PORT": str(port),
        "CASEWARDEN_LOG_LEVEL": "WARNING",
    }
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _await_ready(process, port, ready_s)
        yield Serving(port, process.pid, environment)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _await_health(serving: Serving) -> None:
    until = time.monotonic() + _READY_S
    while time.monotonic() < until:
        with contextlib.suppress(OSError):
            urlopen(f"http://127.0.0.1:{serving.port}/healthz", timeout=2).close()
            return
        time.sleep(0.1)
    raise RuntimeError("a server is not healthy")


def _await_ready(process: subprocess.Popen[bytes], port: int, within_s: float) -> None:
    until = time.monotonic() + within_s
    while time.monotonic() < until and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("a server did not start")
