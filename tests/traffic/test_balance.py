from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from podium.traffic.balance import RoundRobin


def test_each_backend_comes_in_turn():
    balance = RoundRobin()
    assert [balance.choose("abc") for _ in range(7)] == [0, 1, 2, 0, 1, 2, 0]


def test_excluded_backends_are_skipped():
    balance = RoundRobin()
    assert [balance.choose("abc", {1}) for _ in range(4)] == [0, 2, 0, 2]


def test_a_second_try_does_not_bring_the_turn_back_to_a_dead_backend():
    balance = RoundRobin()
    first = []
    for _ in range(6):
        first.append(balance.choose("ab"))
        if first[-1] == 0:  # dead
            assert balance.choose("ab", {0}, keep_turn=True) == 1
    assert first == [0, 1, 0, 1, 0, 1]


def test_nothing_is_chosen_from_nothing():
    assert RoundRobin().choose([]) is None
    assert RoundRobin().choose("ab", {0, 1}) is None


def test_a_pool_may_shrink_between_two_calls():
    balance = RoundRobin()
    for _ in range(5):
        balance.choose("abcdef")
    assert balance.choose("ab") in {0, 1}


@given(st.integers(1, 8), st.sets(st.integers(0, 7)), st.integers(1, 50))
def test_the_load_is_even_over_what_is_left(size, excluded, calls):
    balance = RoundRobin()
    left = set(range(size)) - excluded
    chosen = Counter(balance.choose(range(size), excluded) for _ in range(calls))
    if not left:
        assert chosen == {None: calls}
    else:
        assert set(chosen) <= left
        assert max(chosen.values()) - min(chosen[index] for index in left) <= 1
