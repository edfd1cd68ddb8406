"""What is known of backends and accounts: each place that a call takes is given back once, however it ends."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.resources import Provider
from podium.core.serving import CircuitBreaker
from podium.gateway.fleet import REFUSED, Fleet, Out
from podium.traffic.account_backoff import NoticeSource, RateLimitNotice
from podium.traffic.breaker import BreakerState, CallResult

SECOND_NS = 1_000_000_000
START_NS = 1000 * SECOND_NS
TOUCHY = CircuitBreaker(consecutive_failures=1, open_s=5.0, probe_successes=1)


def provider(**spec):
    return Provider(protocol="openai", base_url="http://127.0.0.1:9/v1", **spec)


def refused(wait_s):
    return RateLimitNotice(refused=True, wait_s=wait_s, source=NoticeSource.RETRY_AFTER)


def backend_of(fleet, *, own=TOUCHY, now_ns=START_NS, **spec):
    account = fleet.account("p", provider(**spec), now_ns)
    return fleet.backend("m p/x", account, own, now_ns)


def end(state, probes, result, now_ns):
    state.leave(probes, result, now_ns, first_content_ms=1.0)


def trip(state, now_ns=START_NS):
    """Make a backend's breaker open."""
    end(state, state.enter(now_ns), CallResult.FAILED, now_ns)


def is_empty(state):
    account = state.account
    leases = [breaker._leases for breaker in (state.breaker, account.breaker) if breaker is not None]
    return not (state.load.in_flight or account.bulkhead.running or any(leases) or account.backoff._lease_ns)


STEPS = st.lists(
    st.one_of(
        st.just(("enter",)),
        st.tuples(st.just("answered"), st.sampled_from([None, 0.5, 20.0]), st.integers(0, 9)),
        st.tuples(st.just("leave"), st.sampled_from([*CallResult, None]), st.integers(0, 9)),
        st.tuples(st.just("wait"), st.floats(0, 30)),
        st.tuples(st.just("respec"), st.booleans(), st.booleans(), st.sampled_from([None, 1, 2])),
    ),
    max_size=60,
)


@given(steps=STEPS)
def test_every_place_is_given_back(steps):
    """Breakers of both, rests and bounds, in any order and under changing specs: at the end nothing is taken."""
    fleet, now_ns, running = Fleet(), START_NS, []
    state = backend_of(fleet)
    for step in steps:
        match step:
            case ("enter",):
                before = state.out(now_ns)
                probes = state.enter(now_ns)
                if probes != REFUSED:
                    assert before is None
                    running.append(probes)
                limit = state.account.bulkhead.limit
                assert before is not None or probes != REFUSED or (limit is not None and len(running) >= limit)
            case ("answered", wait_s, place) if running:
                place %= len(running)
                running[place] = state.answered(running[place], refused(wait_s) if wait_s else None, now_ns)
            case ("leave", result, place) if running:
                end(state, running.pop(place % len(running)), result, now_ns)
            case ("wait", seconds):
                now_ns += int(seconds * SECOND_NS)
            case ("respec", own, of_account, limit):
                spec = {"breaker": TOUCHY if of_account else None, "max_calls": limit}
                state = backend_of(fleet, own=TOUCHY if own else None, now_ns=now_ns, **spec)
        assert state.load.in_flight == state.account.bulkhead.running == len(running)
    for probes in running:
        end(state, probes, None, now_ns)
    assert is_empty(state)
    assert state.explain(Out.DRAINING, now_ns)


def test_a_probe_that_is_refused_elsewhere_frees_its_place():
    """Its breaker would let it probe, its account has no room."""
    state = backend_of(Fleet(), max_calls=1)
    trip(state)
    later_ns = START_NS + 6 * SECOND_NS
    state.account.bulkhead.running = 1
    assert state.enter(later_ns) == REFUSED
    state.account.bulkhead.running = 0
    probes = state.enter(later_ns)
    assert probes > 0
    assert state.enter(later_ns) == REFUSED
    end(state, probes, CallResult.OK, later_ns)
    assert state.breaker.state is BreakerState.CLOSED
    assert is_empty(state)


def test_a_call_given_up_lets_the_next_one_probe():
    fleet = Fleet()
    state = backend_of(fleet)
    trip(state)
    later_ns = START_NS + 6 * SECOND_NS
    changes = fleet.changes
    end(state, state.enter(later_ns), None, later_ns)
    assert fleet.changes > changes  # pools look anew
    assert state.enter(later_ns) > 0


def test_what_is_not_a_matter_of_time_has_no_time():
    state = backend_of(Fleet())
    assert state.back_at_ns() == state.changes_at_ns() == float("inf")


def test_a_running_probe_does_not_tell_how_long_it_takes():
    state = backend_of(Fleet())
    trip(state)
    assert state.back_at_ns() == START_NS + 5 * SECOND_NS
    state.enter(START_NS + 6 * SECOND_NS)
    assert state.back_at_ns() == float("inf")
    assert state.changes_at_ns() < float("inf")  # at the latest when it loses its place


def test_who_has_two_reasons_is_back_after_both():
    state = backend_of(Fleet())
    probes = state.enter(START_NS)
    state.answered(probes, refused(30.0), START_NS)
    end(state, probes, CallResult.FAILED, START_NS)
    assert state.back_at_ns() == START_NS + 30 * SECOND_NS
    assert state.out(START_NS + 6 * SECOND_NS) is Out.ACCOUNT_LEFT_ALONE


def test_a_breaker_with_the_same_spec_goes_on():
    fleet = Fleet()
    state = backend_of(fleet)
    trip(state)
    assert backend_of(fleet).breaker.state is BreakerState.OPEN
    changed = msgspec.structs.replace(TOUCHY, open_s=6.0)
    assert backend_of(fleet, own=changed).breaker.state is BreakerState.CLOSED
    assert backend_of(fleet, own=None).breaker is None


def test_what_is_not_named_any_more_is_forgotten():
    fleet = Fleet()
    state = backend_of(fleet)
    memory = fleet.memory("m 1")
    fleet.retire_unused()
    assert backend_of(fleet) is state and fleet.memory("m 1") is memory
    fleet.retire_unused()
    fleet.retire_unused()
    assert backend_of(fleet) is not state and fleet.memory("m 1") is not memory


@pytest.mark.parametrize("out", list(Out))
def test_each_reason_has_a_sentence(out):
    state = backend_of(Fleet(), max_calls=1, breaker=TOUCHY)
    sentence = state.explain(out, START_NS)
    if out is not Out.UNHEALTHY:  # nobody checks this one
        assert sentence.endswith(".") and sentence != str(out)


def test_breakers_and_rests_explain_themselves():
    state = backend_of(Fleet())
    trip(state)
    assert state.out(START_NS) is Out.BREAKER_OPEN
    assert "1 calls in a row failed" in state.explain(Out.BREAKER_OPEN, START_NS)
    state.account.backoff.record(refused(30.0), START_NS, probe=False)
    assert "Retry-After" in state.explain(Out.ACCOUNT_LEFT_ALONE, START_NS)


def test_who_asked_is_told_of_a_breaker_that_opens_on_calls_of_our_own_and_of_no_other_change():
    fleet, told = Fleet(), []
    fleet.opened = lambda *what: told.append(what)
    state = backend_of(fleet, breaker=TOUCHY)
    trip(state)
    assert told == [("backend", "m p/x", "consecutive"), ("account", "p", "consecutive")]
    now_ns = state.breaker.half_open_at_ns
    trip(state, now_ns)  # a probe
    now_ns = max(one.half_open_at_ns for one in (state.breaker, state.account.breaker))
    end(state, state.enter(now_ns), CallResult.OK, now_ns)
    assert (state.breaker.state, state.account.breaker.state) == (BreakerState.CLOSED,) * 2
    assert len(told) == 2
    assert fleet.breaker("backend", "m p/x") is state.breaker
    assert fleet.breaker("account", "p") is state.account.breaker
    assert fleet.breaker("backend", "p") is fleet.breaker("account", "m p/x") is None
