import pytest

from podium.core.clock import Clock
from podium.testing.clock import TestClock


def test_time_passes_only_when_told():
    clock: Clock = TestClock(monotonic_ns=5, unix_ns=7)
    assert (clock.monotonic_ns(), clock.unix_ns()) == (5, 7)
    assert (clock.monotonic_ns(), clock.unix_ns()) == (5, 7)


def test_both_clocks_advance_together():
    clock = TestClock(monotonic_ns=0, unix_ns=100)
    clock.advance(1.5)
    assert (clock.monotonic_ns(), clock.unix_ns()) == (1_500_000_000, 1_500_000_100)


def test_a_jump_moves_only_the_wall_clock():
    clock = TestClock(monotonic_ns=0, unix_ns=0)
    clock.jump(-3600)
    assert (clock.monotonic_ns(), clock.unix_ns()) == (0, -3_600_000_000_000)


def test_monotonic_time_does_not_go_back():
    with pytest.raises(ValueError):
        TestClock().advance(-0.1)
