from collections import Counter
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from podium.traffic.balancing.load import BackendLoad
from podium.traffic.balancing.members import Members, lighter

weights = st.lists(st.integers(0, 6), min_size=1, max_size=8)


def pool(weights):
    return tuple(BackendLoad(f"p{number}/m", weight=weight) for number, weight in enumerate(weights))


@given(weights, st.sets(st.integers(-1, 9)))
def test_over_all_random_values_each_is_drawn_by_weight(weights, excluded):
    members = Members(pool(weights))
    left = {index: weight for index, weight in enumerate(weights) if weight and index not in excluded}
    tickets = sum(left.values())
    drawn = Counter(members.one((step + 0.5) / (tickets or 1), excluded) for step in range(tickets))
    assert drawn == left
    if not tickets:
        assert members.one(0.5, excluded) is None


@given(weights, st.sets(st.integers(-1, 9)))
def test_over_all_random_values_the_second_is_drawn_by_weight_from_the_rest(weights, excluded):
    members = Members(pool(weights))
    left = {index: weight for index, weight in enumerate(weights) if weight and index not in excluded}
    tickets, steps = sum(left.values()), 100  # a share of them is off by a step at most
    seen = Counter()
    for step in range(tickets * steps):
        pair = members.two((step + 0.5) / (tickets * steps), excluded)
        assert len(set(pair)) == len(pair) == min(2, len(left))
        seen[pair] += 1
    for (first, second), count in [item for item in seen.items() if len(item[0]) > 1]:
        share = Fraction(left[second], tickets - left[first])
        assert abs(count - left[first] * steps * share) <= left[first]


def test_no_two_are_drawn_from_one_and_none_from_none():
    assert Members(pool([0, 3])).two(0.3, ()) == (1,)
    assert Members(pool([0, 3])).two(0.3, {1}) == ()
    assert Members(()).two(0.3, ()) == ()


def test_a_part_of_the_backends_can_be_drawn_from():
    members = Members(pool([1, 1, 1, 1]), [1, 3])
    assert {index for step in range(8) for index in members.two(step / 8, ())} == {1, 3}


def test_the_lighter_one_has_fewer_calls_for_its_weight():
    backends = pool([1, 4, 2])
    backends[1].in_flight = 2
    assert lighter(backends, (0, 1, 2)) == 2
    backends[2].in_flight = 3
    assert lighter(backends, (0, 1, 2)) == 1
    assert lighter(backends, (2, 0)) == 0
    assert lighter(pool([1, 1]), (1, 0)) == 1
