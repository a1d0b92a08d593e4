"""Whether a moment lies outside an organisation's hours, and why (SG-9).

Owns: opening hours by kind of organisation, public holidays with regional anniversary days,
and school holidays. Decides in the organisation's own local time, daylight saving included.
Never reads a clock. What is not known is not a reason: a year without published term dates
has no school holidays, and then weekends, public holidays and hours decide.
"""

import tomllib
from dataclasses import dataclass
from datetime import date, datetime, time
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final, Literal, get_args
from zoneinfo import ZoneInfo

import holidays

from services.kernel.codes import Code

Kind = Literal["school", "asp", "isp", "ministry"]


class Reason(Code):
    """Why a moment is outside the hours; the first of these that applies."""

    NIGHT = "night"
    WEEKEND = "weekend"
    PUBLIC_HOLIDAY = "public_holiday"
    SCHOOL_HOLIDAY = "school_holiday"


# From the first (inclusive) until the second (exclusive), local time.
_OPEN: Final[dict[Kind, tuple[time, time]]] = {
    "school": (time(7), time(18)),
    "asp": (time(7), time(19)),
    "isp": (time(7), time(19)),
    "ministry": (time(7), time(19)),
}
_SATURDAY: Final = 5

# Regions that keep a neighbour's anniversary day; the library lists none for them.
_OBSERVES: Final = {"BOP": "AUK", "GIS": "AUK", "WKO": "AUK", "MWT": "WGN", "TAS": "NSN"}


@dataclass(frozen=True, slots=True)
class Hours:
    """An organisation's hours.

    `time_zone` is an IANA name. `holiday_subdivision` is the ISO 3166-2 region whose
    anniversary day is kept (`AUK`, `WGN`, `CIT`, …), None for national holidays only.
    Raises ValueError for what it does not know, so that deciding never fails afterwards.
    """

    kind: Kind
    time_zone: str
    holiday_subdivision: str | None = None

    def __post_init__(self) -> None:
        """Refuse what could not be decided on."""
        if self.kind not in get_args(Kind):
            message = f"unknown kind of organisation: {self.kind!r}"
            raise ValueError(message)
        _zone(self.time_zone)
        if self.holiday_subdivision not in _subdivisions():
            message = f"unknown holiday subdivision: {self.holiday_subdivision!r}"
            raise ValueError(message)


def local_date(hours: Hours, at: datetime) -> date:
    """Return the organisation's own calendar day at this moment."""
    return at.astimezone(_zone(hours.time_zone)).date()


def outside(hours: Hours, at: datetime) -> Reason | None:
    """Why `at` (aware) lies outside these hours; None when it lies inside.

    Where several reasons apply the more telling one is given: a login at two in the morning
    of a public holiday is a login at night.
    """
    local = at.astimezone(_zone(hours.time_zone))
    opens, closes = _OPEN[hours.kind]
    if not opens <= local.time() < closes:
        return Reason.NIGHT
    return _closed_all_day(hours, local.date())


def _closed_all_day(hours: Hours, day: date) -> Reason | None:
    if day.weekday() >= _SATURDAY:
        return Reason.WEEKEND
    if day in public_holidays(hours.holiday_subdivision, day.year):
        return Reason.PUBLIC_HOLIDAY
    if hours.kind == "school" and school_holiday(day):
        return Reason.SCHOOL_HOLIDAY
    return None


@lru_cache(maxsize=256)
def public_holidays(subdivision: str | None, year: int) -> frozenset[date]:
    """Public holidays of a year, moved to the day they are observed on."""
    region = _OBSERVES.get(subdivision or "", subdivision)
    return frozenset(holidays.country_holidays("NZ", subdiv=region, years=year))


def school_holiday(day: date) -> bool:
    """Whether schools are shut between terms; False in a year whose terms are not known."""
    year = _terms().get(day.year)
    if year is None:
        return False
    return day in year.closed or not any(first <= day <= last for first, last in year.terms)


@dataclass(frozen=True, slots=True)
class _Year:
    terms: tuple[tuple[date, date], ...]
    closed: frozenset[date]


@lru_cache(maxsize=1)
def _terms() -> dict[int, _Year]:
    text = files(__package__).joinpath("terms.toml").read_text(encoding="utf-8")
    return {entry["year"]: _year(entry) for entry in tomllib.loads(text)["years"]}


def _year(entry: dict[str, Any]) -> _Year:
    return _Year(
        terms=tuple((term["from"], term["until"]) for term in entry["terms"]),
        closed=frozenset(entry["closed"]),
    )


@lru_cache(maxsize=1)
def _subdivisions() -> frozenset[str | None]:
    return frozenset({None, *holidays.country_holidays("NZ").subdivisions})


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError) as error:
        message = f"unknown time zone: {name!r}"
        raise ValueError(message) from error
