"""Wires the audit service: what it folds, what it answers, and what it raises by itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from fastapi import FastAPI

from services.audit.alerts import Alerts
from services.audit.api import Front, routes
from services.audit.asking import Asking
from services.audit.detecting import follower, forget_other_rules
from services.audit.events import UNAUTHENTICATED, WholeLog
from services.audit.grounds import AUDIT_READ
from services.audit.judging import Judging
from services.audit.queries import EventQueries
from services.audit.raising import Raising
from services.audit.rendering import Renderer
from services.audit.reviews import Reviews
from services.audit.sessions import SessionQueries
from services.audit.views import EventIndex, Sessions
from services.authz import engine
from services.authz.access import AccessTokens
from services.authz.directory_fold import Directory
from services.kernel.application import application
from services.kernel.budgets import RefusalBudget
from services.kernel.cursors import Cursors
from services.kernel.documents import Ways
from services.kernel.event_types import EventType
from services.kernel.events import Service
from services.kernel.origins import Places
from services.kernel.problems import authenticate_first
from services.kernel.projector import Projector
from services.kernel.refusals import RefusalWindows
from services.kernel.runtime import Installation, Runtime, open_runtime
from services.kernel.settings import Settings

_WAYS: Final = Ways(
    about="The log as questions: what happened, who saw whom, from where, and what detection made "
    "of it. For security analysts and privacy officers (at the Ministry everywhere, elsewhere for "
    "their own organisation) and service clients with a scope; to everybody else it is not there. "
    "Asking is an event too.",
    tags={
        "events": "The log, by filters, by learner and by person; never content",
        "sessions": "Who was logged in, from when until when, from where",
        "alerts": "What detection found, its evidence, and what it turned out to be",
    },
    scoped={
        "/v1/events": AUDIT_READ,
        "/v1/events/{event_id}": AUDIT_READ,
        "/v1/students/{student_id}/accesses": AUDIT_READ,
        "/v1/people/{person_id}/activity": AUDIT_READ,
    },
)


@dataclass(frozen=True, slots=True)
class Audit:
    """The service: its application, and what runs beside it."""

    app: FastAPI
    runtime: Runtime
    #: folds ``audit.detection`` alone
    detection: Projector
    raising: Raising
    refusals: RefusalWindows
    budget: RefusalBudget

    @property
    def projectors(self) -> tuple[Projector, ...]:
        """What questions are asked of, and detection, which no question waits for."""
        return (self.runtime.projector, self.detection)

    async def start(self) -> None:
        """Begin to follow the log and to raise alerts; call it before serving."""
        await forget_other_rules(self.runtime.pool)
        self.runtime.start()
        self.detection.start()
        self.refusals.start()
        self.raising.start()

    async def stop(self) -> None:
        """Append what was accepted, then stop."""
        await self.raising.stop()
        await self.refusals.stop()
        await self.detection.stop()
        await self.runtime.stop()


async def build(
    installation: Installation, settings: Settings, vocabulary: Sequence[EventType]
) -> Audit:
    """Open the runtime and wire the service; nothing runs until it is started.

    ``vocabulary`` are the event types of every service of the installation: audit folds the whole
    log, knows no other service's modules, and stops at a type that nobody told it of.
    """
    runtime = await open_runtime(
        installation,
        Service.AUDIT,
        WholeLog(vocabulary),
        lambda _keys: [Directory("audit"), EventIndex(), Sessions(), Alerts()],
        observations=True,
        projectors=2,
    )
    async with runtime.wired():
        return _wired(runtime, settings, vocabulary)


def _wired(runtime: Runtime, settings: Settings, vocabulary: Sequence[EventType]) -> Audit:
    secret = runtime.installation.secret("detection")
    detection = follower(runtime.projector_pool, runtime.keys, secret, vocabulary)
    refusals = RefusalWindows(runtime.log, runtime.origins, runtime.effects)
    budget = RefusalBudget()
    app = application(Service.AUDIT, _WAYS)
    refusals.count_unauthenticated(app, UNAUTHENTICATED)
    front = _front(runtime, settings, budget, vocabulary)
    authenticate_first(app, front.admit, front.signed_in)
    app.include_router(routes(front))
    return Audit(app, runtime, detection, Raising(runtime), refusals, budget)


def _front(
    runtime: Runtime, settings: Settings, budget: RefusalBudget, vocabulary: Sequence[EventType]
) -> Front:
    asking = Asking(runtime, engine.load(), budget)
    places = Places(runtime.keys)
    cursors = Cursors(runtime.installation.secret("cursor"))
    renderer = Renderer(places)
    events = EventQueries(runtime.pool, asking, renderer, cursors, vocabulary)
    idle = timedelta(seconds=settings.session_idle_seconds)
    reviews = Reviews(runtime.pool, asking, events, renderer, runtime.keys, cursors)
    return Front(
        tokens=AccessTokens(runtime.pool, "audit", runtime.projector),
        asking=asking,
        now=runtime.effects.now,
        events=events,
        sessions=SessionQueries(runtime.pool, asking, places, cursors, runtime.effects, idle=idle),
        reviews=reviews,
        judging=Judging(asking, reviews, runtime.keys),
    )
