"""The compiled masks answer exactly as Casbin's enforcer does, and only rows ever allow."""

import random
import re
from importlib.resources import files
from itertools import chain, combinations
from typing import Final

import pytest

from services.authz import engine
from services.authz.engine import ANY_ROLE, BadPolicy, Policy, Row
from services.authz.events import Role

POLICY: Final = engine.load()
ENFORCER: Final = engine.enforcer()
ROLES: Final = sorted({row.role for row in POLICY.rows} - {ANY_ROLE})
OBJECTS: Final = sorted({(row.action, row.object) for row in POLICY.rows})


def rows_for(role: str, action: str, object_: str) -> list[Row]:
    """Return the rows that can speak of a question, read from the policy again."""
    return [
        row
        for row in POLICY.rows
        if row.role in (role, ANY_ROLE) and (row.action, row.object) == (action, object_)
    ]


@pytest.mark.parametrize("role", ROLES)
def test_masks_equal_casbin_for_every_combination_of_the_facts_in_play(role: str) -> None:
    """Every subset of the facts that the rows mention; the other facts at random."""
    chance = random.Random(role)
    for action, object_ in OBJECTS:
        rows = rows_for(role, action, object_)
        mentioned = sorted({name for row in rows for name in row.needs})
        others = sorted(set(POLICY.facts) - set(mentioned))
        sizes = range(len(mentioned) + 1) if rows else (0,)
        for held in chain.from_iterable(combinations(mentioned, n) for n in sizes):
            facts = [*held, *chance.sample(others, chance.randrange(len(others)))]
            allowed = ENFORCER.enforce(role, action, object_, " ".join(facts))
            clause = POLICY.clause(role, action, object_, POLICY.bits(facts))
            assert (clause is not None) == allowed, (role, action, object_, facts)


@pytest.mark.parametrize("role", ROLES)
def test_parts_are_the_single_answers_together(role: str) -> None:
    """A part is granted when its object is, by the same clause."""
    chance = random.Random(role)
    names = sorted(POLICY.facts)
    for _ in range(200):
        facts = chance.sample(names, chance.randrange(len(names)))
        bits = POLICY.bits(facts)
        for kind in ("request", "case"):
            single = {
                object_.partition(".")[2]: clause
                for action, object_ in OBJECTS
                if action == "read" and object_.startswith(f"{kind}.")
                if (clause := POLICY.clause(role, "read", object_, bits))
            }
            assert POLICY.parts(role, "read", kind, bits) == single


def test_a_policy_without_rows_is_refused() -> None:
    """Casbin without policy would allow everything its effect does not deny."""
    with pytest.raises(BadPolicy):
        Policy([])


@pytest.mark.parametrize(
    ("clause", "role", "action", "object_"),
    [
        ("", "school_leader", "read", "case.overview"),
        ("AC-SEE-1", "", "read", "case.overview"),
        ("AC-SEE-1", "school_leader", "", "case.overview"),
        ("AC-SEE-1", "school_leader", "read", ""),
    ],
)
def test_a_row_with_an_empty_term_is_refused(
    clause: str, role: str, action: str, object_: str
) -> None:
    with pytest.raises(BadPolicy):
        Policy([Row(clause, role, action, object_, ("of_my_school",))])


@pytest.mark.parametrize("needs", [(), ("",), ("of_my_school", "")])
def test_a_row_that_needs_nothing_is_refused(needs: tuple[str, ...]) -> None:
    """No clause gives something to a role whatever its relation."""
    with pytest.raises(BadPolicy):
        Policy([Row("AC-SEE-1", "school_leader", "read", "case.overview", needs)])


def test_empty_terms_are_never_allowed() -> None:
    everything = sum(POLICY.facts.values())
    for role, action, object_ in (
        ("", "read", "case.overview"),
        ("school_leader", "", "case.overview"),
        ("school_leader", "read", ""),
        ("", "", ""),
    ):
        assert POLICY.clause(role, action, object_, everything) is None
        assert not ENFORCER.enforce(role, action, object_, " ".join(POLICY.facts))
    assert POLICY.clause("school_leader", "read", "case.overview", 0) is None
    assert not ENFORCER.enforce("school_leader", "read", "case.overview", "")


def test_a_role_that_nobody_may_hold_has_no_rows() -> None:
    assert set(ROLES) <= {*(str(role) for role in Role), "service_client"}


def test_the_head_of_the_policy_explains_the_facts_that_its_rows_name_and_no_others() -> None:
    """So that a privacy officer can read the rows."""
    text = (files("services.authz.policy") / "policy.csv").read_text()
    explained = re.findall(r"^#   (\w+): \w", text, re.MULTILINE)
    assert sorted(explained) == sorted(POLICY.facts)


def test_unknown_facts_are_an_error_and_not_false() -> None:
    with pytest.raises(KeyError):
        POLICY.bits(["of_my_shcool"])


def test_the_version_follows_the_rows() -> None:
    """An event names the policy it was decided under; other rows are another version."""
    row = Row("AC-SEE-1", "school_leader", "read", "case.overview", ("of_my_school",))
    one, other = Policy([row]), Policy([row._replace(needs=("active",))])
    assert one.version != other.version
    assert POLICY.version == engine.load().version
