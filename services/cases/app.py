"""Wiring of cases: what depends on what, which routes there are, what runs beside them.

The application is mounted, and a mounted application's lifespan does not run: whoever mounts it
calls :meth:`Cases.start` and :meth:`Cases.stop`.
"""

import asyncio
from typing import Final

from fastapi import FastAPI

from services.authz import engine
from services.authz import events as authz
from services.authz.access import AccessTokens
from services.authz.directory_fold import Directory
from services.cases import api_cases, api_requests, api_students
from services.cases import events as e
from services.cases.desk import Desk
from services.cases.direct import WholeCase
from services.cases.front import Front
from services.cases.judge import Judge
from services.cases.lists import Lists
from services.cases.students import Students
from services.cases.views import Records
from services.kernel.application import application
from services.kernel.background import ended, every
from services.kernel.cursors import Cursors
from services.kernel.documents import Ways
from services.kernel.event_types import Registry
from services.kernel.events import Service
from services.kernel.idempotency import Idempotency
from services.kernel.problems import authenticate_first
from services.kernel.projector import Projector
from services.kernel.refusals import RefusalWindows
from services.kernel.runtime import Installation, Runtime, open_runtime
from services.kernel.settings import Settings

_WAYS: Final = Ways(
    about="Requests for support and cases of learners: read part by part, changed by command. What "
    "a caller may not see is absent, and a record of which they may see nothing does not exist. "
    "Each answer was recorded first, with what it showed.",
    tags={
        "requests": "Requests for support, from draft to case",
        "cases": "Cases: parts, items, plan, team, and what becomes of them",
        "students": "Learners, found and read",
    },
    unrepeatable=("/v1/students/search",),
    conditional=(
        "/v1/cases/{case_id}",
        "/v1/cases/{case_id}/items/{item_id}",
        "/v1/cases/{case_id}/items/{item_id}/content",
        "/v1/requests/{request_id}",
        "/v1/students/{student_id}",
    ),
)
#: how soon a learner is found by tokens, rather than by opening who is not
_NAMES_S: Final = 1.0
#: for how long at most tokens outlive the key of what they were made from
_DESTROYED_S: Final = 600.0


class Cases:
    """The service: its application, its runtime, and what runs beside the requests."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.windows = RefusalWindows(runtime.log, runtime.origins, runtime.effects)
        secret = runtime.installation.secret
        desk = Desk(runtime, Judge(engine.load()))
        cursors = Cursors(secret("cursor"))
        students = Students(desk, cursors)
        self.names = students.names
        self._tasks: list[asyncio.Task[None]] = []
        self.front = Front(
            desk,
            Lists(desk, cursors),
            students,
            AccessTokens(runtime.pool, "cases", runtime.projector),
            Idempotency(runtime),
        )
        self.app = self._application()

    @property
    def projectors(self) -> tuple[Projector, ...]:
        """Everything it folds."""
        return (self.runtime.projector,)

    def _application(self) -> FastAPI:
        app = application(Service.CASES, _WAYS)
        authenticate_first(app, self.front.admit, self.front.signed_in)
        self.windows.count_unauthenticated(app, e.UNAUTHENTICATED)
        app.add_middleware(WholeCase, front=self.front, handlers=app.exception_handlers)
        for module in (api_requests, api_cases, api_students):
            app.include_router(module.router(self.front))
        return app

    async def start(self) -> None:
        """Begin to follow the log, to count what is refused, and to make learners findable."""
        self.runtime.start()
        self.windows.start()
        for seconds, work, name in (
            (_NAMES_S, self.names.catch_up, "cases names"),
            (_DESTROYED_S, self.names.forget_destroyed, "cases names housekeeping"),
        ):
            self._tasks.append(asyncio.create_task(every(seconds, work, name, at_once=True)))

    async def stop(self) -> None:
        """Append what was accepted and counted, then stop."""
        await ended(*self._tasks)
        await self.windows.stop()
        await self.runtime.stop()


async def build(installation: Installation, settings: Settings) -> Cases:  # noqa: ARG001 - one signature for all services
    """Open the runtime of cases and wire it; nothing runs until :meth:`Cases.start`."""
    runtime = await open_runtime(
        installation,
        Service.CASES,
        Registry((*authz.TYPES, *e.TYPES)),
        lambda _keys: [Directory("cases"), Records()],
        generic_plans=True,
    )
    async with runtime.wired():
        return Cases(runtime)
