"""The rules together: total, deterministic, and the same after being stored."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from time import perf_counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.audit.detection import rules, states
from services.audit.detection.calendar import Hours
from services.audit.detection.signals import (
    CREDENTIALS_RESET,
    LOGIN_FAILED,
    SESSION_STARTED,
    Finding,
    Signal,
)
from services.audit.events import Own
from services.installation import vocabulary
from tests.audit.detection.given import (
    AUCKLAND_SCHOOL,
    CHATHAM_SCHOOL,
    MINISTRY,
    failure,
    findings,
    signal,
)

KINDS = [*sorted(rules.TYPES), "cases.read"]
OUTCOMES = ["allowed", "failed", "denied"]
PLACES: list[Hours | None] = [AUCKLAND_SCHOOL, CHATHAM_SCHOOL, MINISTRY, None]


@st.composite
def some_signal(draw: st.DrawFn) -> Signal:
    return signal(
        draw(st.sampled_from(KINDS)),
        timedelta(seconds=draw(st.integers(-3600, 3600) | st.integers(-(10**8), 10**8))),
        who=draw(st.none() | st.integers(0, 9)),
        account=draw(st.none() | st.sampled_from(["digest a", "digest b"])),
        address=draw(st.none() | st.sampled_from(["192.0.2.1", "2001:db8::1", "?"])),
        hours=draw(st.sampled_from(PLACES)),
        outcome=draw(st.sampled_from(OUTCOMES)),
        times=draw(st.integers(1, 50)),
        about=draw(st.none() | st.integers(0, 9)),
        device=draw(st.none() | st.sampled_from(["browser a", "browser b"])),
        session=draw(st.none() | st.integers(0, 20)),
        others=draw(st.integers(0, 20)),
    )


@st.composite
def crowded_signals(draw: st.DrawFn) -> list[Signal]:
    """Few people, one address, a few minutes: the rules fire often."""
    steps = draw(st.lists(st.tuples(st.integers(0, 240), st.integers(0, 9), st.booleans())))
    signals, after = [], timedelta(0)
    for seconds, who, right in steps:
        after += timedelta(seconds=seconds)
        kind, outcome = ("session_started", "allowed") if right else ("login_failed", "failed")
        signals.append(signal(f"authz.{kind}", after, who=who % 10, outcome=outcome))
    return signals


@given(st.lists(some_signal(), max_size=60) | crowded_signals(), st.data())
def test_states_stored_between_two_signals_find_the_same(
    signals: list[Signal], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(signals)))
    held, found = rules.initial(), list[Finding]()
    for number, each in enumerate(signals):
        if number == cut:
            held = states.decode(states.encode(held))
        held, new = rules.fold_all(held, each)
        found += new
    assert found == findings(signals)
    assert states.decode(states.encode(held)) == held


def test_every_type_a_rule_looks_at_is_one_that_is_appended() -> None:
    """SG-9: detection names types by their text; one that is misspelt would never be met."""
    assert {known.name for known in vocabulary()} >= rules.TYPES


@given(st.lists(some_signal(), max_size=60) | crowded_signals())
def test_findings_keep_to_the_registry_and_carry_references_only(signals: list[Signal]) -> None:
    for found in findings(signals):
        assert found.rule in rules.FINDING_RULES
        assert found.key.startswith(f"{found.rule}:")
        assert 0 < len(found.evidence) <= 50
        assert found.evidence_more >= 0
        assert not {"192.0.2.1", "2001:db8::1", "digest a", "digest b", "browser a"} & {
            str(value) for value in found.details.values()
        }


@given(st.lists(some_signal(), max_size=60) | crowded_signals())
def test_finding_of_one_organisation_tells_its_readers_the_whole(signals: list[Signal]) -> None:
    """SG-10: own people and own counts are all there are where everything is their own."""
    for found in findings(signals):
        if found.organisation_id is None:
            assert found.own == Own()
            continue
        assert (found.own.person_id, found.own.details) == (found.person_id, found.details)
        assert found.own.events in {0, len(found.evidence) + found.evidence_more}


def begun(of: int, session: int, address: str, others: int = 0) -> Signal:
    return replace(
        signal(SESSION_STARTED, who=1, address=address, session=session, others=others, of=of),
        outcome="allowed",
    )


def test_finding_across_organisations_tells_its_readers_their_share() -> None:
    """SG-10: what is of organisation 8 is no reader's at 7."""
    failed = [signal(LOGIN_FAILED, who=n, of=8 if n < 6 else 7) for n in range(8)]
    (_, spray_used) = findings([*failed, begun(7, 1, "192.0.2.1")])
    assert spray_used.details == {"failures": 8, "logins": 1, "of": "address"}
    assert spray_used.own.details == {"failures": 2, "logins": 1, "of": "address"}
    assert (spray_used.own.person_id, spray_used.own.events) == (spray_used.person_id, 3)

    resets = [
        signal(CREDENTIALS_RESET, who=1, about=10 + n, outcome="allowed", of=8 if n < 3 else 7)
        for n in range(5)
    ]
    (many,) = findings(resets)
    assert (many.details, many.own.details, many.own.events) == ({"resets": 5}, {"resets": 2}, 2)

    (places,) = findings([begun(8, 1, "192.0.2.1"), begun(7, 2, "192.0.2.2", 1)])
    assert (places.details, places.own.details) == ({"places": 2}, {"places": 1})

    reset = signal(CREDENTIALS_RESET, who=2, about=1, outcome="allowed", of=8)
    (used,) = findings([reset, begun(8, 1, "203.0.113.1"), begun(7, 2, "192.0.2.1")])
    assert used.details == {"after": "reset", "minutes": 0, "logins": 2}
    assert (used.own.person_id, used.own.details) == (None, {"after": "reset", "logins": 1})


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 1)), max_size=40))
def test_account_rule_agrees_with_counting_every_window(steps: list[tuple[int, int]]) -> None:
    """In order of time, an account is reported exactly when some window holds five failures."""
    signals, seconds = [], 0
    for step, who in steps:
        seconds += step
        signals.append(failure(timedelta(seconds=seconds), who=who, address=None))
    reported = {each.person_id for each in findings(signals)}
    for whom in {each.person_id for each in signals}:
        times = [each.occurred_at for each in signals if each.person_id == whom]
        spans = [last - first for first, last in zip(times, times[4:], strict=False)]
        assert (whom in reported) == any(span <= timedelta(minutes=15) for span in spans)


def test_signal_no_rule_cares_about_changes_nothing() -> None:
    before = states.encode(rules.initial())
    held, found = rules.fold_all(rules.initial(), signal("cases.read", who=1))
    assert (states.encode(held), found) == (before, [])


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"not json", b'{"out_of_hours_login": {"version": 1, "state": {}}}']
)
def test_states_of_other_rules_are_refused(data: bytes) -> None:
    with pytest.raises(states.StateError):
        states.decode({states.HEAD: data})


def test_states_of_another_version_are_refused() -> None:
    stored = states.encode_head(rules.initial()).replace(b'"version":2', b'"version":1', 1)
    with pytest.raises(states.StateError):
        states.decode({states.HEAD: stored})


@pytest.mark.parametrize("name", ["repeated_failures_account/x", "of another rule/x"])
def test_damaged_parts_are_refused(name: str) -> None:
    with pytest.raises(states.StateError):
        states.decode(states.encode(rules.initial()) | {name: b"{"})


@settings(deadline=None)
@given(st.lists(some_signal(), max_size=60) | crowded_signals())
def test_signal_changes_no_part_but_those_it_touches(signals: list[Signal]) -> None:
    """Only what a signal touched is stored again; what is swept away is gone, never changed."""
    held = rules.initial()
    for each in signals:
        before = states.encode(held)
        held, _ = rules.fold_all(held, each)
        after = states.encode(held)
        touched = {states.name_of(part) for part in rules.touched(each)} | {states.HEAD}
        changed = {name for name, data in after.items() if before.get(name) != data}
        assert changed <= touched


def test_names_and_types_are_what_others_rely_on() -> None:
    assert [rule.name for rule in rules.RULES] == [
        "out_of_hours_login",
        "repeated_failures_account",
        "repeated_failures_address",
        "account_reset_then_used",
        "many_resets",
        "simultaneous_sessions",
        "position_set_aside",
        "shared_mailbox",
    ]
    assert {rule.name for rule in rules.RULES} | {"failures_then_success"} == rules.FINDING_RULES


def test_every_rule_is_described_to_whoever_is_called_for_it() -> None:
    """An alert that nobody knows what to do about is none."""
    text = Path(__file__).parents[3].joinpath("docs", "operations.md").read_text(encoding="utf-8")
    assert [rule for rule in sorted(rules.FINDING_RULES) if f"- `{rule}`" not in text] == []


@pytest.mark.parametrize(("kind", "floor"), [("cases.read", 20_000), ("login_failed", 3_000)])
def test_folding_is_quick(kind: str, floor: int) -> None:
    """A tenth of what is promised, since the machine may be busy; the benchmark measures."""
    one = signal(kind if "." in kind else f"authz.{kind}", who=0)
    many = [replace(one, position=n, account=f"digest {n % 997}") for n in range(4000)]
    began = perf_counter()
    findings(many)
    assert len(many) / (perf_counter() - began) > floor
