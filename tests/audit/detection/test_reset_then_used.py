"""Rule `account_reset_then_used` (SG-4, SG-9)."""

from datetime import timedelta

import pytest

from services.audit.detection.signals import (
    ALLOWED,
    ASSIGNMENT_GRANTED,
    CREDENTIALS_RESET,
    PERSON_REGISTERED,
    SESSION_STARTED,
    Signal,
)
from tests.audit.detection.given import findings, keys, of_rule, person, signal

RULE = "account_reset_then_used"
HERE, ELSEWHERE = "192.0.2.1", "198.51.100.1"
MINE, THEIRS = "browser a", "browser b"
LEADER, OTHER, ACCOUNT = 1, 2, 3
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def act(
    kind: str,
    after: timedelta = timedelta(0),
    *,
    by: int | None = LEADER,
    about: int = ACCOUNT,
    address: str | None = HERE,
    device: str | None = MINE,
    outcome: str = ALLOWED,
) -> Signal:
    """Let somebody do something to an account."""
    return signal(kind, after, who=by, about=about, address=address, device=device, outcome=outcome)


def login(
    after: timedelta = HOUR,
    *,
    who: int = ACCOUNT,
    address: str | None = HERE,
    device: str | None = MINE,
) -> Signal:
    """Let an account log in."""
    return signal(SESSION_STARTED, after, who=who, address=address, device=device, outcome=ALLOWED)


def found(*signals: Signal) -> list[tuple[str, str | int]]:
    """Return severity and occasion of what this rule finds."""
    return [(f.severity, f.details["after"]) for f in of_rule(findings(signals), RULE)]


@pytest.mark.parametrize(
    ("address", "device", "severities"),
    [
        (HERE, MINE, ["high"]),
        (HERE, THEIRS, ["low"]),
        (HERE, None, ["low"]),
        (ELSEWHERE, MINE, []),
        (None, MINE, []),
    ],
)
def test_login_after_a_reset_is_found_by_the_resetters_address_and_browser(
    address: str | None, device: str | None, severities: list[str]
) -> None:
    used = login(address=address, device=device)
    assert found(act(CREDENTIALS_RESET), used) == [(s, "reset") for s in severities]


def test_finding_names_who_reset_and_leads_to_both_events() -> None:
    """The account is in the evidence; the suspicion is of who reset it."""
    reset, used = act(CREDENTIALS_RESET), login(timedelta(minutes=5))
    (finding,) = of_rule(findings([reset, used]), RULE)
    assert finding.person_id == person(LEADER)
    assert finding.organisation_id == used.organisation_id
    assert finding.evidence == (reset.event_id, used.event_id)
    assert finding.key == f"{RULE}:{reset.event_id}"
    assert finding.details == {"after": "reset", "minutes": 5, "logins": 1}


def test_reset_that_was_refused_or_that_nobody_did_is_none() -> None:
    assert found(act(CREDENTIALS_RESET, outcome="denied"), login()) == []
    assert found(act(CREDENTIALS_RESET, by=None), login()) == []
    assert found(act(CREDENTIALS_RESET, by=ACCOUNT), login()) == []
    assert found(act(CREDENTIALS_RESET, address=None), login(address=None)) == []


def test_login_of_the_resetter_or_of_somebody_else_is_no_finding() -> None:
    assert found(act(CREDENTIALS_RESET), login(who=LEADER), login(who=OTHER)) == []


def test_any_login_within_a_day_counts_and_the_first_within_a_week() -> None:
    """Who waits a day before using what they took is found all the same."""
    away = login(HOUR, address=ELSEWHERE)
    assert found(act(CREDENTIALS_RESET), away, login(DAY)) == [("high", "reset")]
    assert found(act(CREDENTIALS_RESET), away, login(DAY + HOUR)) == []
    assert found(act(CREDENTIALS_RESET), login(7 * DAY)) == [("high", "reset")]
    assert found(act(CREDENTIALS_RESET), login(7 * DAY + HOUR)) == []


def test_more_logins_say_more_only_when_they_are_worse() -> None:
    found_first, then = login(HOUR, device=THEIRS), login(2 * HOUR)
    signals = [act(CREDENTIALS_RESET), found_first, found_first, then, then]
    assert found(*signals) == [("low", "reset"), ("high", "reset")]
    assert len(keys(of_rule(findings(signals), RULE))) == 1


def test_second_reset_is_a_handover_of_its_own() -> None:
    signals = [act(CREDENTIALS_RESET), login(HOUR), act(CREDENTIALS_RESET, 2 * HOUR, by=OTHER)]
    two = of_rule(findings([*signals, login(3 * HOUR)]), RULE)
    assert [finding.person_id for finding in two] == [person(LEADER), person(OTHER)]
    assert len(keys(two)) == 2


def test_somebody_registered_and_given_a_role_by_one_person_and_used_from_their_browser() -> None:
    """AC-DO-16: a puppet would get round 'never their own assignments'."""
    registered, granted = act(PERSON_REGISTERED), act(ASSIGNMENT_GRANTED, HOUR)
    (finding,) = of_rule(findings([registered, granted, login(2 * HOUR)]), RULE)
    assert (finding.severity, finding.details["after"]) == ("medium", "registration")
    assert finding.evidence[:2] == (registered.event_id, granted.event_id)


def test_new_staff_who_begin_at_their_school_are_no_finding() -> None:
    """Same address, another browser: that is a first day at work."""
    made = act(PERSON_REGISTERED), act(ASSIGNMENT_GRANTED)
    assert found(*made, login(device=THEIRS)) == []


def test_registered_by_one_and_given_a_role_by_another_is_no_finding() -> None:
    assert found(act(PERSON_REGISTERED), act(ASSIGNMENT_GRANTED, by=OTHER), login()) == []
    assert found(act(PERSON_REGISTERED), login()) == []


def test_later_role_does_not_begin_the_time_anew() -> None:
    made = [act(PERSON_REGISTERED), act(ASSIGNMENT_GRANTED), login(HOUR, address=ELSEWHERE)]
    assert found(*made, act(ASSIGNMENT_GRANTED, 2 * DAY), login(2 * DAY + HOUR)) == []
