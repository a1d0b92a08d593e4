"""Rules `repeated_failures_address` and `failures_then_success` for an address (SG-9)."""

from datetime import timedelta

import pytest

from services.audit.detection import address_failures
from services.audit.detection.signals import Signal
from tests.audit.detection.given import failure, findings, keys, of_rule, success, throttled

MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
ADDRESS = "repeated_failures_address"


def spray(accounts: int, *, address: str = "192.0.2.1", apart: timedelta = MINUTE) -> list[Signal]:
    return [failure(n * apart, who=n, address=address) for n in range(accounts)]


def test_seven_accounts_are_no_finding() -> None:
    assert findings(spray(7)) == []


def test_eighth_account_is_a_high_finding() -> None:
    signals = spray(8)
    (found,) = findings(signals)
    assert (found.rule, found.severity, found.person_id) == (ADDRESS, "high", None)
    assert found.details == {"accounts": 8, "failures": 8, "throttled": 0}
    assert found.evidence == tuple(each.event_id for each in signals)


def test_finding_never_holds_the_address_or_a_digest() -> None:
    (found,) = findings(failure(n * MINUTE, account=f"digest-{n}") for n in range(8))
    assert "192.0.2" not in repr(found)
    assert "digest-" not in repr(found)


def test_people_and_unknown_accounts_count_alike() -> None:
    known = [failure(n * MINUTE, who=n) for n in range(4)]
    unknown = [failure((4 + n) * MINUTE, account=f"digest {n}") for n in range(4)]
    assert len(findings([*known, *unknown])) == 1


def test_one_account_from_one_address_is_no_spraying() -> None:
    found = findings(failure(n * SECOND, who=1) for n in range(30))
    assert of_rule(found, ADDRESS) == []


@pytest.mark.parametrize(("over", "alerts"), [(-SECOND, 1), (0 * SECOND, 1), (SECOND, 0)])
def test_eight_accounts_count_when_they_lie_within_fifteen_minutes(
    over: timedelta, alerts: int
) -> None:
    signals = [*spray(7), failure(15 * MINUTE + over, who=8)]
    assert len(findings(signals)) == alerts


def test_account_that_failed_before_the_window_no_longer_counts() -> None:
    assert findings(spray(40, apart=timedelta(seconds=129))) == []


def test_addresses_are_counted_apart() -> None:
    signals = [failure(n * MINUTE, who=n, address=f"192.0.2.{n % 2}") for n in range(14)]
    assert findings(signals) == []


def test_spraying_that_goes_on_is_one_alert_and_a_later_one_another() -> None:
    first = spray(60, apart=30 * SECOND)
    second = [failure(50 * MINUTE + n * MINUTE, who=n) for n in range(8)]
    assert len(keys(of_rule(findings(first), ADDRESS))) == 1
    assert len(keys(of_rule(findings([*first, *second]), ADDRESS))) == 2


def test_login_after_spraying_is_high_and_one_alert() -> None:
    found = findings([*spray(8), *(success((8 + n) * MINUTE, who=20 + n) for n in range(4))])
    then = of_rule(found, "failures_then_success")
    assert {each.severity for each in then} == {"high"}
    assert len(keys(then)) == 1


def test_login_from_another_address_says_nothing() -> None:
    found = findings([*spray(8), success(9 * MINUTE, who=20, address="198.51.100.1")])
    assert of_rule(found, "failures_then_success") == []


def test_throttled_windows_of_thirty_nine_say_nothing() -> None:
    assert findings([throttled(0 * MINUTE, 20), throttled(MINUTE, 19)]) == []


def test_forty_throttled_failures_are_a_medium_finding() -> None:
    (found,) = findings([throttled(0 * MINUTE, 20), throttled(MINUTE, 20)])
    assert (found.severity, found.details["throttled"]) == ("medium", 40)


def test_login_after_throttling_alone_is_no_finding() -> None:
    found = findings([throttled(0 * MINUTE, 400), success(MINUTE)])
    assert of_rule(found, "failures_then_success") == []


def test_spraying_after_throttling_raises_the_same_alert() -> None:
    found = findings([throttled(0 * MINUTE, 40), *spray(8)])
    assert len(keys(found)) == 1
    assert [each.severity for each in found][-1] == "high"


def test_throttled_window_keeps_a_burst_going() -> None:
    later = [failure(25 * MINUTE + n * SECOND, who=n) for n in range(8)]
    found = findings([*spray(8), throttled(14 * MINUTE, 3), *later])
    assert len(keys(of_rule(found, ADDRESS))) == 1


def test_memory_of_one_address_is_bounded() -> None:
    state = address_failures.State()
    for n in range(3000):
        state, _ = address_failures.fold(state, failure(account=f"digest {n}"))
        state, _ = address_failures.fold(state, throttled(0 * MINUTE, 2))
    (burst,) = state.by_key.values()
    assert max(len(burst.accounts), len(burst.throttled), len(burst.evidence)) <= 64
