import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.traffic.backoff import Backoff


@pytest.mark.parametrize(
    ("attempt", "ceiling_s"), [(1, 0.025), (2, 0.05), (3, 0.1), (4, 0.2), (5, 0.25), (6, 0.25), (10_000, 0.25)]
)
def test_the_ceiling_doubles_up_to_its_bound(attempt, ceiling_s):
    assert Backoff().ceiling_s(attempt) == pytest.approx(ceiling_s)


@given(
    st.integers(1, 10**9), st.floats(0, 1, exclude_max=True), st.floats(0.001, 10), st.floats(1, 1000, allow_nan=False)
)
def test_the_delay_is_evenly_spread_below_the_ceiling(attempt, random, base_s, times):
    backoff = Backoff(base_s, base_s * times)
    assert backoff.delay_s(attempt, random) == backoff.ceiling_s(attempt) * random
    assert 0 <= backoff.delay_s(attempt, random) <= backoff.max_s
    assert backoff.ceiling_s(attempt) <= backoff.ceiling_s(attempt + 1)


@pytest.mark.parametrize(("base_s", "max_s"), [(0, 1), (-1, 1), (2, 1)])
def test_nonsense_is_refused(base_s, max_s):
    with pytest.raises(ValueError, match="base_s"):
        Backoff(base_s, max_s)
