import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.traffic.balancing.load import BackendLoad
from podium.traffic.balancing.ports import CallFacts, Choice, Why
from podium.traffic.balancing.prefix_affinity import PrefixAffinity
from podium.traffic.balancing.prefix_index import PrefixIndex, marks_of


def pool(size):
    return tuple(BackendLoad(f"p{number}/m") for number in range(size))


def text(name, size=2000):
    return (name * size).encode()[:size]


def marks(tenant, prefix):
    return marks_of(tenant, prefix, chunk_bytes=256, max_bytes=4096)


def test_a_prompt_has_a_mark_at_one_two_four_chunks_and_so_on():
    assert [len(marks("t", b"x" * size)) for size in (0, 255, 256, 511, 512, 1023, 1024, 4096, 9999)] == [
        0, 0, 1, 1, 2, 2, 3, 5, 5,
    ]  # fmt: skip


@given(st.binary(max_size=3000), st.binary(max_size=3000), st.binary(max_size=3000))
def test_prompts_share_the_marks_of_what_they_share_and_no_others(shared, one, other):
    length = len(shared)
    while length < min(len(shared + one), len(shared + other)) and (shared + one)[length] == (shared + other)[length]:
        length += 1
    ends = [256 << power for power in range(5)]
    common = sum(end <= length for end in ends)
    first, second = marks("t", shared + one), marks("t", shared + other)
    assert first[:common] == second[:common]
    assert not set(first[common:]) & set(second[common:])


@given(st.binary(min_size=256, max_size=4096), st.text(), st.text())
def test_tenants_never_share_a_mark(prefix, one, other):
    assert bool(set(marks(one, prefix)) & set(marks(other, prefix))) == (one == other)


def test_a_prompt_goes_where_its_beginning_is_warm():
    balancer, backends = PrefixAffinity(), pool(50)
    first = balancer.choose(backends, (), CallFacts(0, "t", prompt_prefix=text("a"), random=0.7))
    assert first.why is Why.COLD_PREFIX
    for value in (0.0, 0.2, 0.9):
        longer = CallFacts(0, "t", prompt_prefix=text("a") + b"and more", random=value)
        assert balancer.choose(backends, (), longer) == Choice(first.index, Why.WARM_PREFIX)


def test_what_is_warm_for_one_tenant_is_cold_for_another():
    balancer, backends = PrefixAffinity(), pool(50)
    balancer.choose(backends, (), CallFacts(0, "t", prompt_prefix=text("a"), random=0.7))
    choice = balancer.choose(backends, (), CallFacts(0, "other", prompt_prefix=text("a"), random=0.1))
    assert choice.why is Why.COLD_PREFIX


def test_the_longest_known_beginning_wins():
    balancer, backends = PrefixAffinity(), pool(2)
    backends[1].in_flight = 1
    assert balancer.choose(backends, (), CallFacts(0, "t", prompt_prefix=text("a", 512))).index == 0
    balancer.choose(backends, {0}, CallFacts(0, "t", prompt_prefix=text("a", 512) + text("b", 512)))
    longer = CallFacts(0, "t", prompt_prefix=text("a", 512) + text("b", 600))
    assert balancer.choose(backends, (), longer) == Choice(1, Why.WARM_PREFIX)


def test_a_short_prompt_goes_to_the_less_busy_one():
    balancer, backends = PrefixAffinity(), pool(2)
    backends[0].in_flight = 3
    facts = CallFacts(0, "t", prompt_prefix=b"Hello")
    assert [balancer.choose(backends, (), facts) for _ in range(2)] == [Choice(1, Why.FEWER_IN_FLIGHT)] * 2
    assert len(balancer.index) == 0


def test_warmth_yields_to_imbalance_and_a_hot_prefix_spreads():
    balancer, backends = PrefixAffinity(imbalance_abs=8, imbalance_rel=1.5), pool(4)
    dice, why = random.Random(1), []
    for _ in range(200):
        choice = balancer.choose(backends, (), CallFacts(0, "t", prompt_prefix=text("a"), random=dice.random()))
        backends[choice.index].in_flight += 1
        why.append(choice.why)
    running = [load.in_flight for load in backends]
    assert why[0] is Why.COLD_PREFIX and why[8] is Why.WARM_PREFIX and Why.IMBALANCE in why
    assert max(running) - min(running) <= 8 + 1 or max(running) <= 1.5 * min(running) + 1
    # Once every backend has seen it, it is warm everywhere.
    assert why.count(Why.IMBALANCE) < 10


def test_a_much_busier_backend_elsewhere_does_not_take_a_prompt_from_its_warm_place():
    balancer, backends = PrefixAffinity(), pool(3)
    warm = balancer.choose(backends, (), CallFacts(0, "t", prompt_prefix=text("a"))).index
    backends[(warm + 1) % 3].in_flight = 500
    choice = balancer.choose(backends, (), CallFacts(0, "t", prompt_prefix=text("a")))
    assert choice == Choice(warm, Why.WARM_PREFIX)


def test_a_backend_that_was_tried_in_vain_is_no_longer_warm():
    balancer, backends = PrefixAffinity(), pool(3)
    facts = CallFacts(0, "t", prompt_prefix=text("a"))
    dead = balancer.choose(backends, (), facts).index
    second = balancer.choose(backends, [dead], facts)
    assert second.index != dead and second.why is Why.COLD_PREFIX
    backends[second.index].in_flight = 5
    assert balancer.choose(backends, (), facts) == Choice(second.index, Why.WARM_PREFIX)


def test_what_is_known_outlives_a_change_of_the_pool():
    balancer, backends = PrefixAffinity(), pool(3)
    facts = CallFacts(0, "t", prompt_prefix=text("a"))
    warm = backends[balancer.choose(backends, (), facts).index]
    without = tuple(load for load in backends if load is not warm)
    fresh = BackendLoad("fresh/m")
    assert balancer.choose((fresh, warm), (), facts) == Choice(1, Why.WARM_PREFIX)
    assert balancer.choose(without, (), facts).why is Why.COLD_PREFIX


@given(st.integers(1, 50), st.integers(400, 20_000), st.lists(st.integers(0, 60), max_size=300))
def test_the_index_keeps_both_bounds_and_what_was_used_last(max_entries, max_bytes, used):
    index = PrefixIndex(max_entries=max_entries, max_bytes=max_bytes)
    for number in used:
        index.learn([number], f"p{number % 7}/m")
        assert list(index.holders([number])) == [(f"p{number % 7}/m",)]
        assert len(index) <= max_entries and index.size_bytes <= max_bytes
    room = min(max_entries, max_bytes // 320)
    latest = list(dict.fromkeys(reversed(used)))[:room]
    assert {number for number in range(61) if any(index.holders([number]))} == set(latest)


def test_an_entry_has_at_most_four_holders_the_latest_ones():
    index = PrefixIndex(max_entries=10, max_bytes=10_000)
    for number in (*range(6), 3):
        index.learn([1], f"p{number}")
    assert list(index.holders([1])) == [("p2", "p3", "p4", "p5")]
    index.learn([1], "p9", lost=["p2", "p5"])
    assert list(index.holders([1])) == [("p3", "p4", "p9")]
    assert index.size_bytes == 320 + 2 * 8


@pytest.mark.parametrize(("max_entries", "max_bytes"), [(3000, 10**9), (10**9, 1_000_000)])
def test_memory_is_bounded_under_prefixes_that_never_repeat(max_entries, max_bytes):
    balancer = PrefixAffinity(max_entries=max_entries, max_bytes=max_bytes)
    backends, dice = pool(4), random.Random(1)
    balancer.choose(backends, (), CallFacts(0, "t"))
    tracemalloc.start()
    try:
        for _ in range(6000):
            prefix = dice.randbytes(8) + text("a", 1024)
            balancer.choose(backends, (), CallFacts(0, "t", prompt_prefix=prefix, random=dice.random()))
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 3000 <= len(balancer.index) <= 3125
    assert used <= balancer.index.size_bytes + 10_000
