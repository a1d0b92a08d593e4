"""The ``casewarden`` command in processes forked from one that has imported it.

Each is a process of its own, with its own environment, output and exit status; what is saved is
importing everything again. That a command starts from nothing is the claim of the tests that do not
use this.
"""

import asyncio
import gc
import importlib
import json
import os
import pkgutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Final

_ORIGIN: Final = [sys.executable, "-m", "tests.forked"]


class Forks:
    """Where commands are forked, one at a time."""

    def __init__(self, origin: "subprocess.Popen[str]") -> None:
        self._origin = origin

    def run(
        self, environ: Mapping[str, str], arguments: Sequence[str]
    ) -> subprocess.CompletedProcess[str]:
        """Run the command to its end in exactly this environment."""
        assert self._origin.stdin is not None
        assert self._origin.stdout is not None
        with tempfile.NamedTemporaryFile("r") as out, tempfile.NamedTemporaryFile("r") as err:
            asked = {"environ": dict(environ), "argv": arguments, "said": [out.name, err.name]}
            print(json.dumps(asked), file=self._origin.stdin, flush=True)
            status = int(self._origin.stdout.readline())
            return subprocess.CompletedProcess(arguments, status, out.read(), err.read())

    async def beside(
        self, environ: Mapping[str, str], arguments: Sequence[str]
    ) -> subprocess.CompletedProcess[str]:
        """Do the same while this very process serves: what it folds may hold what is waited for."""
        return await asyncio.to_thread(self.run, environ, arguments)


@contextmanager
def forks() -> Iterator[Forks]:
    """Start what commands are forked from; it ends with the block."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        _ORIGIN, stdin=pipe, stdout=pipe, text=True, start_new_session=True
    ) as origin:
        try:
            yield Forks(origin)
        finally:
            # and a command that does not end
            os.killpg(origin.pid, signal.SIGKILL)


def _serve(asked: IO[str]) -> None:
    for line in asked:
        command = json.loads(line)
        child = os.fork()
        if not child:
            _become(**command)
            return
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _become(environ: Mapping[str, str], argv: Sequence[str], said: Sequence[str]) -> None:
    from services import cli

    for place, name in enumerate([os.devnull, *said]):
        opened = os.open(name, os.O_WRONLY if place else os.O_RDONLY)
        os.dup2(opened, place)
        os.close(opened)
    os.environ.clear()
    os.environ.update(environ)
    sys.argv = [cli.__file__, *argv]
    cli.main()


def _import_everything() -> None:
    import services

    for module in pkgutil.walk_packages(services.__path__, "services."):
        if ".migrations." not in module.name:
            importlib.import_module(module.name)


if __name__ == "__main__":
    _import_everything()
    gc.freeze()
    _serve(sys.stdin)
