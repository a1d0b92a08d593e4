"""Time, ids and randomness: aware, ordered, and through one door."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, timedelta
from uuid import RFC_4122, UUID

from hypothesis import given
from hypothesis import strategies as st

from services.kernel.effects import Effects, MonotonicUuid7

_MOMENTS = st.lists(st.integers(0, 2**47 * 1_000_000), min_size=2, max_size=50)


@given(_MOMENTS)
def test_ids_never_go_backwards_whatever_the_clock_does(moments: list[int]) -> None:
    """RFC 9562, section 6.2: a clock set back makes no smaller id."""
    clock = iter(moments)
    draw = MonotonicUuid7(lambda: next(clock), bytes)
    ids = [draw() for _ in moments]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)


@given(st.integers(0, 2**47 * 1_000_000), st.binary(min_size=8, max_size=8))
def test_an_id_is_a_uuid_of_version_7_with_its_millisecond_first(now: int, random: bytes) -> None:
    drawn = MonotonicUuid7(lambda: now, lambda _: random)()
    assert drawn.version == 7
    assert drawn.variant == RFC_4122
    assert drawn.int >> 80 in {now // 1_000_000, now // 1_000_000 + (now < 1_000_000)}


def test_more_ids_than_a_millisecond_holds_spill_into_the_next() -> None:
    draw = MonotonicUuid7(lambda: 5_000_000, bytes)
    ids = [draw() for _ in range(10_000)]
    assert ids == sorted(set(ids))
    assert ids[-1].int >> 80 == 5 + 10_000 // 4_096


def test_threads_draw_no_id_twice() -> None:
    new_id = Effects().new_id

    def many(_: int) -> list[UUID]:
        return [new_id() for _ in range(500)]

    with ThreadPoolExecutor(8) as pool:
        drawn = [each for ids in pool.map(many, range(8)) for each in ids]
    assert len(set(drawn)) == 4_000


def test_the_clock_is_aware_and_utc() -> None:
    assert Effects().now().utcoffset() == timedelta(0)
    assert Effects().now().tzinfo is UTC


def test_tokens_are_as_long_as_asked_and_differ() -> None:
    token = Effects().token
    assert len(token(32)) == 32
    assert token(32) != token(32)
