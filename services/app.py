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

from services.health import OK, STARTING, Health
from services.installation import vocabulary
from services.kernel import errors, telemetry
from services.kernel.boundary import Boundary
from services.kernel.catching_up import caught_up
from services.kernel.database import CONNECTION_ERRORS
from services.kernel.events import Service
from services.witness import Witness, path_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastapi import FastAPI
    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send

    from services.kernel.projector import Projector
    from services.kernel.runtime import Installation, Runtime
    from services.kernel.settings import Settings

#: the methods of the paths that are no service's
_READ: Final = frozenset({"GET", "HEAD"})
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

    Until it is started, every path of a service but its metrics is answered 503.

    Guarantees: after :meth:`stop` every event of a request that was answered is durable. Does not
    guarantee that clients still connected are answered: the server around it must drain first.
    """

    def __init__(self, services: Mapping[Service, Built]) -> None:
        self._services = services
        telemetry.BUILD_INFO.labels(version("casewarden")).set(1)
        built = services.values()
        self.health = Health(
            [one.runtime for one in built], [p for one in built for p in one.projectors]
        )
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
        """Start every service, or none: authz first, since the others fold what it says.

        Waits for what their answers rest on to be folded, for as long as that comes further; where
        a fold of another than authz stands, its service answers 503 and goes on when it can.
        """
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        authz = self._services.get(Service.AUTHZ)
        if authz is not None:
            # it makes the first signing key only when it knows that there is none
            await caught_up(authz.runtime.projector)
        for built in self._services.values():
            await built.start()
        if self._witness is not None:
            self._witness.start()
        for built in self._services.values():
            with contextlib.suppress(errors.Unavailable, *CONNECTION_ERRORS):
                await caught_up(built.runtime.projector)
        self.health.started = True

    async def stop(self) -> None:
        """Stop every service, each after it has appended what it accepted."""
        if self._witness is not None:
            await self._witness.stop()
        # side by side: over a database that hangs each takes its time
        await asyncio.gather(*(_stopped(built) for built in self._services.values()))

    async def caught_up(self, within_s: float) -> None:
        """Return when every service has folded the log as it is now; raise ``TimeoutError``."""
        async with asyncio.timeout(within_s):
            for built in self._services.values():
                for projector in built.projectors:
                    await projector.caught_up(within_s=within_s)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request: a service's own, or one about the whole."""
        if scope["type"] == "http":
            await self._edge(scope, receive, send)

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        first, below, rest = scope["path"][1:].partition("/")
        service = self._mounted.get(first) if below else None
        if service is None:
            await self._own(scope, receive, send)
            return
        if not self.health.started and rest != "metrics":
            raise errors.Unavailable
        scope["casewarden.service"] = service
        scope["root_path"] = f"{scope.get('root_path', '')}/{first}"
        await self._services[service].app(scope, receive, send)

    async def _own(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path not in ("/", "/healthz"):
            raise errors.NotFound
        if scope["method"] not in _READ:
            raise errors.MethodNotAllowed(_READ)
        if path == "/":
            response = _json(_TRY)
        else:
            said = await self.health.said()
            status = HTTPStatus.OK if said is OK else HTTPStatus.SERVICE_UNAVAILABLE
            response = _json(said, status)
        await response(scope, receive, send)


class Door:
    """What listens before there is a :class:`House`: 503, and ``/healthz`` says ``starting``.

    Once it is let in, every request is the house's.
    """

    def __init__(self) -> None:
        self._house: House | None = None
        self._edge = Boundary(self._closed)

    def let_in(self, house: House) -> None:
        """Hand every request from now on to ``house``."""
        self._house = house

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if self._house is not None:
            await self._house(scope, receive, send)
        elif scope["type"] == "http":
            await self._edge(scope, receive, send)

    async def _closed(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != "/healthz" or scope["method"] not in _READ:
            raise errors.Unavailable
        await _json(STARTING, HTTPStatus.SERVICE_UNAVAILABLE)(scope, receive, send)


async def _stopped(built: Built) -> None:
    with contextlib.suppress(*CONNECTION_ERRORS):
        await built.stop()


def _witness(runtime: Runtime) -> Witness:
    return Witness(runtime.pool, path_of(runtime.installation))


def _json(content: Mapping[str, Any], status: int = HTTPStatus.OK) -> Response:
    from starlette.responses import Response

    body = json.dumps(content, indent=2).encode() + b"\n"
    return Response(body, status, media_type="application/json")
