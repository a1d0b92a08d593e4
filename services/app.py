"""The whole of Casewarden in one process, or one service of it alone, as an ASGI application.

Builds the services, mounts each under its prefix behind one :class:`Boundary`, and answers
``/healthz``. They share the log and nothing else; that they share a process isolates nothing from
code execution. In the flow this is where a request enters, and nothing is decided here.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
from http import HTTPStatus
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog

from services.installation import vocabulary
from services.kernel import errors, telemetry
from services.kernel.background import patiently
from services.kernel.database import CONNECTION_ERRORS
from services.kernel.events import CorruptEvent, Service, UnknownEvent
from services.kernel.http import Boundary
from services.witness import Witness, path_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastapi import FastAPI
    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send

    from services.kernel.projection import Projector
    from services.kernel.runtime import Installation, Runtime
    from services.kernel.settings import Settings

_HEALTH_S: Final = 1.0
#: for how long an answer about health stands, whoever asks and how often
_HEALTH_STANDS_S: Final = 0.5
_FOLD_S: Final = 600.0
_logger = structlog.get_logger(__name__)
_TRY: Final = {
    "name": "Casewarden",
    "try": {
        "accounts of the demonstration": "casewarden demo --json",
        "log in": "POST /authz/v1/login, then POST /authz/v1/login/verify",
        "your cases": "GET /cases/v1/cases",
        "who saw a learner": "GET /audit/v1/students/{id}/accesses",
        "alerts": "GET /audit/v1/alerts?status=open",
        "health": "GET /healthz",
        "metrics": "GET /authz/metrics, /cases/metrics, /audit/metrics",
        "a school day": "casewarden demo day",
    },
}


class Built(Protocol):
    """What a service's ``build`` returns: its application, and what runs beside it."""

    @property
    def app(self) -> FastAPI:
        """The routes, from ``/v1`` on."""

    @property
    def runtime(self) -> Runtime:
        """Its hold on the installation."""

    @property
    def projectors(self) -> Sequence[Projector]:
        """Everything it folds."""

    async def start(self) -> None:
        """Begin to follow the log; call it before serving."""

    async def stop(self) -> None:
        """Append what was accepted, then stop."""


async def build_service(service: Service, installation: Installation, settings: Settings) -> Built:
    """Open one service's runtime and wire it; only the module of that service is imported."""
    module = importlib.import_module(f"services.{service}.app")
    if service is Service.AUDIT:
        built: Built = await module.build(installation, settings, vocabulary())
    else:
        built = await module.build(installation, settings)
    return built


class House:
    """The services of this process, mounted: an ASGI application, started and stopped whole.

    Guarantees: after :meth:`stop` every event of a request that was answered is durable. Does not
    guarantee that clients still connected are answered: the server around it must drain first.
    """

    def __init__(self, services: Mapping[Service, Built]) -> None:
        self._services = services
        telemetry.BUILD_INFO.labels(version("casewarden")).set(1)
        self._health = asyncio.Lock()
        self._healthy, self._healthy_until = False, 0.0
        audit = services.get(Service.AUDIT)
        self._witness = None if audit is None else _witness(audit.runtime)
        self._mounted = {str(service): service for service in services}
        self._edge = Boundary(self._route)

    @classmethod
    async def build(
        cls, installation: Installation, settings: Settings, services: Sequence[Service]
    ) -> House:
        """Open and wire ``services``; what was opened is closed again when one cannot be."""
        built: dict[Service, Built] = {}
        try:
            for service in services:
                built[service] = await build_service(service, installation, settings)
        except BaseException:
            for one in built.values():
                await one.runtime.stop()
            raise
        return cls(built)

    async def start(self) -> None:
        """Start every service, or none: authz first, since the others fold what it says."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        authz = self._services.get(Service.AUTHZ)
        if authz is not None:
            # it makes the first signing key only when it knows that there is none
            with contextlib.suppress(UnknownEvent, CorruptEvent):
                await _caught_up(authz.runtime.projector)
        for built in self._services.values():
            await built.start()
        if self._witness is not None:
            self._witness.start()

    async def stop(self) -> None:
        """Stop every service, each after it has appended what it accepted."""
        if self._witness is not None:
            await self._witness.stop()
        # side by side: over a database that hangs each takes its time
        await asyncio.gather(*(_stopped(built) for built in self._services.values()))

    async def healthy(self) -> bool:
        """Say whether every projection follows and the log takes events."""
        try:
            async with asyncio.timeout(_HEALTH_S):
                answers = await asyncio.gather(
                    *(_follows(built) for built in self._services.values())
                )
        except (TimeoutError, errors.Unavailable, *CONNECTION_ERRORS):
            return False
        except Exception as error:  # noqa: BLE001 - whatever it is, what is served is not whole
            _logger.warning("unhealthy", **telemetry.described(error))
            return False
        return all(answers)

    async def _recently_healthy(self) -> bool:
        """Return :meth:`healthy` as it was found half a second ago at most: nobody logs in to ask.

        However many ask, one at a time looks.
        """
        loop = asyncio.get_running_loop()
        async with self._health:
            if loop.time() >= self._healthy_until:
                self._healthy = await self.healthy()
                self._healthy_until = loop.time() + _HEALTH_STANDS_S
            return self._healthy

    async def caught_up(self, within_s: float) -> None:
        """Return when every service has folded the log as it is now; raise ``TimeoutError``."""
        async with asyncio.timeout(within_s):
            for built in self._services.values():
                for projector in built.projectors:
                    await _folded(projector, within_s)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request: a service's own, or one about the whole."""
        if scope["type"] == "http":
            await self._edge(scope, receive, send)

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        first, below, _ = scope["path"][1:].partition("/")
        service = self._mounted.get(first) if below else None
        if service is None:
            await self._own(scope, receive, send)
            return
        scope["casewarden.service"] = service
        scope["root_path"] = f"{scope.get('root_path', '')}/{first}"
        await self._services[service].app(scope, receive, send)

    async def _own(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path not in ("/", "/healthz"):
            raise errors.NotFound
        if scope["method"] not in ("GET", "HEAD"):
            raise errors.MethodNotAllowed
        if path == "/":
            response = _json(_TRY)
        elif await self._recently_healthy():
            response = _json({"status": "ok"})
        else:
            response = _json({"status": "unavailable"}, HTTPStatus.SERVICE_UNAVAILABLE)
        await response(scope, receive, send)


async def _stopped(built: Built) -> None:
    with contextlib.suppress(*CONNECTION_ERRORS):
        await built.stop()


def _witness(runtime: Runtime) -> Witness:
    return Witness(runtime.pool, path_of(runtime.installation))


async def _folded(projector: Projector, within_s: float) -> None:
    """Return when the log as it is now is folded; raise :class:`errors.Unavailable` if too late."""
    await projector.reached(await projector.head(), within_s=within_s)


async def _caught_up(projector: Projector) -> None:
    """Fold the log as it is now, however long that takes; a database may be slow to begin with."""
    await patiently(lambda: _folded(projector, _FOLD_S), hopeless=lambda: projector.stopped)


async def _follows(built: Built) -> bool:
    writable = await built.runtime.pool.fetchval(
        "select not pg_is_in_recovery() and current_setting('transaction_read_only') = 'off'"
    )
    for projector in built.projectors:
        projector.check()
        await _folded(projector, _HEALTH_S)
    return bool(writable)


def _json(content: Mapping[str, Any], status: int = HTTPStatus.OK) -> Response:
    from starlette.responses import Response

    body = json.dumps(content, indent=2).encode() + b"\n"
    return Response(body, status, media_type="application/json")
