"""Signals and organisations for the claims about detection."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import UUID

from services.audit.detection import rules
from services.audit.detection.calendar import Hours
from services.audit.detection.signals import (
    ALLOWED,
    FAILED,
    LOGIN_FAILED,
    LOGIN_THROTTLED,
    SESSION_STARTED,
    Finding,
    Signal,
)

AUCKLAND_SCHOOL = Hours("school", "Pacific/Auckland", "AUK")
WELLINGTON_SCHOOL = Hours("school", "Pacific/Auckland", "WGN")
CHATHAM_SCHOOL = Hours("school", "Pacific/Chatham", "CIT")
AUCKLAND_ASP = Hours("asp", "Pacific/Auckland", "AUK")
AUCKLAND_ISP = Hours("isp", "Pacific/Auckland", "AUK")
MINISTRY = Hours("ministry", "Pacific/Auckland", "WGN")

# A Tuesday in term, 10:00 in Auckland.
TUESDAY_MORNING = datetime(2026, 3, 2, 21, 0, tzinfo=UTC)

_positions = count()


def person(number: int) -> UUID:
    """Return the person of that number."""
    return UUID(int=1_000_000 + number)


def signal(
    kind: str,
    after: timedelta = timedelta(0),
    *,
    who: int | None = None,
    account: str | None = None,
    address: str | None = "192.0.2.1",
    hours: Hours | None = AUCKLAND_SCHOOL,
    outcome: str = FAILED,
    at: datetime = TUESDAY_MORNING,
    times: int = 1,
    about: int | None = None,
    device: str | None = None,
    session: int | None = None,
    others: int = 0,
    of: int = 7,
) -> Signal:
    """Make a signal with a position and an event id of its own, ``of`` an organisation."""
    position = next(_positions)
    return Signal(
        position=position,
        event_id=UUID(int=position),
        type=kind,
        occurred_at=at + after,
        person_id=None if who is None else person(who),
        account=account,
        address=address,
        organisation=hours,
        organisation_id=UUID(int=of),
        outcome=outcome,
        count=times,
        about=None if about is None else person(about),
        device=device,
        session=None if session is None else UUID(int=2_000_000 + session),
        others=others,
    )


def failure(
    after: timedelta = timedelta(0),
    *,
    who: int | None = None,
    account: str | None = None,
    address: str | None = "192.0.2.1",
) -> Signal:
    """Make a failed login."""
    return signal(LOGIN_FAILED, after, who=who, account=account, address=address)


def success(
    after: timedelta = timedelta(0), *, who: int = 1, address: str | None = "192.0.2.1"
) -> Signal:
    """Make a login, in hours."""
    return signal(SESSION_STARTED, after, who=who, address=address, outcome=ALLOWED)


def login_at(at: datetime, hours: Hours | None, *, who: int = 1) -> Signal:
    """Make a login at this moment."""
    return signal(SESSION_STARTED, who=who, hours=hours, outcome=ALLOWED, at=at)


def throttled(after: timedelta, times: int, address: str = "192.0.2.1") -> Signal:
    """Make a counted window of throttled logins."""
    return signal(LOGIN_THROTTLED, after, address=address, times=times)


def findings(signals: Iterable[Signal]) -> list[Finding]:
    """Return what the rules find in these signals, from the start."""
    states, found = rules.initial(), list[Finding]()
    for each in signals:
        states, new = rules.fold_all(states, each)
        found += new
    return found


def keys(found: Iterable[Finding]) -> set[tuple[str, str]]:
    """Return the alerts these findings make: one a key."""
    return {(finding.rule, finding.key) for finding in found}


def of_rule(found: Iterable[Finding], rule: str) -> list[Finding]:
    """Return the findings of one rule."""
    return [finding for finding in found if finding.rule == rule]
