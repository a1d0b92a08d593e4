"""Reviewing alerts: which there are, and what is behind one (SG-10).

What an alert turned out to be is said in :mod:`services.audit.judging`.
"""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

import asyncpg

from services.audit import answers, models
from services.audit.alerts import Alert, Judged, decode_alert
from services.audit.askers import Asker
from services.audit.asking import Asking, Found, Subject, found
from services.audit.grounds import Scope
from services.audit.pages import walk
from services.audit.queries import EventQueries
from services.audit.read_models import ALERTS, newest_first
from services.audit.rendering import Renderer
from services.audit.selection import of_alerts
from services.audit.signals import organisation_of
from services.kernel.cursors import Cursors
from services.kernel.events import ObjectRef, Recorded
from services.kernel.keystore import KeyStore
from services.kernel.sealing import SealBroken

_ROWS: Final = "select a.position, a.state from audit.alert a"
_ONE: Final = f"{_ROWS} where a.id = $1"
_ONE_OWN: Final = (
    "select a.position, a.state from unnest($2::uuid[]) own(id) join audit.alert a"
    " on a.organisation_id::text || a.id::text = own.id::text || $1::uuid::text"
)


class Reviews:
    """Answers about alerts."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        asking: Asking,
        events: EventQueries,
        renderer: Renderer,
        keys: KeyStore,
        cursors: Cursors,
    ) -> None:
        self._pool = pool
        self._asking = asking
        self._events = events
        self._renderer = renderer
        self._keys = keys
        self._cursors = cursors

    async def alerts(self, asker: Asker, query: models.AlertQuery) -> answers.AlertPage:
        """Return alerts, the latest raised first."""
        steps = walk(self._cursors, asker, "alerts", query)

        async def find(scope: Scope) -> Found[answers.AlertPage]:
            rows, cursor = await steps.page(
                self._pool, scope, (ALERTS,), _ROWS, "a.position", of_alerts(query, scope)
            )
            alerts = [decode_alert(row["state"]) for row in rows]
            items = [await self.shown(alert, scope) for alert in alerts]
            reply = answers.AlertPage(items=items, next_cursor=cursor)
            return found(
                reply,
                scope,
                lambda own: {"alerts": [str(a.id) for a in alerts if _shows(query, own, a)]},
            )

        subject = Subject(
            "alert",
            "search" if query.question() else "list",
            filters=sorted(query.question()),
            about=ObjectRef("person", str(query.person)) if query.person else None,
        )
        return await self._asking.ask(asker, subject, find)

    async def alert(self, asker: Asker, alert_id: UUID) -> answers.AlertWithEvidence:
        """Return an alert with the events behind it that are within the asker's scope."""

        async def find(scope: Scope) -> Found[answers.AlertWithEvidence] | None:
            alert = await self.load(alert_id, scope)
            seen = scope.over(alert.raised.organisation_id) if alert else None
            if alert is None or seen is None:
                return None
            evidence = await self._events.by_ids(alert.raised.evidence, seen)
            reply = answers.AlertWithEvidence(
                **dict(await self.shown(alert, seen)),
                evidence=await self._renderer.render(evidence, seen),
                evidence_more=_left_out(alert, evidence, seen),
            )
            events = [recorded.event for recorded in evidence]
            return found(
                reply,
                seen,
                lambda own: {
                    "alerts": [str(alert_id)],
                    "events": [str(event.id) for event in events if own.covers(event)],
                },
            )

        return await self._asking.ask(asker, one_alert(alert_id, "read"), find)

    async def load(self, alert_id: UUID, scope: Scope) -> Alert | None:
        """Return an alert of the scope's organisations; ``None`` for any other, or none."""
        one = (_ONE, alert_id) if scope.everywhere else (_ONE_OWN, alert_id, scope.own)
        rows = await newest_first(self._pool, scope, (ALERTS,), *one)
        return next((decode_alert(row["state"]) for row in rows), None)

    async def shown(self, alert: Alert, scope: Scope) -> answers.Alert:
        """Return an alert as its reader sees it, the note of its judgement opened.

        Outside the Ministry it names own people and own counts, and who judged it, in which words,
        where that was somebody of one's own.
        """
        raised = alert.raised
        told = raised if scope.everywhere else raised.own
        return answers.Alert(
            id=alert.id,
            rule=raised.rule,
            severity=raised.severity,
            title=raised.title,
            status=alert.status,
            person_id=told.person_id,
            organisation_id=raised.organisation_id,
            occurred_at=raised.occurred_at,
            raised_at=alert.raised_at,
            details=told.details,
            resolution=await self._resolved(alert, alert.judged, scope) if alert.judged else None,
        )

    async def _resolved(self, alert: Alert, judged: Judged, scope: Scope) -> answers.Resolved:
        own = scope.holds(judged.organisation_id)
        return answers.Resolved(
            verdict=judged.verdict,
            note=await self._note(alert) if own else None,
            resolved_by=judged.resolved_by if own else None,
            resolved_at=judged.resolved_at,
        )

    async def _note(self, alert: Alert) -> str | None:
        note = alert.sealed_note()
        if note is None:
            return None
        await self._keys.load([note.ref])
        try:
            return self._keys.open_sealed(note)
        except SealBroken:
            return None


def _left_out(alert: Alert, evidence: Sequence[Recorded], scope: Scope) -> int:
    """Return how many events behind an alert are not shown: of those that are the reader's."""
    if scope.everywhere:
        return alert.raised.evidence_more
    own = sum(organisation_of(recorded) == alert.raised.organisation_id for recorded in evidence)
    return max(0, alert.raised.own.events - own)


def _shows(query: models.AlertQuery, scope: Scope, alert: Alert) -> bool:
    """Say whether :func:`of_alerts` of a scope finds an alert, which passes every filter."""
    told = scope.everywhere or query.person in {None, alert.raised.own.person_id}
    return scope.holds(alert.raised.organisation_id) and told


def one_alert(alert_id: UUID, action: str) -> Subject:
    """Return a question about one alert."""
    return Subject("alert", action, about=ObjectRef("alert", str(alert_id)))
