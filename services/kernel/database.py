"""Connections: one pool per service under that service's own database role.

The roles are ``casewarden_authz``, ``casewarden_cases`` and ``casewarden_audit``; the owner of the
schemas is whoever migrates. In one process three pools stand side by side, which keeps a mistake
in SQL inside its service and isolates nothing from code execution.
"""

import asyncio
import ssl
from collections.abc import Collection
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Final
from urllib.parse import parse_qs, quote, urlsplit, urlunsplit

import asyncpg
from asyncpg.pool import PoolAcquireContext

from services.kernel.errors import Unavailable
from services.kernel.events import Service

_WAIT_S: Final = 5.0
_STATEMENT_S: Final = 10.0
#: how long a server has to confirm that it cancelled a statement
_CANCEL_S: Final = 0.5
#: what statements rely on, said by each session: a role may change its own defaults, and sessions
#: of the honest service would begin with those
_SESSION: Final = {
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "default_transaction_isolation": "read committed",
    "search_path": "pg_catalog, pg_temp",
    "synchronous_commit": "on",
}
CONNECTION_ERRORS: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    # What asyncpg says of a connection whose end arrives as the next statement leaves.
    asyncpg.InternalClientError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
    ConnectionError,
    OSError,
    asyncio.TimeoutError,
)


#: beside a lost connection, what the same statement may not meet the next time
_IN_THE_WAY: Final = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.QueryCanceledError,
    Unavailable,
)


def is_connection_error(error: BaseException) -> bool:
    """Say whether ``error`` is of the connection, and not of what was sent over it.

    What asyncpg itself finds malformed (an address, a value) can be an ``InterfaceError`` too, and
    is then a ``ValueError``: that does not pass. So is a certificate that is not good, which may be
    again.
    """
    malformed = isinstance(error, ValueError) and not isinstance(error, ssl.SSLError)
    return isinstance(error, CONNECTION_ERRORS) and not malformed


def passes(error: BaseException) -> bool:
    """Say whether ``error`` goes away by itself, so that the same is worth trying again.

    The connection is lost or too few are left, somebody else was in the way, or it took too long.
    """
    return is_connection_error(error) or isinstance(error, _IN_THE_WAY)


def role_name(service: Service) -> str:
    """Return the database role a service logs in as."""
    return f"casewarden_{service}"


#: hosts that no network is between; a directory of sockets is another
_HERE: Final = frozenset({"", "localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Server:
    """Where the databases are: the owner's URLs of the log and of the key store."""

    url: str
    keys_url: str

    @classmethod
    def of(cls, url: str, keys_url: str = "") -> "Server":
        """Describe a server by its URL; the key store is ``<database>_keys`` beside it."""
        if keys_url:
            return cls(url, keys_url)
        parts = urlsplit(url)
        return cls(url, urlunsplit(parts._replace(path=f"{parts.path}_keys")))

    @property
    def unproven(self) -> bool:
        """Whether one over a network is reached without its having to prove who it is (SG-5).

        That is where an address does not say ``sslmode``, whatever it says.
        """
        return any(map(_unproven, (self.url, self.keys_url)))

    def as_role(self, url: str, role: str, password: str) -> str:
        """Return ``url`` for another role of the same server."""
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        netloc = f"{quote(role)}:{quote(password)}@{host}"
        return urlunsplit(parts._replace(netloc=netloc))


def _unproven(url: str) -> bool:
    parts = urlsplit(url)
    said = parse_qs(parts.query)
    [host] = said.get("host", [parts.hostname or ""])[-1:]
    return not host.startswith("/") and host not in _HERE and "sslmode" not in said


async def _reset(connection: asyncpg.Connection) -> None:
    """Make a connection fit for its next user, without the round trip this takes by default.

    No statement of ours leaves session state behind: settings are local to a transaction, and
    listeners go with their connection's user.
    """
    if connection.is_in_transaction():
        await connection.reset()


#: types with a lower number come with PostgreSQL, and are the same in every database
_FIRST_GENERATED_OID: Final = 10_000
#: what a process was told of such types, by the types asked for
_known: Final[dict[frozenset[int], list[asyncpg.Record]]] = {}
#: stands for the statement that would have asked; one with a name replaces no nameless one
_NOT_ASKED: Final = SimpleNamespace(name="none")


class _Connection(asyncpg.Connection):
    """A connection that is given up when its server does not even answer a cancellation.

    Whoever was cancelled or timed out waits, in a rollback or a release, until the server says that
    it stopped; from one that hangs, or behind a network that swallows packets, nothing ever comes.

    Of a type that PostgreSQL itself brings (an array of numbers, say) the first connection of a
    process asks what it is; asking keeps a server busier than most statements, and each of a
    pool's connections would.
    """

    async def _introspect_types(
        self, oids: Collection[int], within_s: float | None
    ) -> tuple[list[asyncpg.Record], object]:
        asked = frozenset(oids)
        if asked in _known:
            return _known[asked], _NOT_ASKED
        types, statement = await super()._introspect_types(oids, within_s)  # type: ignore[misc] # the stubs lack it
        if max(asked) < _FIRST_GENERATED_OID:
            _known[asked] = types
        return types, statement

    def _cancel_current_command(self, *waiters: asyncio.Future[None]) -> None:
        super()._cancel_current_command(*waiters)  # type: ignore[misc] # the stubs lack it
        asyncio.get_running_loop().call_later(_CANCEL_S, self._give_up, waiters[-1])

    def _give_up(self, confirmed: asyncio.Future[None]) -> None:
        if not confirmed.done():
            self.terminate()


class _BoundedPool(asyncpg.Pool):
    """A pool whose connections nobody waits for without end."""

    def acquire(self, *, timeout: float | None = None) -> PoolAcquireContext:
        """Acquire a connection within ``timeout`` or five seconds; else raise ``TimeoutError``."""
        return super().acquire(timeout=_WAIT_S if timeout is None else timeout)


async def open_pool(
    url: str,
    *,
    size: int,
    name: str,
    connect: bool = True,
    generic_plans: bool = False,
    statement_s: float = _STATEMENT_S,
) -> asyncpg.Pool:
    """Open a pool of at most ``size`` connections; a statement times out after ``statement_s``.

    Who has waited five seconds for a connection is told so by ``TimeoutError``, one of
    :data:`CONNECTION_ERRORS`: the answer is then 503. A connection whose server does not confirm
    within half a second that a statement was cancelled is closed, and never used again.

    Without ``connect`` nothing is reached until the pool is first used. ``generic_plans`` has each
    statement planned once a connection, whatever its arguments, and along indexes: a plan that is
    right for tables still small is not kept when they have grown.
    """
    settings = {**_SESSION, "application_name": f"casewarden {name}"}
    if generic_plans:
        settings["plan_cache_mode"] = "force_generic_plan"
        settings |= dict.fromkeys(("enable_seqscan", "enable_hashjoin", "enable_memoize"), "off")
    pool = _BoundedPool(
        url,
        connection_class=_Connection,
        record_class=asyncpg.Record,
        loop=None,
        init=None,
        setup=None,
        connect=None,
        init_size=None,
        max_queries=50_000,
        min_size=1 if connect else 0,
        max_size=size,
        command_timeout=statement_s,
        timeout=5,
        max_inactive_connection_lifetime=300,
        server_settings=settings,
        reset=_reset,
    )
    return await pool
