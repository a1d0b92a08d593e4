"""Statements of a fold: together as far as they commute, and in order where they do not."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from services.kernel.writes import Write, turns

_writes = st.lists(
    st.builds(
        Write,
        st.sampled_from(["insert", "update", "delete"]),
        st.just(()),
        st.lists(st.sampled_from("abcd"), min_size=1, max_size=2, unique=True).map(tuple),
    ),
    max_size=14,
)


@given(_writes)
def test_writes_that_share_a_key_run_in_their_order_and_each_runs_once(made: list[Write]) -> None:
    numbered = [Write(w.sql, (n,), w.keys) for n, w in enumerate(made)]
    ran = [(sql, *row) for turn in turns(numbered) for sql, rows in turn.items() for row in rows]
    assert sorted(ran) == sorted((w.sql, *w.arguments) for w in numbered)
    at = {n: place for place, (_, n) in enumerate(ran)}
    for first, second in combinations(range(len(made)), 2):
        if set(made[first].keys) & set(made[second].keys):
            assert at[first] < at[second]


def test_what_happened_alike_to_many_is_one_statement_each() -> None:
    """However many people a batch registers, it takes as many statements as one of them."""
    life = ("insert", "password", "totp", "grant", "grant")
    made = [Write(sql, (who,), (who,)) for who in range(50) for sql in life]
    assert [list(turn) for turn in turns(made)] == [["insert"], ["password"], ["totp"], ["grant"]]
    assert len(turns(made)[3]["grant"]) == 100
