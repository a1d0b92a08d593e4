"""Reviewing alerts: which there are, what is behind one, and what it turned out to be (SG-10).

An alert is judged once: a second judgement is a conflict until detection adds something to it.
Nobody judges an alert about themselves. The note is sealed under ``review`` of the alert.
"""

from uuid import UUID

import asyncpg
import msgspec

from services.audit import events as e
from services.audit import models
from services.audit.alerts import Alert, Judged, decode_alert
from services.audit.asking import Asking, Found, Subject
from services.audit.grounds import Asker, ClientStanding, Scope, Standing
from services.audit.pages import Walk, walk
from services.audit.queries import EventQueries
from services.audit.selection import Selection, within
from services.kernel.cursors import Cursors
from services.kernel.errors import Conflict, Forbidden, NotFound, Problem
from services.kernel.events import ObjectRef
from services.kernel.handling import Draft
from services.kernel.idempotency import Attempt
from services.kernel.sealing import Compartment, KeyRef, KeyStore, SealBroken


class Reviews:
    """Answers about alerts, and takes judgements."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        asking: Asking,
        events: EventQueries,
        keys: KeyStore,
        cursors: Cursors,
    ) -> None:
        self._pool = pool
        self._asking = asking
        self._events = events
        self._keys = keys
        self._cursors = cursors

    async def alerts(self, asker: Asker, query: models.AlertQuery) -> models.AlertPage:
        """Return alerts, the latest raised first."""
        steps = walk(self._cursors, asker, "alerts", query)

        async def find(scope: Scope) -> Found[models.AlertPage]:
            rows, cursor = steps.page(await self._select(query, scope, steps))
            items = [await self._shown(decode_alert(row["state"])) for row in rows]
            reply = models.AlertPage(items=items, next_cursor=cursor)
            return Found(reply, {"alerts": [str(alert.id) for alert in items]})

        subject = Subject(
            "alert",
            "search" if query.question() else "list",
            filters=sorted(query.question()),
            about=ObjectRef("person", str(query.person)) if query.person else None,
        )
        return await self._asking.ask(asker, subject, find)

    async def _select(
        self, query: models.AlertQuery, scope: Scope, steps: Walk
    ) -> list[asyncpg.Record]:
        selection = Selection()
        selection.given("position < {0}", steps.before)
        selection.given("status = {0}", query.status)
        selection.given("rule = {0}", query.rule)
        selection.given("person_id = {0}", query.person)
        within(selection, scope, ("organisation_id",))
        rows: list[asyncpg.Record] = await self._pool.fetch(
            f"select position, state from audit.alert where {selection}"
            f" order by position desc limit {steps.limit + 1:d}",
            *selection.parameters,
        )
        return rows

    async def alert(self, asker: Asker, alert_id: UUID) -> models.AlertWithEvidence:
        """Return an alert with the events behind it that are within the asker's scope."""

        async def find(scope: Scope) -> Found[models.AlertWithEvidence] | None:
            alert = await self._load(alert_id, scope)
            if alert is None:
                return None
            evidence = await self._events.by_ids(alert.raised.evidence, scope)
            reply = models.AlertWithEvidence(
                **dict(await self._shown(alert)),
                evidence=await self._events.render(evidence),
                evidence_more=alert.raised.evidence_more,
            )
            ids = [str(recorded.event.id) for recorded in evidence]
            return Found(reply, {"alerts": [str(alert_id)], "events": ids})

        return await self._asking.ask(asker, _one(alert_id, "read"), find)

    async def resolve(
        self,
        asker: Asker,
        alert_id: UUID,
        resolution: models.Resolution,
        attempt: Attempt | None = None,
    ) -> models.Alert:
        """Judge an alert; raise :class:`Conflict` when that was done already.

        Whoever repeats an ``attempt`` that did it reads the alert as it is by then.
        """

        async def decide() -> Draft[models.Alert]:
            asking = self._asking
            standing, subject = await asking.standing(asker), _one(alert_id, "resolve")
            seen, may = (asking.scope(standing, does, "alert") for does in ("read", "resolve"))
            alert = await self._load(alert_id, seen) if seen else None
            problem = _problem(alert, standing, may)
            if problem is not None or alert is None or may is None:
                return await asking.refusal(asker, standing, seen, subject, problem or NotFound())
            return await self._judge(asker, standing, may, alert, resolution)

        return await self._asking.once(asker, attempt, decide, lambda: self._again(asker, alert_id))

    async def _again(self, asker: Asker, alert_id: UUID) -> Draft[models.Alert]:
        asking, subject = self._asking, _one(alert_id, "read")
        standing = await asking.standing(asker)
        scope = asking.scope(standing, "read", "alert")
        alert = await self._load(alert_id, scope) if scope else None
        if alert is None:
            return await asking.refusal(asker, standing, scope, subject, NotFound())
        shown = {"alerts": [str(alert_id)]}
        event = await asking.event(asker, standing, scope, subject, shown=shown)
        draft: Draft[models.Alert] = asking.draft(standing, event, await self._shown(alert))
        return draft

    async def _judge(
        self,
        asker: Asker,
        standing: Standing | ClientStanding,
        scope: Scope,
        alert: Alert,
        resolution: models.Resolution,
    ) -> Draft[models.Alert]:
        asked = await self._asking.event(
            asker, standing, scope, _one(alert.id, "resolve"), shown={"alerts": [str(alert.id)]}
        )
        note = await self._seal(alert.id, asked.id, resolution.note)
        event = msgspec.structs.replace(
            asked,
            type=e.ALERT_RESOLVED,
            stream=e.alert_key(alert.id),
            version=alert.version + 1,
            touches=(e.alert_key(alert.id),),
            organisation_id=alert.raised.organisation_id,
            data=msgspec.structs.asdict(
                e.AlertResolved(alert_id=alert.id, verdict=resolution.verdict, note=note)
            ),
        )
        judged = Judged(resolution.verdict, note, event.id, asker.person_id, event.recorded_at)
        reply = await self._shown(msgspec.structs.replace(alert, judged=judged))
        draft: Draft[models.Alert] = self._asking.draft(standing, event, reply)
        return draft

    async def _seal(self, alert_id: UUID, event_id: UUID, note: str | None) -> str | None:
        if note is None:
            return None
        ref = KeyRef(alert_id, Compartment.REVIEW)
        await self._keys.load([ref], create=True)
        return self._keys.seal(ref, event_id, "note", note)

    async def _load(self, alert_id: UUID, scope: Scope) -> Alert | None:
        state = await self._pool.fetchval("select state from audit.alert where id = $1", alert_id)
        alert = decode_alert(state) if state else None
        return alert if alert and scope.holds(alert.raised.organisation_id) else None

    async def _shown(self, alert: Alert) -> models.Alert:
        raised = alert.raised
        return models.Alert(
            id=alert.id,
            rule=raised.rule,
            severity=raised.severity,
            title=raised.title,
            status=alert.status,
            person_id=raised.person_id,
            organisation_id=raised.organisation_id,
            occurred_at=raised.occurred_at,
            raised_at=alert.raised_at,
            details=raised.details,
            resolution=await self._resolved(alert),
        )

    async def _resolved(self, alert: Alert) -> models.Resolved | None:
        judged, note = alert.judged, alert.sealed_note()
        if judged is None:
            return None
        text = None
        if note is not None:
            await self._keys.load([note.ref])
            try:
                text = self._keys.open_sealed(note)
            except SealBroken:
                text = None
        return models.Resolved(
            verdict=judged.verdict,
            note=text,
            resolved_by=judged.resolved_by,
            resolved_at=judged.resolved_at,
        )


def _one(alert_id: UUID, action: str) -> Subject:
    return Subject("alert", action, about=ObjectRef("alert", str(alert_id)))


def _problem(
    alert: Alert | None, standing: Standing | ClientStanding, may: Scope | None
) -> Problem | None:
    """Return why it cannot be judged by them, in the contract's order."""
    if alert is None:
        return NotFound()
    about_themselves = alert.raised.person_id == standing.person_id
    if may is None or not may.holds(alert.raised.organisation_id) or about_themselves:
        return Forbidden()
    return Conflict("The alert is already resolved") if alert.judged else None
