"""Judging alerts: what one turned out to be, once, by somebody else (SG-10).

A second judgement is a conflict until detection adds something to the alert. Nobody judges an alert
about themselves. The note is sealed under ``review`` of the alert.
"""

from functools import partial
from uuid import UUID

import msgspec

from services.audit import answers, models
from services.audit import events as e
from services.audit.alerts import Alert, evolve
from services.audit.askers import Asker, Principal
from services.audit.asking import Asking, found
from services.audit.grounds import Scope
from services.audit.reviews import Reviews, one_alert
from services.kernel.errors import Conflict, Forbidden, NotFound, Problem
from services.kernel.handling import Draft
from services.kernel.idempotency import Attempt
from services.kernel.keystore import KeyStore
from services.kernel.sealing import Compartment, KeyRef


class Judging:
    """Takes judgements of alerts."""

    def __init__(self, asking: Asking, reviews: Reviews, keys: KeyStore) -> None:
        self._asking = asking
        self._reviews = reviews
        self._keys = keys

    async def resolve(
        self,
        asker: Asker,
        alert_id: UUID,
        resolution: models.Resolution,
        attempt: Attempt | None = None,
    ) -> answers.Alert:
        """Judge an alert; raise :class:`Conflict` when that was done already.

        Whoever repeats an ``attempt`` that did it reads the alert as it is by then.
        """

        async def decide(head: int) -> Draft[answers.Alert]:
            asking = self._asking
            principal = await asking.principal(asker, head)
            subject = one_alert(alert_id, "resolve")
            seen, may = (asking.scope(principal, does, "alert") for does in ("read", "resolve"))
            alert = await self._reviews.load(alert_id, seen) if seen else None
            if seen is None or alert is None:
                return await asking.refusal(asker, principal, seen, subject, NotFound())
            place = alert.raised.organisation_id
            by = may.at(place) if may else None
            problem = _problem(alert, principal, by)
            if by is None or problem is not None:
                shows = by or seen.at(place)
                return await asking.refusal(
                    asker, principal, shows, subject, problem or Forbidden()
                )
            return await self._judge(asker, principal, by, seen, alert, resolution)

        again = partial(self._again, asker, alert_id)
        return await self._asking.once(asker, attempt, decide, again)

    async def _again(self, asker: Asker, alert_id: UUID, head: int) -> Draft[answers.Alert]:
        asking, subject = self._asking, one_alert(alert_id, "read")
        principal = await asking.principal(asker, head)
        scope = asking.scope(principal, "read", "alert")
        alert = await self._reviews.load(alert_id, scope) if scope else None
        seen = scope.over(alert.raised.organisation_id) if scope and alert else None
        if alert is None or seen is None:
            return await asking.refusal(asker, principal, scope, subject, NotFound())
        reply = await self._reviews.shown(alert, seen)
        shown = {"alerts": [str(alert_id)]}
        return await asking.answer(asker, principal, subject, found(reply, seen, lambda _: shown))

    async def _judge(
        self,
        asker: Asker,
        principal: Principal,
        by: Scope,
        seen: Scope,
        alert: Alert,
        resolution: models.Resolution,
    ) -> Draft[answers.Alert]:
        """Judge it by one post; what others show of it is told to their own organisations."""
        place, shown = alert.raised.organisation_id, {"alerts": [str(alert.id)]}
        reaching = seen.over(place) or seen
        others = [p for p in reaching.apart() if p.organisation_id != by.organisation_id]
        asked, *reads = [
            await self._asking.event(
                asker, principal, post, one_alert(alert.id, "resolve"), shown=shown
            )
            for post in (by, *others)
        ]
        note = await self._seal(alert.id, asked.id, resolution.note)
        event = msgspec.structs.replace(
            asked,
            type=e.ALERT_RESOLVED,
            stream=e.alert_key(alert.id),
            version=alert.version + 1,
            touches=(e.alert_key(alert.id),),
            organisation_id=place,
            data=msgspec.structs.asdict(
                e.AlertResolved(alert_id=alert.id, verdict=resolution.verdict, note=note)
            ),
        )
        judged = evolve(alert, event)
        reply = await self._reviews.shown(judged or alert, seen)
        draft: Draft[answers.Alert] = self._asking.draft(principal, [event, *reads], reply)
        return draft

    async def _seal(self, alert_id: UUID, event_id: UUID, note: str | None) -> str | None:
        if note is None:
            return None
        ref = KeyRef(alert_id, Compartment.REVIEW)
        await self._keys.load([ref], create=True)
        return self._keys.seal(ref, event_id, "note", note)


def _problem(alert: Alert, principal: Principal, by: Scope | None) -> Problem | None:
    """Return why it cannot be judged by this post of theirs, in the contract's order."""
    if by is None or alert.raised.person_id == principal.person_id:
        return Forbidden()
    return Conflict("The alert is already resolved") if alert.judged else None
