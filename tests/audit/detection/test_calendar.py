"""Hours, holidays and terms (SG-9)."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.audit.detection.calendar import (
    Hours,
    Reason,
    local_date,
    outside,
    school_holiday,
)
from tests.audit.detection.given import (
    AUCKLAND_ASP,
    AUCKLAND_ISP,
    AUCKLAND_SCHOOL,
    CHATHAM_SCHOOL,
    MINISTRY,
    WELLINGTON_SCHOOL,
)


def local(zone: str, text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def auckland(text: str) -> datetime:
    return local("Pacific/Auckland", text)


@pytest.mark.parametrize(
    ("hours", "at", "expected"),
    [
        (AUCKLAND_SCHOOL, "2026-03-03T06:59:59", Reason.NIGHT),
        (AUCKLAND_SCHOOL, "2026-03-03T07:00:00", None),
        (AUCKLAND_SCHOOL, "2026-03-03T17:59:59", None),
        (AUCKLAND_SCHOOL, "2026-03-03T18:00:00", Reason.NIGHT),
        (AUCKLAND_ASP, "2026-03-03T18:59:59", None),
        (AUCKLAND_ASP, "2026-03-03T19:00:00", Reason.NIGHT),
        (AUCKLAND_ISP, "2026-03-03T18:59:59", None),
        (AUCKLAND_ISP, "2026-03-03T19:00:00", Reason.NIGHT),
        (MINISTRY, "2026-03-03T18:59:59", None),
        (MINISTRY, "2026-03-03T19:00:00", Reason.NIGHT),
    ],
)
def test_hours_begin_inclusive_and_end_exclusive(
    hours: Hours, at: str, expected: Reason | None
) -> None:
    assert outside(hours, auckland(at)) is expected


def test_midday_on_saturday_is_weekend_and_night_stays_night() -> None:
    assert outside(AUCKLAND_ASP, auckland("2026-03-07T12:00:00")) is Reason.WEEKEND
    assert outside(AUCKLAND_ASP, auckland("2026-03-07T23:00:00")) is Reason.NIGHT


@pytest.mark.parametrize(
    ("utc", "expected"),
    [
        # Daylight saving ends on 5 April 2026: 7:00 is 18:00 UTC on the eve before, 19:00 after.
        ("2026-03-30T17:59:59", Reason.NIGHT),
        ("2026-03-30T18:00:00", None),
        ("2026-04-07T18:59:59", Reason.NIGHT),
        ("2026-04-07T19:00:00", None),
        # It begins on 27 September 2026.
        ("2026-09-24T18:59:59", Reason.NIGHT),
        ("2026-09-24T19:00:00", None),
        ("2026-09-28T17:59:59", Reason.NIGHT),
        ("2026-09-28T18:00:00", None),
    ],
)
def test_hours_follow_daylight_saving(utc: str, expected: Reason | None) -> None:
    at = datetime.fromisoformat(utc).replace(tzinfo=UTC)
    assert outside(AUCKLAND_ASP, at) is expected


def test_repeated_hour_of_a_change_night_is_one_local_date() -> None:
    first, second = (datetime(2026, 4, 4, hour, 30, tzinfo=UTC) for hour in (13, 14))
    assert first.astimezone(ZoneInfo("Pacific/Auckland")).hour == 2
    assert second.astimezone(ZoneInfo("Pacific/Auckland")).hour == 2
    assert local_date(AUCKLAND_SCHOOL, first) == local_date(AUCKLAND_SCHOOL, second)
    assert outside(AUCKLAND_SCHOOL, first) is outside(AUCKLAND_SCHOOL, second) is Reason.NIGHT


def test_skipped_hour_of_a_change_night_is_night_on_both_sides() -> None:
    for minute in (59, 60):
        at = datetime(2026, 9, 26, 13 + minute // 60, minute % 60, tzinfo=UTC)
        assert outside(AUCKLAND_SCHOOL, at) is Reason.NIGHT


def test_chathams_open_three_quarters_of_an_hour_before_auckland() -> None:
    at = auckland("2026-03-03T06:30:00")
    assert outside(AUCKLAND_SCHOOL, at) is Reason.NIGHT
    assert outside(CHATHAM_SCHOOL, at) is None
    assert outside(CHATHAM_SCHOOL, auckland("2026-03-03T06:14:59")) is Reason.NIGHT
    assert outside(CHATHAM_SCHOOL, auckland("2026-03-03T17:15:00")) is Reason.NIGHT


def test_monday_begins_in_the_chathams_while_it_is_sunday_in_auckland() -> None:
    at = auckland("2026-03-01T23:30:00")
    assert local_date(CHATHAM_SCHOOL, at) == date(2026, 3, 2)
    assert local_date(AUCKLAND_SCHOOL, at) == date(2026, 3, 1)


def test_auckland_anniversary_is_a_working_day_in_wellington() -> None:
    at = auckland("2026-01-26T10:00:00")
    assert outside(AUCKLAND_SCHOOL, at) is Reason.PUBLIC_HOLIDAY
    assert outside(WELLINGTON_SCHOOL, at) is None


def test_wellington_anniversary_is_a_working_day_in_auckland() -> None:
    at = auckland("2026-01-19T10:00:00")
    assert outside(MINISTRY, at) is Reason.PUBLIC_HOLIDAY
    assert outside(AUCKLAND_ASP, at) is None


def test_chatham_anniversary_is_the_chathams_own() -> None:
    at = auckland("2026-11-30T10:00:00")
    assert outside(CHATHAM_SCHOOL, at) is Reason.PUBLIC_HOLIDAY
    assert outside(AUCKLAND_SCHOOL, at) is None


@pytest.mark.parametrize(
    ("region", "neighbour"),
    [("WKO", "AUK"), ("BOP", "AUK"), ("GIS", "AUK"), ("TAS", "NSN"), ("MWT", "WGN")],
)
def test_region_without_its_own_anniversary_keeps_its_neighbours(
    region: str, neighbour: str
) -> None:
    for day in range(1, 32):
        at = auckland(f"2026-01-{day:02}T10:00:00")
        here, there = (Hours("asp", "Pacific/Auckland", r) for r in (region, neighbour))
        assert outside(here, at) is outside(there, at)


def test_without_a_region_only_national_holidays_count() -> None:
    hours = Hours("asp", "Pacific/Auckland", None)
    assert outside(hours, auckland("2026-01-26T10:00:00")) is None
    assert outside(hours, auckland("2026-02-06T10:00:00")) is Reason.PUBLIC_HOLIDAY


@pytest.mark.parametrize("day", ["2026-07-10", "2026-04-27", "2026-12-28", "2025-06-20"])
def test_matariki_and_observed_days_are_public_holidays(day: str) -> None:
    assert outside(AUCKLAND_ASP, auckland(f"{day}T10:00:00")) is Reason.PUBLIC_HOLIDAY


@pytest.mark.parametrize(
    ("last", "first"),
    [
        ("2024-04-12", "2024-04-29"),
        ("2024-07-05", "2024-07-22"),
        ("2024-09-27", "2024-10-14"),
        ("2025-04-11", "2025-04-28"),
        ("2025-06-27", "2025-07-14"),
        ("2025-09-19", "2025-10-06"),
        ("2026-04-02", "2026-04-20"),
        ("2026-07-03", "2026-07-20"),
        ("2026-09-25", "2026-10-12"),
        ("2027-04-09", "2027-04-27"),
        ("2027-07-02", "2027-07-19"),
        ("2027-09-24", "2027-10-11"),
    ],
)
def test_schools_are_shut_between_the_last_day_of_a_term_and_the_first_of_the_next(
    last: str, first: str
) -> None:
    last_day, first_day = date.fromisoformat(last), date.fromisoformat(first)
    assert not school_holiday(last_day)
    assert school_holiday(date.fromordinal(last_day.toordinal() + 1))
    assert school_holiday(date.fromordinal(first_day.toordinal() - 1))
    assert not school_holiday(first_day)


def test_school_holidays_are_no_holidays_for_providers_and_ministry() -> None:
    at = auckland("2026-04-14T10:00:00")
    assert outside(AUCKLAND_SCHOOL, at) is Reason.SCHOOL_HOLIDAY
    assert all(outside(hours, at) is None for hours in (AUCKLAND_ASP, AUCKLAND_ISP, MINISTRY))


def test_summer_holidays_reach_over_new_year() -> None:
    assert outside(AUCKLAND_SCHOOL, auckland("2025-12-22T10:00:00")) is Reason.SCHOOL_HOLIDAY
    assert outside(AUCKLAND_SCHOOL, auckland("2026-01-20T10:00:00")) is Reason.SCHOOL_HOLIDAY


def test_easter_tuesday_within_a_term_is_a_school_holiday() -> None:
    at = auckland("2024-04-02T10:00:00")
    assert outside(AUCKLAND_SCHOOL, at) is Reason.SCHOOL_HOLIDAY
    assert outside(AUCKLAND_ASP, at) is None


@pytest.mark.parametrize("year", [2023, 2029])
def test_year_without_published_terms_has_no_school_holidays(year: int) -> None:
    assert not any(school_holiday(date(year, 7, day)) for day in range(1, 32))
    assert outside(AUCKLAND_SCHOOL, auckland(f"{year}-07-11T22:00:00")) is Reason.NIGHT
    assert outside(AUCKLAND_SCHOOL, auckland(f"{year}-12-25T10:00:00")) is Reason.PUBLIC_HOLIDAY


@pytest.mark.parametrize("year", range(2024, 2028))
def test_terms_are_four_in_order_and_lie_in_their_year(year: int) -> None:
    days = (date(year, 1, 1) + timedelta(days=n) for n in range(365))
    weekdays = [day for day in days if day.weekday() < 5]
    shut = [school_holiday(day) for day in weekdays]
    begins = sum(a and not b for a, b in pairwise(shut))
    assert shut[0]
    assert shut[-1]
    assert begins in {4, 5}  # five where Easter Tuesday splits a term


@pytest.mark.parametrize(
    ("kind", "zone", "region"),
    [
        ("hospital", "Pacific/Auckland", "AUK"),
        ("school", "Pacific/Atlantis", "AUK"),
        ("school", "../../etc/passwd", "AUK"),
        ("school", "Pacific/Auckland", "ZZZ"),
    ],
)
def test_hours_that_could_not_be_decided_on_are_refused(kind: str, zone: str, region: str) -> None:
    with pytest.raises(ValueError, match="unknown"):
        Hours(kind, zone, region)  # type: ignore[arg-type]


@given(
    st.datetimes(datetime(2015, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    st.sampled_from([AUCKLAND_SCHOOL, CHATHAM_SCHOOL, AUCKLAND_ASP, MINISTRY]),
)
def test_deciding_is_total_and_ignores_how_the_moment_is_written(
    at: datetime, hours: Hours
) -> None:
    reason = outside(hours, at)
    assert reason is outside(hours, at.astimezone(ZoneInfo("Europe/London")))
    assert reason is None or reason in Reason


def test_terms_of_2027_make_the_half_days_the_ministry_names() -> None:
    hours = Hours("school", "Pacific/Auckland", None)
    noons = (auckland("2027-01-01T12:00:00") + timedelta(days=n) for n in range(365))
    assert 2 * sum(outside(hours, noon) is None for noon in noons) == 380
