import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.traffic.balancing.ewma import PeakEwma
from podium.traffic.balancing.load import BackendLoad

S = 1_000_000_000
MS = 1_000_000


def test_a_slow_sample_counts_at_once():
    average = PeakEwma(10)
    average.sample(100, 0)
    average.sample(900, 1)
    assert average.read(1) == 900


def test_a_fast_sample_counts_by_how_long_ago_the_last_one_was():
    average = PeakEwma(10)
    average.sample(1000, 0)
    average.sample(0, 10 * S)
    assert average.read(10 * S) == pytest.approx(1000 / math.e)


def test_what_is_not_sampled_sinks_and_is_forgotten():
    average = PeakEwma(10)
    assert average.read(0) is None
    average.sample(1000, 0)
    assert average.read(10 * S) == pytest.approx(1000 / math.e)
    assert average.read(10 * S) == pytest.approx(1000 / math.e)  # reading changes nothing
    assert average.read(30 * S) is not None
    assert average.read(30 * S + 1) is None


def test_an_average_needs_time_to_decay_in():
    with pytest.raises(ValueError, match="decay_s"):
        PeakEwma(0)


@given(st.lists(st.tuples(st.floats(0, 1e5), st.integers(-S, 60 * S)), min_size=1, max_size=40))
def test_an_average_stays_within_its_samples(samples):
    average, now_ns = PeakEwma(10), 0
    for value, later_ns in samples:
        now_ns += later_ns  # sometimes back
        average.sample(value, now_ns)
        estimate = average.read(now_ns)
        assert estimate is not None
        assert value * (1 - 1e-9) <= estimate or later_ns < 0
        assert estimate <= max(sample for sample, _ in samples) * (1 + 1e-9)


def answered(load, now_ns, ttft_ms, per_token_ms=None):
    load.began(now_ns)
    load.first_content(now_ns, ttft_ms)
    load.ended(now_ns, time_per_output_token_ms=per_token_ms, failed=False)


def test_nothing_is_known_of_a_fresh_backend():
    load = BackendLoad("p/m")
    assert load.ttft_ms(0) is None
    assert load.time_per_output_token_ms(0) is None
    assert not load.unproven


def test_both_times_are_measured():
    load = BackendLoad("p/m")
    answered(load, 0, 120, 15)
    assert load.ttft_ms(0) == 120
    assert load.time_per_output_token_ms(0) == 15
    assert load.in_flight == 0


def test_a_backend_is_unproven_until_its_first_content():
    load = BackendLoad("p/m")
    load.began(0)
    assert load.unproven
    load.first_content(1, 50)
    assert not load.unproven
    load.ended(2, time_per_output_token_ms=None, failed=False)


def test_a_caller_that_goes_away_leaves_no_trace():
    load = BackendLoad("p/m")
    load.began(0)
    load.ended(S, time_per_output_token_ms=None, failed=False)
    assert load.ttft_ms(S) is None
    assert not load.unproven


@given(st.lists(st.floats(0.1, 1e5), max_size=5), st.integers(1, 10))
def test_a_failure_never_makes_a_backend_look_faster(ttfts, failures):
    load = BackendLoad("p/m")
    for ttft_ms in ttfts:
        answered(load, 0, ttft_ms)
    before = load.ttft_ms(0) or 0.0
    for _ in range(failures):
        load.began(0)
        load.ended(0, time_per_output_token_ms=0.001, failed=True)
        after = load.ttft_ms(0)
        assert after >= max(before, 1000)
        assert after <= max(before, 60_000)
        before = after
    assert load.time_per_output_token_ms(0) is None
    assert load.in_flight == 0


def test_a_call_that_waits_counts_as_long_as_it_has_waited():
    load = BackendLoad("p/m")
    answered(load, 0, 100)
    load.began(S)
    load.began(2 * S)
    assert load.ttft_ms(S) < 100
    assert load.ttft_ms(6 * S) == 5000
    load.first_content(6 * S, 4000)
    assert load.ttft_ms(6 * S) == 4000


def test_a_backend_shows_its_key_and_load():
    assert repr(BackendLoad("p/m", weight=2)) == "BackendLoad('p/m', weight=2, in_flight=0)"


def test_a_call_that_was_beaten_counts_more_than_it_waited_and_a_series_of_them_ever_more():
    load = BackendLoad("p/m")
    answered(load, 0, 50)
    for lost, expected in ((1, 200), (2, 400), (3, 800)):
        load.began(lost)
        load.beaten(lost, 100)
        load.ended(lost, time_per_output_token_ms=None, failed=False)
        assert load.ttft_ms(lost) == pytest.approx(expected)
        assert not load.unproven
    answered(load, 4, 50)  # it can be first: the next loss is a first one
    load.began(40 * S)
    load.beaten(40 * S, 100)
    assert load.ttft_ms(40 * S) == pytest.approx(200, rel=0.2)


def test_no_series_of_beaten_calls_counts_more_than_a_minute():
    load = BackendLoad("p/m")
    for now_ns in range(100):
        load.began(now_ns)
        load.beaten(now_ns, 5_000)
    assert load.ttft_ms(100) == pytest.approx(60_000)
