"""A sliding window against a list of all that it has admitted."""

from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from podium.traffic.limiting.buckets import SLOTS, Bucket, Standing
from podium.traffic.limiting.memory import Memory
from podium.traffic.limiting.sliding_window import SlidingWindow

WINDOW = 10_007  # no multiple of the parts


def window_of(amount, window_ns=WINDOW, now_ns=0):
    return SlidingWindow(Bucket("b", "tokens", amount, window_ns, "sliding_window"), now_ns, Memory())


@given(
    st.integers(1, 40),
    st.integers(0, 10**6),
    st.lists(
        st.tuples(
            st.integers(0, WINDOW // 4) | st.just(0) | st.integers(WINDOW, 3 * WINDOW),  # time that passes
            st.integers(0, 12),  # asked
            st.integers(0, 12),  # used, if less
            st.integers(0, 5),  # how many requests later this is known
        ),
        max_size=60,
    ),
)
def test_no_stretch_of_a_window_takes_more_than_the_amount(amount, start, script):
    window, now = window_of(amount, now_ns=start), start
    admitted, pending = [], []  # [at, tokens, may be counted at most until]
    part = -(-WINDOW // SLOTS)
    for serial, (passed, asked, used, later) in enumerate(script):
        now += passed
        for entry in [entry for entry in pending if entry[0] <= serial]:
            pending.remove(entry)
            _, charge, surplus = entry
            window.end(-surplus, SimpleNamespace(serial=0, at_ns=charge[0]), 0, now)
            charge[1] -= surplus
        in_window = sum(tokens for at, tokens in admitted if at > now - WINDOW)
        still_counted = sum(tokens for at, tokens in admitted if at > now - WINDOW - 2 * part)
        if window.take(asked, serial, now, now + 1):
            assert in_window + asked <= amount
            admitted.append([now, asked])
            pending.append((serial + later, admitted[-1], max(0, asked - used)))
        else:
            assert still_counted + asked > amount


@given(
    st.integers(1, 20),
    st.lists(st.tuples(st.integers(0, WINDOW), st.integers(1, 20)), min_size=1, max_size=30),
)
def test_who_waits_as_told_is_admitted_and_not_before(amount, script):
    window, now = window_of(amount), 0
    for serial, (passed, asked) in enumerate(script):
        now += passed
        wait_ns = window.wait_ns(asked, now)
        if asked > amount:
            assert wait_ns is None
            continue
        if wait_ns:
            assert not window.take(asked, serial, now + wait_ns - 1, 0)
        now += wait_ns
        assert window.take(asked, serial, now, 0)


def test_what_is_owed_counts_from_when_it_is_known():
    window = window_of(10, 1600)
    window.take(4, 1, 0, 0)
    window.end(20, SimpleNamespace(serial=1, at_ns=0), 2, 800)
    assert window.standing(800).left == 0
    assert window.wait_ns(1, 1700) == 800  # until the part of 800 is gone
    assert window.standing(2500).left == 10


def test_a_late_correction_of_what_counts_no_more_changes_nothing():
    window = window_of(10, 1600)
    window.take(10, 1, 0, 0)
    assert window.take(10, 2, 1700, 0)
    window.end(-10, SimpleNamespace(serial=1, at_ns=0), 3, 1700)
    assert window.standing(1700) == Standing(window.bucket, 0, 1700)
    window.undo(10, 2)
    assert (window.standing(1700).left, window.idle(1700)) == (10, True)
    assert window.standing(10**6).left == 10
