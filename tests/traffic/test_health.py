import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.traffic.health import Health, HealthChange, HealthPolicy, HealthState

SECOND = 1_000_000_000
UNKNOWN, HEALTHY, UNHEALTHY = HealthState.UNKNOWN, HealthState.HEALTHY, HealthState.UNHEALTHY


def after(results, policy=HealthPolicy()):  # noqa: B008 - frozen
    """The states after each result; `+` passed, `-` failed."""
    health, states = Health(policy, 0, 0.5), []
    for result in results:
        health.record(result == "+", 0, 0.5)
        states.append(health.state)
    return states


@pytest.mark.parametrize(
    ("results", "state"),
    [
        ("", UNKNOWN),
        ("+", HEALTHY),
        ("-", UNKNOWN),
        ("--", UNKNOWN),
        ("---", UNHEALTHY),
        ("--+", HEALTHY),
        ("+--", HEALTHY),
        ("+--+--", HEALTHY),
        ("+---", UNHEALTHY),
        ("---+", UNHEALTHY),
        ("---+-+", UNHEALTHY),
        ("---++", HEALTHY),
        ("---++--", HEALTHY),
    ],
)
def test_results_in_a_row_decide(results, state):
    assert [UNKNOWN, *after(results)][-1] is state


def test_a_change_is_told_once():
    health = Health(HealthPolicy(), 0, 0.5)
    told = [health.record(passed, 0, 0.5) for passed in [True, True, False, False, False, False, True, True, True]]
    assert [change for change in told if change] == [
        HealthChange(UNKNOWN, HEALTHY, 1),
        HealthChange(HEALTHY, UNHEALTHY, 3),
        HealthChange(UNHEALTHY, HEALTHY, 2),
    ]


def test_only_an_unhealthy_backend_is_not_usable():
    health = Health(HealthPolicy(unhealthy_after=1), 0, 0.5)
    assert health.usable
    health.record(False, 0, 0.5)
    assert not health.usable


@pytest.mark.parametrize(("random", "wait_s"), [(0.0, 9.0), (0.5, 10.0), (0.75, 10.5)])
def test_the_next_check_is_an_interval_away_give_or_take(random, wait_s):
    health = Health(HealthPolicy(interval_s=10, jitter=0.1), 0, random)
    assert health.due_at_ns == int(10 * random * SECOND)
    health.record(True, 100 * SECOND, random)
    assert health.due_at_ns == pytest.approx((100 + wait_s) * SECOND)


@given(st.text("+-", max_size=60), st.integers(1, 4), st.integers(1, 4))
def test_a_state_is_backed_by_enough_results(results, bad, good):
    states = after(results, HealthPolicy(unhealthy_after=bad, healthy_after=good))
    for position, state in enumerate(states):
        seen = results[: position + 1]
        if seen.endswith("-" * bad):
            assert state is UNHEALTHY
        if seen.endswith("+" * good):
            assert state is HEALTHY
        if state is UNHEALTHY:
            assert "-" * bad in seen
        assert (state is UNKNOWN) == ("+" not in seen and "-" * bad not in seen)


def test_operators_read_why():
    health = Health(HealthPolicy(), 0, 0.5)
    assert health.explain() == "Not checked yet."
    health.record(True, 0, 0.5)
    assert health.explain() == "Healthy: the last check passed."
    for _ in range(3):
        health.record(False, 0, 0.5)
    assert health.explain() == "Unhealthy: the last 3 checks failed."


@pytest.mark.parametrize("wrong", [{"interval_s": 0}, {"jitter": 1}, {"unhealthy_after": 0}, {"healthy_after": 0}])
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError):
        HealthPolicy(**wrong)
