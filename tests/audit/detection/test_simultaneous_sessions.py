"""Rule `simultaneous_sessions` (SG-4)."""

from datetime import timedelta

from services.audit.detection import simultaneous_sessions
from services.audit.detection.signals import ALLOWED, SESSION_ENDED, SESSION_STARTED, Signal
from tests.audit.detection.given import findings, keys, of_rule, person, signal

HERE, THERE = "192.0.2.1", "198.51.100.1"
HOUR = timedelta(hours=1)
RULE = simultaneous_sessions.NAME


def begin(
    session: int,
    address: str | None,
    others: int = 0,
    *,
    after: timedelta = timedelta(0),
    who: int = 1,
) -> Signal:
    """Begin a session beside so many others that live."""
    return signal(
        SESSION_STARTED,
        after,
        who=who,
        address=address,
        session=session,
        others=others,
        outcome=ALLOWED,
    )


def end(session: int, *, who: int = 1, by: int | None = None) -> Signal:
    """End somebody's session."""
    return signal(SESSION_ENDED, who=by, about=who, session=session, outcome=ALLOWED)


def test_two_sessions_from_two_places_are_one_low_finding() -> None:
    one, two = begin(1, HERE), begin(2, THERE, 1)
    (found,) = of_rule(findings([one, two]), RULE)
    assert (found.person_id, found.severity) == (person(1), "low")
    assert found.evidence == (one.event_id, two.event_id)
    assert found.key == f"{RULE}:{person(1)}:2026-03-03"
    assert found.details == {"places": 2}


def test_two_sessions_from_one_place_are_no_finding() -> None:
    assert of_rule(findings([begin(1, HERE), begin(2, HERE, 1)]), RULE) == []


def test_place_that_is_not_known_is_no_other_place() -> None:
    assert of_rule(findings([begin(1, None), begin(2, HERE, 1)]), RULE) == []
    assert of_rule(findings([begin(1, HERE), begin(2, None, 1)]), RULE) == []


def test_session_that_was_ended_is_not_beside_the_next() -> None:
    """Also by somebody else: an administrator, or nobody, for idleness."""
    for by in (1, 9, None):
        assert of_rule(findings([begin(1, HERE), end(1, by=by), begin(2, THERE)]), RULE) == []
    three = [begin(1, HERE), begin(2, THERE, 1, who=2), end(1), begin(3, THERE, 1)]
    assert of_rule(findings(three), RULE) == []


def test_session_that_lapsed_unsaid_is_not_beside_the_next() -> None:
    """The login itself counts those that live."""
    assert of_rule(findings([begin(1, HERE), begin(2, THERE, after=9 * HOUR)]), RULE) == []
    lapsed = [begin(1, THERE), begin(2, HERE), begin(3, HERE, 1)]
    assert of_rule(findings(lapsed), RULE) == []


def test_people_are_told_apart_and_each_day_is_one_alert() -> None:
    two_people = [begin(1, HERE, who=1), begin(2, THERE, who=2)]
    assert of_rule(findings(two_people), RULE) == []
    again = [begin(1, HERE), begin(2, THERE, 1), begin(3, HERE, 2), begin(4, THERE, 3)]
    next_day = [begin(5, HERE, 4, after=24 * HOUR)]
    found = of_rule(findings([*again, *next_day]), RULE)
    assert (len(found), len(keys(found))) == (2, 2)


def test_memory_of_one_person_is_bounded() -> None:
    state = simultaneous_sessions.State()
    for number in range(100):
        state, _ = simultaneous_sessions.fold(state, begin(number, HERE, number))
    (living,) = state.by_person.values()
    assert len(living.sessions) == 16
