"""Rule `out_of_hours_login` (SG-9)."""

from datetime import UTC, datetime, timedelta

import pytest

from services.audit.detection import out_of_hours
from services.audit.detection.calendar import Hours
from tests.audit.detection.given import (
    AUCKLAND_ASP,
    AUCKLAND_SCHOOL,
    CHATHAM_SCHOOL,
    TUESDAY_MORNING,
    findings,
    keys,
    login_at,
    person,
    signal,
)

# 02:00 on Wednesday 4 March 2026 in Auckland.
AT_NIGHT = datetime(2026, 3, 3, 13, 0, tzinfo=UTC)


def test_login_in_hours_is_no_finding() -> None:
    assert findings([login_at(TUESDAY_MORNING, AUCKLAND_SCHOOL)]) == []


def test_login_at_night_is_one_medium_finding_by_person_and_local_date() -> None:
    login = login_at(AT_NIGHT, AUCKLAND_SCHOOL)
    (found,) = findings([login])
    assert found.key == f"out_of_hours_login:{person(1)}:2026-03-04"
    assert found.severity == "medium"
    assert found.evidence == (login.event_id,)
    assert found.details == {"reason": "night", "local_date": "2026-03-04", "kind": "school"}


@pytest.mark.parametrize(
    ("at", "hours", "severity"),
    [
        (datetime(2026, 3, 6, 22, tzinfo=UTC), AUCKLAND_ASP, "medium"),  # Saturday morning
        (datetime(2026, 2, 5, 22, tzinfo=UTC), AUCKLAND_ASP, "low"),  # Waitangi Day
        (datetime(2026, 4, 14, 22, tzinfo=UTC), AUCKLAND_SCHOOL, "low"),  # between terms
    ],
)
def test_severity_follows_the_reason(at: datetime, hours: Hours, severity: str) -> None:
    assert [found.severity for found in findings([login_at(at, hours)])] == [severity]


def test_second_login_the_same_night_says_nothing_new() -> None:
    later = AT_NIGHT + timedelta(hours=1)
    found = findings([login_at(at, AUCKLAND_SCHOOL) for at in (AT_NIGHT, later)])
    assert len(found) == 1


def test_two_people_and_two_nights_are_three_alerts() -> None:
    next_night = AT_NIGHT + timedelta(days=1)
    logins = [(AT_NIGHT, 1), (AT_NIGHT, 2), (next_night, 1), (next_night, 1)]
    assert len(keys(findings(login_at(at, AUCKLAND_SCHOOL, who=who) for at, who in logins))) == 3


def test_one_moment_belongs_to_the_local_date_of_the_organisation() -> None:
    at = datetime(2026, 3, 1, 10, 30, tzinfo=UTC)  # 23:30 in Auckland, 00:15 in the Chathams
    found = findings([login_at(at, AUCKLAND_SCHOOL), login_at(at, CHATHAM_SCHOOL, who=2)])
    assert [each.details["local_date"] for each in found] == ["2026-03-01", "2026-03-02"]


def test_evening_before_and_morning_after_midnight_are_two_dates() -> None:
    evening, morning = (datetime(2026, 3, 3, hour, 30, tzinfo=UTC) for hour in (10, 11))
    assert len(findings(login_at(at, AUCKLAND_SCHOOL) for at in (evening, morning))) == 2


def test_unknown_hours_are_no_finding() -> None:
    assert findings([login_at(AT_NIGHT, None)]) == []


def test_login_that_was_not_allowed_is_no_finding() -> None:
    refused = signal("authz.session_started", who=1, outcome="denied", at=AT_NIGHT)
    assert findings([refused]) == []


def test_late_login_of_a_forgotten_day_has_the_key_it_had() -> None:
    found = findings(
        login_at(AT_NIGHT + timedelta(days=days), AUCKLAND_SCHOOL) for days in (0, 30, 0)
    )
    assert len(found) == 3
    assert len(keys(found)) == 2


def test_memory_holds_a_few_days_only() -> None:
    state = out_of_hours.State()
    for day in range(60):
        at = AT_NIGHT + timedelta(days=day)
        state, _ = out_of_hours.fold(state, login_at(at, AUCKLAND_SCHOOL))
    assert len(state.reported) == out_of_hours.REMEMBERED.days + 1
