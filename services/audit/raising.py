"""Raises alerts: takes what detection found to the log, apart from any fold.

``audit.finding`` is an outbox: a finding is marked as told once its alert, as folded, holds it, and
only what is not marked is looked at. Nothing rests on the mark: however often a finding is offered
(after a restart, by several processes, after a rebuild), it lands once: the alert's id comes from
the finding's key, the stream takes each version once, and a once-key stands for each finding.
"""

import asyncio
import contextlib
import hashlib
from typing import Final

import msgspec

from services.audit import events as e
from services.audit.alerts import Alert, decode_alert
from services.audit.detection import rules
from services.audit.detection.signals import Finding
from services.kernel import telemetry
from services.kernel.background import ended, every
from services.kernel.errors import Unavailable
from services.kernel.events import Actor, Event, ObjectRef
from services.kernel.groups import Group
from services.kernel.log import Refused
from services.kernel.runtime import Runtime

_EVERY_S: Final = 0.5
_AT_ONCE: Final = 50
_PENDING: Final = (
    "select distinct on (f.key) f.ordinal, f.finding, a.state from audit.finding f"
    " left join audit.alert a on a.key = f.key"
    " where not f.told order by f.key, f.ordinal desc limit $1"
)
_MARK: Final = (
    "with landed as (select f.key, f.ordinal from audit.finding f join audit.alert a using (key)"
    " where not f.told and f.ordinal <= a.told for update of f skip locked)"
    " update audit.finding f set told = true from landed"
    " where f.key = landed.key and f.ordinal = landed.ordinal"
)
#: who raises alerts, as their events name them
DETECTION: Final = Actor(client_id="detection")
_finding = msgspec.json.Decoder(Finding)


class Raising:
    """Keeps alerts up with findings."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to raise."""
        work = every(_EVERY_S, self._turn, "audit alerts", at_once=True)
        self._task = asyncio.create_task(work, name="raise-alerts")

    async def stop(self) -> None:
        """Stop; what is pending is raised at the next start."""
        if self._task is not None:
            await ended(self._task)

    async def _turn(self) -> None:
        await self.raise_pending()
        await self._count_open()

    async def raise_pending(self) -> int:
        """Append what is found and not yet told; return how many alerts were raised or updated.

        Raises :class:`Unavailable` when the log cannot be written.
        """
        await self._runtime.pool.execute(_MARK)
        rows = await self._runtime.pool.fetch(_PENDING, _AT_ONCE)
        told = 0
        for row in rows:
            alert = decode_alert(row["state"]) if row["state"] else None
            told += await self._tell(_finding.decode(row["finding"]), row["ordinal"], alert)
        return told

    async def _tell(self, finding: Finding, ordinal: int, alert: Alert | None) -> bool:
        event = self._event(finding, ordinal, alert)
        once = hashlib.sha256(f"audit.finding {finding.key} {ordinal}".encode()).digest()
        try:
            position = await self._runtime.log.append(Group([event], once=[once]))
        except Refused as moved:
            # Somebody told it already, or the alert changed meanwhile: look again next time.
            with contextlib.suppress(Unavailable):
                await self._runtime.projector.reached(moved.position)
            return False
        # One that has become worse is told as another: who was not called for it is called now.
        if alert is None or alert.raised.severity != finding.severity:
            telemetry.ALERTS_RAISED.labels(finding.rule, finding.severity).inc()
        self._runtime.projector.nudge()
        await self._runtime.projector.reached(position)
        return True

    def _event(self, finding: Finding, ordinal: int, alert: Alert | None) -> Event:
        alert_id = e.alert_id(finding.key)
        data = e.AlertRaised(
            alert_id=alert_id,
            told=ordinal,
            **{f: getattr(finding, f) for f in finding.__dataclass_fields__},
        )
        return Event(
            id=self._runtime.effects.new_id(),
            type=e.ALERT_UPDATED if alert else e.ALERT_RAISED,
            stream=e.alert_key(alert_id),
            version=alert.version + 1 if alert else 1,
            touches=(e.alert_key(alert_id),),
            recorded_at=self._runtime.effects.now(),
            actor=DETECTION,
            action="update" if alert else "create",
            object=ObjectRef("alert", str(alert_id)),
            organisation_id=finding.organisation_id,
            data=msgspec.to_builtins(data, builtin_types=()),
        )

    async def _count_open(self) -> None:
        rows = await self._runtime.pool.fetch(
            "select rule, count(*) as open from audit.alert where status = 'open' group by rule"
        )
        counts = {row["rule"]: row["open"] for row in rows}
        for rule in rules.FINDING_RULES | counts.keys():
            telemetry.ALERTS_OPEN.labels(rule).set(counts.get(rule, 0))
