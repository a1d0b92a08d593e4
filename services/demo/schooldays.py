"""School days of New Zealand and working moments on them.

Owns a plain approximation of the four terms, less every holiday kept anywhere
in the region, so that a day found here is believable for each of its schools.
It is for histories only: nothing that decides access or raises an alert may
rest on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import TYPE_CHECKING

import holidays

from services.demo.tables import table

if TYPE_CHECKING:
    from random import Random
    from zoneinfo import ZoneInfo

TERMS = (((2, 3), (4, 9)), ((4, 28), (6, 30)), ((7, 18), (9, 22)), ((10, 10), (12, 16)))
SATURDAY = 5
DAY_BEGINS, DAY_ENDS = 8 * 60, 16 * 60 + 30


@dataclass(frozen=True, slots=True)
class History:
    """The past school days, oldest first, and the day the region is looked at."""

    days: tuple[date, ...]
    today: date


def is_school_day(day: date) -> bool:
    """Tell whether schools of every part of the region are usually open."""
    if day.weekday() >= SATURDAY or day in _closed(day.year):
        return False
    return any(first <= (day.month, day.day) <= last for first, last in TERMS)


def history_before(today: date, count: int) -> History:
    """Return the last `count` school days before today."""
    found: list[date] = []
    day = today
    while len(found) < count:
        day -= timedelta(days=1)
        if is_school_day(day):
            found.append(day)
    return History(tuple(reversed(found)), today)


def working_moment(draw: Random, day: date, zone: ZoneInfo) -> datetime:
    """Return a moment of that day, between eight and half past four by the local clock, in UTC."""
    hour, minute = divmod(draw.randint(DAY_BEGINS, DAY_ENDS), 60)
    local = datetime.combine(day, time(hour, minute, draw.randrange(60)), zone)
    return local.astimezone(UTC)


@cache
def _closed(year: int) -> frozenset[date]:
    """Return the holidays of a year, anniversary days of every part included."""
    parts = sorted({row[2] for row in table("region")["towns"].values()})
    return frozenset(
        day for part in parts for day in holidays.country_holidays("NZ", subdiv=part, years=year)
    )
