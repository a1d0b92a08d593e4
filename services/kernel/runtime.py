"""What one running service holds: pools, keys, log, projector, and the path through them.

Built once in a service's ``app``; started before it serves, stopped after it has answered what it
accepted. Nothing here knows a domain.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import asyncpg

from services.kernel.background import ended, every
from services.kernel.boundary import DEADLINE_S
from services.kernel.database import Server, open_pool, role_name
from services.kernel.effects import Effects
from services.kernel.epochs import EpochKeys
from services.kernel.event_types import Registry
from services.kernel.events import Service
from services.kernel.handling import Handling
from services.kernel.keystore import KeyStore
from services.kernel.log import Log
from services.kernel.origins import Origins
from services.kernel.projection import Projection
from services.kernel.projector import Projector
from services.kernel.server_roles import role_password

_POOL: Final = 8
_CLOSE_S: Final = 3.0
#: one appends; the other stands by while a lost one is cleared away
_LOG_POOL: Final = 2
_PARTITIONS: Final = "select log.make_partitions(2, 5000000)"
_PARTITIONS_S: Final = 3600.0
#: what was disposed of leaves every process within a second
_FORGET_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Installation:
    """Where an installation lives: its server, its directory of secrets, its effects.

    ``offline`` is for describing a service (its OpenAPI document): its pools reach nothing.
    """

    server: Server
    data: Path
    effects: Effects
    offline: bool = False

    def secret(self, name: str) -> bytes:
        """Return a secret of this installation, made at first use; a file of mode 0600."""
        path = self.data / "secrets" / name
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = path.with_name(f"{name}.{self.effects.token(4).hex()}")
            fresh.touch(mode=0o600)
            fresh.write_bytes(self.effects.token(32))
            with contextlib.suppress(FileExistsError):
                path.hardlink_to(fresh)
            fresh.unlink()
        return path.read_bytes()


@dataclass(frozen=True, slots=True)
class Runtime:
    """A service's hold on the installation."""

    service: Service
    installation: Installation
    #: for requests; what appends and what folds never waits for it
    pool: asyncpg.Pool
    log_pool: asyncpg.Pool
    projector_pool: asyncpg.Pool
    key_pool: asyncpg.Pool
    keys: KeyStore
    log: Log
    projector: Projector
    handling: Handling
    origins: Origins
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def effects(self) -> Effects:
        """Clock, ids and randomness."""
        return self.installation.effects

    def start(self) -> None:
        """Begin to append and to follow the log, to keep room ahead of its head, and to forget."""
        self.log.start()
        self.projector.start()
        make = every(
            _PARTITIONS_S,
            lambda: self.projector_pool.execute(_PARTITIONS),
            f"{self.service} partitions",
            at_once=True,
        )
        forget = every(_FORGET_S, self.keys.forget_destroyed, f"{self.service} epoch keys")
        self._tasks.extend(asyncio.create_task(work) for work in (make, forget))

    @contextlib.asynccontextmanager
    async def wired(self) -> AsyncIterator[None]:
        """Close everything again when the block, which builds a service upon it, raises."""
        try:
            yield
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Append what was accepted, stop following, close the pools."""
        await ended(*self._tasks)
        await self.log.stop()
        await self.projector.stop()
        pools = (self.pool, self.log_pool, self.projector_pool, self.key_pool)
        await asyncio.gather(*(_closed(pool) for pool in pools))


async def _closed(pool: asyncpg.Pool) -> None:
    """Close ``pool``, and whatever of it is still in use after three seconds."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(pool.close(), _CLOSE_S)


async def open_runtime(
    installation: Installation,
    service: Service,
    registry: Registry,
    projections: Callable[[KeyStore], Sequence[Projection]],
    *,
    observations: bool = False,
    projectors: int = 1,
    generic_plans: bool = False,
) -> Runtime:
    """Log in as ``service``'s role and build its runtime; nothing runs until it is started.

    What was opened is closed again when not all of it can be.

    ``projectors`` is how many follow the log through its ``projector_pool``, its own included. With
    ``generic_plans`` a statement is planned once a connection, whatever its arguments: right
    for a service whose statements ask by key, where planning costs more than running.
    """
    server, role = installation.server, role_name(service)
    password = role_password(installation.secret("roles"), service)
    open_log = partial(
        open_pool,
        server.as_role(server.url, role, password),
        connect=not installation.offline,
        generic_plans=generic_plans,
    )
    async with contextlib.AsyncExitStack() as opened:

        async def kept(opening: Awaitable[asyncpg.Pool]) -> asyncpg.Pool:
            pool = await opening
            opened.push_async_callback(_closed, pool)
            return pool

        # nobody waits for a request's statement longer than for its answer
        pool = await kept(open_log(size=_POOL, name=str(service), statement_s=DEADLINE_S))
        log_pool = await kept(open_log(size=_LOG_POOL, name=f"{service} log"))
        # each projector listens and folds; one more for who asks where the head is
        projector_pool = await kept(open_log(size=1 + 2 * projectors, name=f"{service} projectors"))
        key_pool = await kept(
            open_pool(
                server.as_role(server.keys_url, role, password),
                size=2,
                name=f"{service} keys",
                connect=not installation.offline,
            )
        )
        effects = installation.effects
        keys = KeyStore(key_pool, EpochKeys(installation.data / "keys", effects), effects)
        log = Log(log_pool, service)
        projector = Projector(
            projector_pool, str(service), registry, projections(keys), observations=observations
        )
        runtime = Runtime(
            service=service,
            installation=installation,
            pool=pool,
            log_pool=log_pool,
            projector_pool=projector_pool,
            key_pool=key_pool,
            keys=keys,
            log=log,
            projector=projector,
            handling=Handling(log, projector, service),
            origins=Origins(keys, effects),
        )
        opened.pop_all()
        return runtime
