"""How fast the whole log is checked, and how fast detection follows it."""

import asyncio
from time import perf_counter
from typing import Final

import asyncpg

from services.audit.detecting import Detection
from services.audit.events import WholeLog
from services.audit.signals import Signals
from services.authz import session_events as authz
from services.installation import vocabulary
from services.kernel.events import Actor, Event, Outcome, Service
from services.kernel.groups import Group
from services.kernel.http import Call
from services.kernel.origins import Origins, Places
from services.kernel.projector import Projector
from services.kernel.runtime import Installation, open_runtime
from services.verification import verify
from tests.bench import place
from tests.bench.results import Results

_LOGINS: Final = 4_000
_PER_GROUP: Final = 200


def measure(results: Results, installation: Installation, *, quick: bool) -> None:
    """Measure what there is to measure into ``results``."""
    print("the whole log")
    asyncio.run(_detection(results, installation, _LOGINS // 4 if quick else _LOGINS))
    asyncio.run(_verify(results, installation))


async def _verify(results: Results, installation: Installation) -> None:
    owner = await asyncpg.connect(installation.server.url)
    try:
        began = perf_counter()
        summary = await verify(owner)
        results.figure("verify_events_per_s", summary.events / (perf_counter() - began), "events/s")
    finally:
        await owner.close()


async def _detection(results: Results, installation: Installation, logins: int) -> None:
    """Fold the log with detection alone: every event of the log, failed logins among them."""
    await _fail_logins(installation, logins)
    secret = installation.secret("detection")
    runtime = await open_runtime(
        installation, Service.AUDIT, WholeLog(vocabulary()), lambda _keys: [], observations=True
    )
    places = Places(runtime.keys)
    projector = Projector(
        runtime.pool,
        "audit",
        WholeLog(vocabulary()),
        [Detection(places, Signals(places, secret))],
        observations=True,
    )
    began = perf_counter()
    folded = await projector.rebuild()
    results.figure("detection_events_per_s", folded / (perf_counter() - began), "events/s")
    await runtime.stop()


async def _fail_logins(installation: Installation, count: int) -> None:
    async with place.appender(installation, Service.AUTHZ) as runtime:
        effects = runtime.effects
        origins = Origins(runtime.keys, effects)
        events = []
        for number in range(count):
            event_id = effects.new_id()
            call = Call(str(event_id), f"192.0.2.{number % 200}", "Mozilla/5.0 Firefox/128.0")
            events.append(
                Event(
                    id=event_id,
                    type=authz.LOGIN_FAILED,
                    recorded_at=effects.now(),
                    actor=Actor(),
                    origin=await origins.seal(event_id, call, None),
                    action="login",
                    outcome=Outcome.FAILED,
                    data={"account": f"{number % 500:032x}"},
                )
            )
        for first in range(0, count, _PER_GROUP):
            await runtime.log.append(Group(events[first : first + _PER_GROUP]))
