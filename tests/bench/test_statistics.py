from harness.statistics import Spread, pairwise_ratios, spread_of


def test_only_measurements_of_the_same_round_are_compared():
    ours = {1: 10.0, 2: 30.0, 4: 99.0}
    theirs = {1: 5.0, 2: 10.0, 3: 1.0}
    assert pairwise_ratios(ours, theirs) == [2.0, 3.0]


def test_a_drift_between_rounds_does_not_move_the_ratio():
    ours = {number: 120.0 * slow for number, slow in enumerate((1.0, 2.3, 0.7))}
    theirs = {number: 100.0 * slow for number, slow in enumerate((1.0, 2.3, 0.7))}
    spread = spread_of(pairwise_ratios(ours, theirs))
    assert spread is not None
    assert round(spread.low, 9) == round(spread.median, 9) == round(spread.high, 9) == 1.2


def test_nothing_is_compared_with_zero():
    assert pairwise_ratios({1: 3.0}, {1: 0.0}) == []


def test_the_spread_tells_the_middle_and_the_ends():
    assert spread_of([3.0, 1.0, 2.0, 10.0]) == Spread(2.5, 1.0, 10.0, 4)
    assert spread_of([]) is None


def test_a_spread_over_one_shows_no_difference():
    assert Spread(1.1, 0.9, 1.3, 7).contains(1.0)
    assert not Spread(1.1, 1.05, 1.3, 7).contains(1.0)
