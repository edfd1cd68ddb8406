"""The meter against a replay of all its charges, each with the amount that it turned out to be."""

from hypothesis import given
from hypothesis import strategies as st

from podium.traffic.meter import MINUTE_NS, UNIT, Meter


class Replay:
    """The plain reference: remembers every charge and starts from zero each time."""

    def __init__(self, per_minute):
        self.per_minute = per_minute
        self.charges = []  # [at_ns, units]

    def debt(self, now_ns):
        debt, at = 0, 0
        for when, units in self.charges:
            debt = max(0, debt - (when - at) * self.per_minute) + units
            at = when
        return max(0, debt - (now_ns - at) * self.per_minute)


steps = st.lists(
    st.tuples(
        st.integers(0, MINUTE_NS // 4) | st.just(0),  # time that passes
        st.integers(0, 120),  # tokens charged
        st.integers(0, 120),  # tokens that it turns out to be, if less
        st.integers(0, 6),  # how many charges later
    ),
    max_size=40,
)


def run(per_minute, script):
    """Yields (debt of the meter, debt of the reference) after each step."""
    meter, replay, now, pending = Meter(per_minute, 0), Replay(per_minute), 0, []
    for serial, (passed, tokens, actual, later) in enumerate(script):
        now += passed
        meter.drain(now)
        meter.charge(tokens * UNIT, serial)
        replay.charges.append([now, tokens * UNIT])
        pending.append((serial + later, serial, max(0, tokens - actual)))
        for entry in [entry for entry in pending if entry[0] <= serial]:
            pending.remove(entry)
            _, charged, surplus = entry
            meter.drain(now)
            meter.give_back(surplus * UNIT, charged)
            replay.charges[charged][1] -= surplus * UNIT
        yield meter.drain(now), replay.debt(now)


@given(st.integers(1, 500), steps)
def test_a_corrected_charge_is_as_if_it_had_been_so_from_the_start(per_minute, script):
    for debt, expected in run(per_minute, script):
        assert debt == expected


@given(
    st.integers(1, 500),
    st.lists(st.tuples(st.integers(0, 10**9), st.integers(1, 9), st.just(0), st.integers(40, 90)), max_size=150),
)
def test_with_many_marks_it_never_gives_back_too_much(per_minute, script):
    for debt, expected in run(per_minute, script):
        assert debt >= expected


def test_marks_stay_few_whatever_happens():
    meter = Meter(60, 0)
    for serial in range(10_000):
        meter.charge(UNIT, serial)
    assert len(meter._lows) <= 32
    meter.give_back(UNIT, 9_999)
    assert meter.debt == 9_999 * UNIT


def test_unused_reservations_cannot_be_saved_up():
    meter = Meter(100, 0)
    meter.charge(100 * UNIT, 1)
    meter.drain(MINUTE_NS)  # it has drained while it was reserved
    meter.charge(70 * UNIT, 2)
    meter.give_back(100 * UNIT, 1)
    assert meter.debt == 70 * UNIT


def test_time_that_goes_back_changes_nothing():
    meter = Meter(60, 0)
    meter.charge(30 * UNIT, 1)
    assert meter.drain(10_000_000_000) == 20 * UNIT
    assert meter.drain(5_000_000_000) == 20 * UNIT
    assert meter.drain(10_000_000_000) == 20 * UNIT


def test_a_changed_rate_keeps_the_debt():
    meter = Meter(60, 0)
    meter.charge(60 * UNIT, 1)
    meter.change_rate(6, MINUTE_NS // 2)
    assert meter.debt == 30 * UNIT
    assert meter.drain(MINUTE_NS) == 27 * UNIT
    assert meter.wait_ns(UNIT, MINUTE_NS) == -(-22 * UNIT // 6)


@given(st.integers(1, 10**7), st.integers(0, 10**6), st.integers(1, 10**6))
def test_after_the_wait_it_fits_and_not_a_nanosecond_earlier(per_minute, used, wanted):
    wanted = min(wanted, per_minute)
    meter = Meter(per_minute, 0)
    meter.charge(used * UNIT, 1)
    wait = meter.wait_ns(wanted * UNIT, 0)
    if wait:
        assert meter.drain(wait - 1) + wanted * UNIT > meter.capacity
    assert meter.drain(wait) + wanted * UNIT <= meter.capacity
