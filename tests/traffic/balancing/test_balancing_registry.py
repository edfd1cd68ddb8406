import pytest

from podium.traffic.balancing.registry import STRATEGIES, BalancingOptions, make_balancer


def test_the_strategies_are_those_of_the_documents():
    assert set(STRATEGIES) == {
        "round_robin", "weighted_round_robin", "least_in_flight", "response_time", "lowest_cost", "prefix_affinity",
        "session_affinity",
    }  # fmt: skip


def test_a_name_that_is_none_is_refused_with_those_that_are():
    with pytest.raises(ValueError, match=r"'fastest'; there are round_robin, "):
        make_balancer("fastest")


def test_each_pool_has_a_balancer_of_its_own():
    assert make_balancer("round_robin") is not make_balancer("round_robin")


@pytest.mark.parametrize(
    "wrong",
    [
        {"expected_output_tokens": -1},
        {"cost_ratio": 1.0},
        {"imbalance_rel": 0.5},
        {"prefix_chunk_bytes": 0},
        {"prefix_index_bytes": 0},
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        BalancingOptions(**wrong)
