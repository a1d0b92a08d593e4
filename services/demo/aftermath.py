"""What a school day left behind: an analyst's questions, and the summary made of the answers.

In the flow: after everybody's work, over the same HTTP API. Knows what happened on the day only by
what the day says of itself (:class:`Left`) and by what the analyst is answered.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from http import HTTPStatus
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from datetime import datetime

    from services.demo.caller import Caller, Tally
    from services.demo.day_plan import Plan

_DETECTION_S: Final = 20.0
_PAGES: Final = 5
_REFUSED: Final = (401, 403, 404, 409, 412, 429)


@dataclass(slots=True)
class Left:
    """What happened that no answer tells; ``learner`` is whom the browser came across."""

    failed_logins: int = 0
    accounts_tried: int = 0
    learner: str | None = None


async def ask(analyst: Caller, day: Plan, left: Left, began: datetime) -> dict[str, Any]:
    """Ask, as the analyst, what has happened since ``began``, once detection has seen all of it."""
    browser = day.cast.browser.person.person_id
    wanted = {"out_of_hours_login", "repeated_failures_address"}
    until = monotonic() + _DETECTION_S
    alerts: list[dict[str, Any]] = []
    while monotonic() < until:
        alerts = await _all(analyst, "/audit/v1/alerts?status=open&limit=100")
        if wanted <= {alert["rule"] for alert in alerts}:
            break
        await asyncio.sleep(0.5)
    since = began.isoformat().replace("+00:00", "Z")
    path = f"/audit/v1/people/{browser}/activity?limit=100&from={since}"
    answers: dict[str, Any] = {"alerts": alerts, "browsed": await _all(analyst, path)}
    if left.learner is not None:
        path = f"/audit/v1/students/{left.learner}/accesses?limit=100&from={since}"
        answers["accesses"] = await _all(analyst, path)
    return answers


def summary(
    day: Plan, tally: Tally, left: Left, seconds: float, answers: dict[str, Any]
) -> dict[str, Any]:
    """Return what was done, what was refused, and what detection made of the wrongdoers."""
    cast, browsed, accesses = day.cast, answers["browsed"], answers.get("accesses", ())
    return {
        "requests": tally.total,
        "reads": tally.kinds["read"],
        "edits": tally.kinds["edit"],
        "seconds": round(seconds, 1),
        # and the browser, the sprayer, the two who forgot a password, the analyst
        "people": len(cast.working) + 5,
        "failed_logins": left.failed_logins,
        "refused": {str(one): tally.statuses[one] for one in _REFUSED if tally.statuses[one]},
        "unexpected": dict(tally.unexpected),
        "schools_shut": cast.shut.value if cast.shut else None,
        "alerts": dict(Counter(f"{one['rule']} ({one['severity']})" for one in answers["alerts"])),
        "browser": {
            "person_id": str(cast.browser.person.person_id),
            "username": cast.browser.person.username,
            "out_of_hours": cast.night.value if cast.night else None,
            "events": len(browsed),
            "denied": sum(event["outcome"] == "denied" for event in browsed),
        },
        "sprayer": {"address": day.sprayer, "accounts_tried": left.accounts_tried},
        "learner": {
            "student_id": left.learner,
            "accesses": len(accesses),
            "people": len({event["actor"]["person_id"] for event in accesses}),
        },
    }


async def _all(caller: Caller, path: str) -> list[dict[str, Any]]:
    """Return the items of a list's first pages."""
    items: list[dict[str, Any]] = []
    cursor: str | None = ""
    for _ in range(_PAGES):
        page = await caller.ask("GET", f"{path}&cursor={cursor}" if cursor else path)
        if page.status_code != HTTPStatus.OK:
            break
        items += page.json()["items"]
        cursor = page.json()["next_cursor"]
        if not cursor:
            break
    return items
