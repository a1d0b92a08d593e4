"""Rule `many_resets` (SG-9, SG-21)."""

from datetime import timedelta

from services.audit.detection import many_resets
from services.audit.detection.bursts import SWEEP_EVERY
from services.audit.detection.signals import ALLOWED, CREDENTIALS_RESET, Signal
from tests.audit.detection.given import findings, keys, of_rule, person, signal

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def reset(after: timedelta, *, by: int = 1, about: int = 2, outcome: str = ALLOWED) -> Signal:
    """Let somebody reset an account."""
    return signal(CREDENTIALS_RESET, after, who=by, about=about, outcome=outcome)


def resets(count: int, step: timedelta, *, by: int = 1) -> list[Signal]:
    """Let somebody reset so many accounts, one every `step`."""
    return [reset(number * step, by=by, about=10 + number) for number in range(count)]


def test_fifth_reset_within_a_day_is_one_finding_of_who_reset() -> None:
    signals = resets(5, 6 * HOUR)
    assert of_rule(findings(signals[:4]), many_resets.NAME) == []
    (found,) = of_rule(findings(signals), many_resets.NAME)
    assert found.person_id == person(1)
    assert found.key == f"many_resets:{signals[0].event_id}"
    assert found.evidence == tuple(each.event_id for each in signals)
    assert (found.severity, found.details) == ("medium", {"resets": 5})


def test_five_resets_over_more_than_a_day_are_no_finding() -> None:
    assert of_rule(findings(resets(40, 6 * HOUR + HOUR)), many_resets.NAME) == []


def test_everybody_counts_alone_and_only_what_was_done_to_others() -> None:
    by_two = [
        each for pair in zip(resets(4, HOUR), resets(4, HOUR, by=2), strict=True) for each in pair
    ]
    refused = [reset(HOUR, outcome="denied") for _ in range(9)]
    own = [reset(HOUR, about=1) for _ in range(9)]
    assert of_rule(findings([*by_two, *refused, *own]), many_resets.NAME) == []


def test_reset_of_a_whole_organisation_is_one_alert_told_a_few_times() -> None:
    """SG-21: a forced reset of all is a containment act; it is one alert, not one a person."""
    found = of_rule(findings(resets(90, timedelta(seconds=1))), many_resets.NAME)
    assert [each.details["resets"] for each in found] == [5, 10, 20, 40, 80]
    assert len(keys(found)) == 1
    assert (len(found[-1].evidence), found[-1].evidence_more) == (50, 30)


def test_next_spell_is_an_alert_of_its_own() -> None:
    later = [reset(3 * DAY + number * HOUR) for number in range(5)]
    assert len(keys(of_rule(findings([*resets(5, HOUR), *later]), many_resets.NAME))) == 2


def test_wrong_clock_does_not_blind_the_rule() -> None:
    signals = [reset(400 * DAY), *resets(5, HOUR), reset(-400 * DAY), *resets(5, HOUR)]
    assert len(of_rule(findings(signals), many_resets.NAME)) == 2


def test_memory_forgets_those_who_reset_nobody_any_more() -> None:
    state = many_resets.State()
    for number in range(3 * SWEEP_EVERY):
        state, _ = many_resets.fold(state, reset(number * HOUR, by=100 + number))
    assert len(state.by_person) <= SWEEP_EVERY + 25
