"""The embedded database: a real PostgreSQL 18 over one directory, for when no server is named.

Owns who uses the server, its socket directory, and when it is started and stopped; the files and
programs themselves are :mod:`services.kernel.cluster`. Never connects, and never reads a row.

The layout of the directory: `cluster/` (PostgreSQL's own, with `server.log` in it), `turn.lock`
(held while a process starts or stops the server), `users.lock` (shared by every process that uses
the server). Locks go with their process, however it ends, so nothing stale is ever believed.
Linux only: what a process is, is read from `/proc`.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from urllib.parse import quote

import structlog

from services.kernel import telemetry
from services.kernel.cluster import SUPERUSER, Cluster, PostgresError
from services.kernel.unprivileged import account_for

_logger = structlog.get_logger(__name__)

# A server killed outright leaves backends that hold its shared memory for a moment longer.
_LINGERING = "pre-existing shared memory block"
_LINGER_SECONDS = 15.0
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
        self._cluster = Cluster(self.directory / "cluster")
        self.cluster = self._cluster.path
        self._mutex = threading.RLock()
        self._users: IO[bytes] | None = None

    @property
    def socket_directory(self) -> Path:
        """Where the server's socket is, once it was started: short, private, the same for all.

        For those too whose temporary folder is another than that of whoever started it.
        """
        return self._cluster.socket_directory() or self._own_socket_directory()

    @property
    def _uid(self) -> int:
        """Who runs the server, and owns what it makes."""
        account = account_for(self.cluster)
        return account.uid if account else os.geteuid()

    def _own_socket_directory(self) -> Path:
        digest = hashlib.sha256(os.fsencode(self.cluster)).hexdigest()[:12]
        temporary = Path(tempfile.gettempdir())
        if len(os.fsencode(temporary)) > _LONGEST_SOCKET_DIRECTORY - 40:
            temporary = Path("/tmp")  # noqa: S108 - the only short name there is; checked when made
        return temporary / f"casewarden-{self._uid}-{digest}"

    def dsn(self, database: str = "postgres", user: str = SUPERUSER) -> str:
        """Return the address of `database` as `user`, as libpq and asyncpg read it.

        It says what they would else ask the environment for, where it is meant for another server.
        """
        host = quote(str(self.socket_directory), safe="/")
        where = f"host={host}&port={_SETTINGS['port']}&sslmode=disable&target_session_attrs=any"
        return f"postgresql://{quote(user, safe='')}@/{quote(database, safe='')}?{where}"

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
            self._cluster.make()
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
        return self._cluster.alive()

    async def supervise(self, interval: float = 0.25) -> None:
        """Start the server again whenever it is gone, until cancelled.

        Looks every `interval` seconds. Connections that were open are lost; a start that fails is
        logged, without what the server said, and tried again. Cancel and await this before `stop`.
        """
        while True:
            await asyncio.sleep(interval)
            if self.alive():
                continue
            _logger.warning("database_gone", log=str(self._cluster.log_file))
            try:
                await asyncio.to_thread(self.start)
            except (PostgresError, OSError) as error:
                _logger.error(  # noqa: TRY400 - the server's own words stay in its own log
                    "database_not_started",
                    log=str(self._cluster.log_file),
                    **telemetry.described(error),
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

    def _make_socket_directory(self) -> None:
        """Make it, or make sure that the one there is ours: the temporary folder is everybody's."""
        directory = self.socket_directory
        account = account_for(self.cluster)
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=0o700)
            if account:
                account.own(directory)
        if not self._is_ours(directory):
            msg = f"{directory} belongs to somebody else; remove it or set TMPDIR"
            raise PostgresError(msg)

    def _is_ours(self, directory: Path) -> bool:
        """Say whether a socket directory is of our making: no link, our account's, and private."""
        try:
            found = directory.lstat()
        except OSError:
            return False
        private = stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077
        return private and found.st_uid == self._uid

    def _launch(self) -> None:
        """Start the server and wait until it answers, or say what its log says."""
        settings = {**_SETTINGS, "unix_socket_directories": str(self.socket_directory)}
        deadline = time.monotonic() + _LINGER_SECONDS
        while True:
            self._forget_stale_server()
            said = self._cluster.start(settings)
            if said is None:
                return
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
            self._cluster.pid_file.unlink(missing_ok=True)
            for file in self.socket_directory.iterdir():
                file.unlink()

    def _shut_down(self) -> None:
        """End the server; what was committed is not lost, however it ends."""
        sockets = self.socket_directory
        if not self._cluster.stop():
            log = self._cluster.log_file
            raise PostgresError(f"PostgreSQL over {self.cluster} does not stop; its log is {log}")
        # wherever it is; somebody who started the server by hand may use /tmp itself
        if sockets.name == self._own_socket_directory().name and self._is_ours(sockets):
            shutil.rmtree(sockets, ignore_errors=True)


def _locked(file: IO[bytes], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
