import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.traffic.bulkhead import Bulkhead, BulkheadDecision

ENTERED, FULL = BulkheadDecision.ENTERED, BulkheadDecision.BULKHEAD_FULL


def test_as_many_enter_as_there_are_places():
    bulkhead = Bulkhead(2)
    assert [bulkhead.try_enter() for _ in range(3)] == [ENTERED, ENTERED, FULL]
    bulkhead.leave()
    assert bulkhead.try_enter().entered
    assert not bulkhead.try_enter().entered


def test_without_a_limit_all_enter():
    bulkhead = Bulkhead(None)
    assert all(bulkhead.try_enter().entered for _ in range(1000))
    assert bulkhead.running == 1000


def test_a_smaller_limit_waits_for_those_inside():
    bulkhead = Bulkhead(3)
    for _ in range(3):
        bulkhead.try_enter()
    bulkhead.limit = 1
    bulkhead.leave()
    bulkhead.leave()
    assert bulkhead.try_enter() is FULL
    bulkhead.leave()
    assert bulkhead.try_enter() is ENTERED


def test_nobody_leaves_who_has_not_entered():
    with pytest.raises(AssertionError):
        Bulkhead(1).leave()


@given(st.integers(0, 5), st.lists(st.booleans()))
def test_there_are_never_more_inside_than_places(limit, steps):
    bulkhead, inside = Bulkhead(limit), 0
    for enter in steps:
        if enter:
            assert bulkhead.try_enter().entered is (inside < limit)
            inside = min(inside + 1, limit)
        elif inside:
            bulkhead.leave()
            inside -= 1
        assert bulkhead.running == inside <= limit
