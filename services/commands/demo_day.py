"""``casewarden demo day``: a school day at the demonstration that is running, and what it left.

Refused on a database that was not started as a demonstration, and when nothing serves there.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import click
import httpx

from services.commands.demo import marked, served_at
from services.demo import day as days
from services.demo import day_plan
from services.demo.caller import LoginFailed
from services.demo.seed import demonstration
from services.installation import UserError, embedded, running
from services.progress import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.demo.day_plan import Plan
    from services.kernel.settings import Settings


def run(settings: Settings, *, seed: int, scale: float, as_json: bool) -> None:
    """Drive the day and print its summary."""
    base = served_at(settings)
    if not base.startswith("http://127."):
        raise UserError("a school day is driven from this machine only: serve on 127.0.0.1")
    with running(settings, embedded(settings)) as installation:
        mark = asyncio.run(marked(installation))
        check(base)
        plan = day_plan.plan(
            demonstration(mark.seed, mark.today),
            seed=mark.seed,
            day_seed=seed,
            scale=scale,
            base=base,
            now=installation.effects.now(),
        )
    with shown() as progress, progress.stage("a school day", day_plan.expected(plan)) as stage:
        summary = _driven(plan, stage.advance)
    if as_json:
        click.echo(json.dumps(summary, indent=1))
    else:
        _print(summary, base)


def check(base: str) -> None:
    """Raise :class:`UserError` unless Casewarden serves there and has nothing left to catch up."""
    try:
        status = asyncio.run(days.health(base))
    except httpx.HTTPError:
        raise UserError(f"nothing serves on {base}: start it with casewarden up") from None
    if status is None:
        raise UserError(f"what serves on {base} does not answer as Casewarden does")
    if status != "ok":
        raise UserError(f"what serves on {base} is not ready ({status}): try again in a moment")


def _driven(plan: Plan, advance: Callable[[], None]) -> dict[str, Any]:
    try:
        return asyncio.run(days.Day(plan, advance).run())
    except httpx.HTTPError as error:
        raise UserError(f"the service stopped answering: {type(error).__name__}") from None
    except LoginFailed as failed:
        raise UserError(f"the analyst of the day cannot log in ({failed.status})") from None


def _print(summary: dict[str, Any], base: str) -> None:
    browser, sprayer, learner = summary["browser"], summary["sprayer"], summary["learner"]
    rate = summary["requests"] / max(summary["seconds"], 0.1)
    refused = ", ".join(f"{count} x {status}" for status, count in summary["refused"].items())
    click.echo(
        f"\nA school day: {summary['requests']} requests ({summary['reads']} reads,"
        f" {summary['edits']} edits and logins) by {summary['people']} people"
        f" in {summary['seconds']} s, {rate:.0f} a second.\n"
        f"Refused: {refused}."
    )
    for fault, count in summary["unexpected"].items():
        click.echo(f"UNEXPECTED: {count} x {fault}")
    click.echo("\nAlerts open now:")
    for name, count in sorted(summary["alerts"].items()):
        click.echo(f"  {count:4} {name}")
    if summary["schools_shut"]:
        why = summary["schools_shut"].replace("_", " ")
        click.echo(
            f"  New Zealand's schools are shut now ({why}): everybody who logged in"
            " did so out of hours."
        )
    hours = browser["out_of_hours"] or "in hours"
    click.echo(
        f"\nSomebody browsed out of hours ({hours}): {browser['username']},"
        f" {browser['events']} events, {browser['denied']} of them refusals.\n"
        f"Somebody tried one password on {sprayer['accounts_tried']} accounts"
        f" from {sprayer['address']}.\n"
        f"{touched(learner)}\n"
        "\nWhere to look, with a security analyst's token:\n"
        f"  {base}/audit/v1/alerts?status=open\n"
        f"  {base}/audit/v1/people/{browser['person_id']}/activity\n"
        f"  {base}/audit/v1/students/{learner['student_id'] or '…'}/accesses\n"
        f"and without one:\n"
        f"  {base}/audit/metrics    casewarden_alerts_open, casewarden_login_attempts_total"
    )


def touched(learner: dict[str, Any]) -> str:
    """Return the sentence about the learner whom the browser came across."""
    times = _counted(learner["accesses"], "time", "times")
    people = _counted(learner["people"], "person", "people")
    return f"One learner's records were touched {times} that day by {people}."


def _counted(count: int, one: str, more: str) -> str:
    return f"{count} {one if count == 1 else more}"
