"""A bucket against a replay of all its charges, each with the amount that it turned out to be."""

from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from podium.traffic.limiting.buckets import Bucket
from podium.traffic.limiting.gcra import Gcra
from podium.traffic.limiting.memory import Memory

MINUTE = 60 * 10**9
ENDLESS = 10**18


def bucket_of(amount, window_ns=MINUTE, burst=0):
    return Bucket("b", "tokens", amount, window_ns, burst=burst)


class Replay:
    """The plain reference: remembers every charge and starts from zero each time."""

    def __init__(self, amount, window_ns):
        self.rate, self.unit = amount, window_ns
        self.charges = []  # [at_ns, tokens]

    def debt(self, now_ns):
        debt, at = 0, 0
        for when, tokens in self.charges:
            debt = max(0, debt - (when - at) * self.rate) + tokens * self.unit
            at = when
        return max(0, debt - (now_ns - at) * self.rate)


steps = st.lists(
    st.tuples(
        st.integers(0, MINUTE // 4) | st.just(0),  # time that passes
        st.integers(0, 120),  # tokens asked
        st.integers(0, 120),  # tokens that it turns out to be, if less
        st.integers(0, 6),  # how many charges later
        st.booleans(),  # taken back at once, as when a later bucket has no room
    ),
    max_size=40,
)


def run(amount, burst, script):
    """Yields (debt of the bucket, debt of the reference) after each step."""
    bucket, replay = bucket_of(amount, burst=burst), Replay(amount, MINUTE)
    gcra, now, pending = Gcra(bucket, 0, Memory()), 0, []
    for serial, (passed, tokens, actual, later, undone) in enumerate(script):
        now += passed
        room = replay.debt(now) + tokens * MINUTE <= burst * MINUTE
        exact = gcra._debt == replay.debt(gcra.at_ns)
        taken = gcra.take(tokens, serial, now, ENDLESS)
        assert taken == room or not exact
        if taken and undone:
            gcra.undo(tokens, serial)
        elif taken:
            replay.charges.append([now, tokens])
            pending.append((serial + later, serial, replay.charges[-1], max(0, tokens - actual)))
        for entry in [entry for entry in pending if entry[0] <= serial]:
            pending.remove(entry)
            _, charged, charge, surplus = entry
            gcra.end(-surplus, SimpleNamespace(serial=charged, at_ns=0), serial, now)
            charge[1] -= surplus
        gcra.fits(0, now)
        yield gcra._debt, replay.debt(now)


@given(st.integers(1, 500), st.integers(1, 900), steps)
def test_a_corrected_charge_is_as_if_it_had_been_so_from_the_start(amount, burst, script):
    for debt, expected in run(amount, burst, script):
        assert debt == expected


many = st.tuples(st.integers(0, 10**9), st.integers(1, 9), st.just(0), st.integers(40, 90), st.just(False))


@given(st.integers(1, 500), st.lists(many, max_size=150))
def test_with_many_marks_it_never_gives_back_too_much(amount, script):
    for debt, expected in run(amount, 10**4, script):
        assert debt >= expected


@given(
    st.integers(1, 50),
    st.integers(1, 80),
    st.integers(1, 10**11),
    st.lists(st.tuples(st.integers(0, 10**10) | st.just(0), st.integers(1, 9)), max_size=80),
)
def test_no_stretch_admits_more_than_burst_and_amount(amount, burst, window_ns, asks):
    gcra, admitted, now = Gcra(bucket_of(amount, window_ns, burst), 0, Memory()), [], 0
    for serial, (passed, tokens) in enumerate(asks):
        now += passed
        if gcra.take(tokens, serial, now, ENDLESS):
            admitted.append((now, tokens))
    for index, (start, _) in enumerate(admitted):
        total = 0
        for at, tokens in admitted[index:]:
            total += tokens
            assert total * window_ns <= burst * window_ns + amount * (at - start)


def test_marks_stay_few_and_are_paid_for():
    memory = Memory()
    gcra = Gcra(bucket_of(10**6), 0, memory)
    before = memory.used
    for serial in range(10_000):
        assert gcra.take(1, serial, 0, ENDLESS)
    assert len(gcra._lows) <= 32
    assert memory.used == gcra.cost > before
    gcra.end(-1, SimpleNamespace(serial=9_999, at_ns=0), 10_000, 0)
    assert gcra.standing(0).left == 10**6 - 9_999


def test_it_is_idle_when_empty_and_active_when_full_or_in_flight():
    gcra = Gcra(bucket_of(60), 0, Memory())
    assert gcra.idle(0)
    gcra.take(59, 1, 0, 10**9)
    assert (gcra.idle(0), gcra.active(0)) == (False, True)  # in flight
    assert (gcra.idle(10**9), gcra.active(10**9)) == (False, False)  # its lease has ended
    gcra.end(1, SimpleNamespace(serial=1, at_ns=0), 2, 10**9)
    gcra.take(1, 3, 10**9, 10**9)
    assert gcra.active(10**9)  # full
    assert gcra.idle(MINUTE + 10**9)


def test_who_was_refused_keeps_it_active_until_there_is_room():
    gcra = Gcra(bucket_of(60), 0, Memory())
    gcra.take(30, 1, 0, 0)
    gcra.refused = (0, 40, 10 * 10**9)
    assert gcra.active(10 * 10**9 - 1)
    assert not gcra.active(10 * 10**9)
