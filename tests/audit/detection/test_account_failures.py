"""Rules `repeated_failures_account` and `failures_then_success` (SG-9)."""

from datetime import timedelta

import pytest

from services.audit.detection import account_failures, bursts
from services.audit.detection.signals import Signal
from tests.audit.detection.given import failure, findings, keys, of_rule, person, signal, success

MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
ACCOUNT = "repeated_failures_account"


def failures(*minutes: float) -> list[Signal]:
    return [failure(minute * MINUTE, who=1) for minute in minutes]


def test_four_failures_are_no_finding() -> None:
    assert findings(failures(0, 1, 2, 3)) == []


def test_fifth_failure_is_a_finding_with_its_evidence() -> None:
    signals = failures(0, 1, 2, 3, 4)
    (found,) = findings(signals)
    assert (found.rule, found.severity, found.person_id) == (ACCOUNT, "medium", person(1))
    assert found.evidence == tuple(each.event_id for each in signals)
    assert found.key == f"{ACCOUNT}:{signals[0].event_id}"
    assert found.details == {"failures": 5}


@pytest.mark.parametrize(
    ("last", "alerts"), [(-1 * SECOND, 1), (0 * SECOND, 1), (SECOND, 0)], ids=["14:59", "15", "+1s"]
)
def test_five_failures_count_when_they_lie_within_fifteen_minutes(
    last: timedelta, alerts: int
) -> None:
    signals = [*failures(0, 3, 6, 9), failure(15 * MINUTE + last, who=1)]
    assert len(findings(signals)) == alerts


def test_window_slides() -> None:
    assert len(findings(failures(0, 10, 12, 14, 16, 18, 19))) == 1


def test_slow_failures_in_one_burst_never_add_up() -> None:
    assert findings(failures(*range(0, 400, 4))) == []


def test_burst_that_goes_on_is_one_alert() -> None:
    found = findings(failures(*range(60)))
    assert len(keys(found)) == 1
    assert [each.details["failures"] for each in found] == [5, 10, 20, 40]


@pytest.mark.parametrize(("gap", "alerts"), [(15 * MINUTE, 1), (15 * MINUTE + SECOND, 2)])
def test_quiet_gap_of_more_than_fifteen_minutes_ends_the_alert(gap: timedelta, alerts: int) -> None:
    second = [failure(4 * MINUTE + gap + n * SECOND, who=1) for n in range(5)]
    assert len(keys(findings([*failures(0, 1, 2, 3, 4), *second]))) == alerts


def test_evidence_is_bounded_and_says_how_much_more_there_is() -> None:
    found = findings(failures(*(n / 10 for n in range(80))))[-1]
    assert len(found.evidence) == 50
    assert found.evidence_more == 30


def test_unknown_account_is_counted_by_its_digest_which_no_finding_shows() -> None:
    (found,) = findings(failure(n * MINUTE, account="digest-of-it") for n in range(5))
    assert found.person_id is None
    assert "digest-of-it" not in repr(found)


def test_accounts_are_counted_apart() -> None:
    assert findings(failure(n * MINUTE, who=n % 2) for n in range(8)) == []


def test_failure_without_an_account_is_nobodys() -> None:
    assert findings(failure(n * MINUTE) for n in range(20)) == []


def test_person_who_mistypes_three_times_and_gets_in_is_no_alert() -> None:
    assert findings([*failures(0, 1, 2), success(3 * MINUTE)]) == []


def test_success_after_a_reported_burst_is_high() -> None:
    login = success(6 * MINUTE)
    found = findings([*failures(0, 1, 2, 3, 4), login])
    assert [(each.rule, each.severity) for each in found] == [
        (ACCOUNT, "medium"),
        ("failures_then_success", "high"),
    ]
    assert found[1].evidence[0] == login.event_id
    assert len(found[1].evidence) == 6


@pytest.mark.parametrize(("after", "alerts"), [(19 * MINUTE, 2), (19 * MINUTE + SECOND, 1)])
def test_success_counts_while_the_burst_lasts(after: timedelta, alerts: int) -> None:
    assert len(keys(findings([*failures(0, 1, 2, 3, 4), success(after)]))) == alerts


def test_several_logins_in_one_burst_are_one_alert() -> None:
    found = findings([*failures(0, 1, 2, 3, 4), *(success(n * MINUTE) for n in range(5, 12))])
    assert len(keys(of_rule(found, "failures_then_success"))) == 1


def test_somebody_elses_success_says_nothing_about_the_account() -> None:
    found = findings([*failures(0, 1, 2, 3, 4), success(5 * MINUTE, who=2)])
    assert of_rule(found, "failures_then_success") == []


def test_late_failure_is_counted_in() -> None:
    signals = failures(3, 4, 5, 6, 0)
    assert len(findings(signals)) == 1


def test_very_late_failure_neither_counts_nor_disturbs() -> None:
    found = findings([*failures(60, 61, 62, 63), *failures(0), *failures(64)])
    assert len(found) == 1
    assert found[0].details == {"failures": 5}


def test_one_wrong_clock_does_not_blind_the_rule() -> None:
    stray = failure(timedelta(days=900), who=1)
    assert len(findings([stray, *failures(0, 1, 2, 3, 4)])) == 1


def test_outcome_other_than_failed_is_not_counted() -> None:
    odd = [signal("authz.login_failed", who=1, outcome="denied") for _ in range(9)]
    assert findings(odd) == []


def test_memory_forgets_bursts_that_are_over() -> None:
    state = account_failures.State()
    for n in range(5000):
        state, _ = account_failures.fold(state, failure(n * MINUTE, account=f"digest {n}"))
    assert len(state.by_key) < 1200


def test_memory_is_bounded_under_a_flood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bursts, "MOST_BURSTS", 100)
    state = account_failures.State()
    for n in range(5000):
        state, _ = account_failures.fold(state, failure(account=f"digest {n}"))
    assert len(state.by_key) < 1200
