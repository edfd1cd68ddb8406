"""The specs say what the policies of floor 1 say, and take nothing that those would not."""

from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.resources import Model, Provider, spec_from_builtins
from podium.core.serving import (
    CircuitBreaker,
    Concurrency,
    Ejection,
    FailureHandling,
    Fallback,
    HealthCheck,
    Hedging,
    Priority,
    PriorityRule,
    Queueing,
    Retries,
    Strategy,
)
from podium.gateway.fleet import Fleet
from podium.gateway.memory import Memory
from podium.traffic.backoff import Backoff
from podium.traffic.balancing.registry import make_balancer
from podium.traffic.breaker import BreakerPolicy
from podium.traffic.fallback import DEFAULT_MAX_DEPTH, FallbackCause
from podium.traffic.health import HealthPolicy
from podium.traffic.hedging import HedgePolicy
from podium.traffic.outliers import OutlierPolicy
from podium.traffic.queueing import fair_queue
from podium.traffic.queueing.adaptive_concurrency import ConcurrencyPolicy
from podium.traffic.queueing.admission import AdmissionPolicy
from podium.traffic.retry import MAX_ATTEMPTS
from podium.traffic.retry_budget import RetryBudgetPolicy


def test_a_breaker_s_defaults_are_the_policy_s():
    spec, policy = CircuitBreaker(), BreakerPolicy()

    assert {name: getattr(policy, name) for name in spec.__struct_fields__} == msgspec.structs.asdict(spec)


def test_the_defaults_of_retries_are_those_of_budget_and_back_off():
    spec = Retries()

    assert spec.attempts == MAX_ATTEMPTS
    assert RetryBudgetPolicy(ratio=spec.budget_share, minimum_per_s=spec.budget_per_s) == RetryBudgetPolicy()
    assert Backoff(base_s=spec.backoff_s, max_s=spec.max_backoff_s) == Backoff()


def test_the_defaults_of_hedging_are_the_policy_s():
    assert HedgePolicy(**msgspec.structs.asdict(Hedging())) == HedgePolicy()


def test_the_defaults_of_ejection_are_the_policy_s():
    assert OutlierPolicy(max_ejected_share=Ejection().max_share) == OutlierPolicy()


def test_the_defaults_of_health_checks_are_the_policy_s():
    spec, policy = HealthCheck(path="/"), HealthPolicy()

    told = (spec.interval_s, spec.unhealthy_after, spec.healthy_after)
    assert told == (policy.interval_s, policy.unhealthy_after, policy.healthy_after)


def test_the_defaults_of_fallbacks_are_those_of_the_decision():
    assert FailureHandling().max_fallbacks == DEFAULT_MAX_DEPTH
    assert set(Fallback(model="n").on) <= set(FallbackCause)


def test_the_defaults_of_queueing_are_the_policies():
    spec, policy = Queueing(places=1), AdmissionPolicy()

    assert (spec.max_wait_s, spec.shed_batch_at) == (policy.max_wait_s, policy.shed_lowest_at)
    assert spec.max_entries == policy.queue.max_entries
    found, known = Concurrency(), ConcurrencyPolicy()
    assert {name: getattr(found, name) for name in ("minimum", "maximum", "initial", "slow_ms")} == {
        name: getattr(known, name) for name in ("minimum", "maximum", "initial", "slow_ms")
    }


def test_the_classes_that_can_be_declared_are_those_of_the_queue():
    assert get_args(Priority) == tuple(map(str, fair_queue.Priority))
    assert PriorityRule(highest="batch").tenants == ("*",)


@pytest.mark.parametrize(
    ("queueing", "place"),
    [
        ({}, "`places` or `concurrency`"),
        ({"places": 0}, r"\$\.queueing\.places"),
        ({"places": 1, "max_entries": 5, "max_per_tenant": 6}, "`max_per_tenant` is at most"),
        ({"places": 1, "weights": {"a": 0}}, r"\$\.queueing\.weights"),
        ({"places": 1, "priorities": [{"highest": "urgent"}]}, r"\$\.queueing\.priorities\[0\]\.highest"),
        ({"places": 1, "priorities": [{"tenants": [], "highest": "batch"}]}, r"\.tenants"),
        ({"concurrency": {"initial": 500}}, "must rise"),
        ({"concurrency": {"slow_ms": 100}}, "`slow_ms` is for"),
    ],
)
def test_queueing_that_is_wrong_is_refused_with_its_place(queueing, place):
    with pytest.raises(msgspec.ValidationError, match=place):
        spec_from_builtins("Model", {"version": "v", "queueing": queueing})


def test_every_cause_that_is_decided_can_be_declared():
    rules = [{"model": "n", "on": [str(cause)]} for cause in FallbackCause]
    model = spec_from_builtins("Model", {"version": "v", "failure": {"fallbacks": rules}})

    assert [rule.on for rule in model.failure.fallbacks] == [(cause,) for cause in FallbackCause]


@pytest.mark.parametrize("strategy", get_args(Strategy))
def test_every_strategy_that_can_be_declared_exists(strategy):
    assert make_balancer(strategy) is not None


@pytest.mark.parametrize(
    ("failure", "place"),
    [
        ({"retries": {"attempts": 0}}, r"\$\.failure\.retries\.attempts"),
        ({"retries": {"attempts": 11}}, r"\$\.failure\.retries\.attempts"),
        ({"retries": {"budget_share": 1.1}}, r"\$\.failure\.retries\.budget_share"),
        ({"retries": {"budget_per_s": -1}}, r"\$\.failure\.retries\.budget_per_s"),
        ({"retries": {"backoff_s": 0}}, r"\$\.failure\.retries\.backoff_s"),
        ({"retries": {"backoff_s": 2, "max_backoff_s": 1}}, r"backoff_s.*max_backoff_s.*\$\.failure\.retries"),
        ({"retries": {"tries": 3}}, r"tries.*\$\.failure\.retries"),
        ({"breaker": {"failure_rate": 0}}, r"\$\.failure\.breaker\.failure_rate"),
        ({"breaker": {"slow_call_rate": 1.5}}, r"\$\.failure\.breaker\.slow_call_rate"),
        ({"breaker": {"slow_call_ms": 0}}, r"\$\.failure\.breaker\.slow_call_ms"),
        ({"breaker": {"minimum_calls": 0}}, r"\$\.failure\.breaker\.minimum_calls"),
        ({"breaker": {"consecutive_failures": 0}}, r"\$\.failure\.breaker\.consecutive_failures"),
        ({"breaker": {"window_s": 0.001}}, r"\$\.failure\.breaker\.window_s"),
        ({"breaker": {"open_s": 10, "max_open_s": 5}}, r"open_s.*max_open_s.*\$\.failure\.breaker"),
        ({"breaker": {"probes": 0}}, r"\$\.failure\.breaker\.probes"),
        ({"ejection": {"max_share": 1}}, r"\$\.failure\.ejection\.max_share"),
        ({"hedging": {"percentile": 1}}, r"\$\.failure\.hedging\.percentile"),
        ({"hedging": {"percentile": 95}}, r"\$\.failure\.hedging\.percentile"),
        ({"hedging": {"max_share": 0}}, r"\$\.failure\.hedging\.max_share"),
        ({"hedging": {"minimum_delay_s": 5, "maximum_delay_s": 1}}, r"minimum_delay_s.*\$\.failure\.hedging"),
        ({"hedging": {"minimum_samples": 0}}, r"\$\.failure\.hedging\.minimum_samples"),
        ({"fallbacks": [{"model": "a b"}]}, r"\$\.failure\.fallbacks\[0\]\.model"),
        ({"fallbacks": [{"model": "n", "on": []}]}, r"\$\.failure\.fallbacks\[0\]\.on"),
        ({"fallbacks": [{"model": "n", "on": ["bored"]}]}, r"\$\.failure\.fallbacks\[0\]\.on\[0\]"),
        ({"fallbacks": [{"model": "n", "parameters": {"stop": []}}]}, r"\$\.failure\.fallbacks\[0\]\.parameters"),
        ({"fallbacks": [{"model": "n"}] * 17}, r"\$\.failure\.fallbacks"),
        ({"max_fallbacks": 9}, r"\$\.failure\.max_fallbacks"),
        ({"last_resort": {"text": ""}}, r"\$\.failure\.last_resort\.text"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(failure, place):
    with pytest.raises(msgspec.ValidationError, match=place):
        spec_from_builtins("Model", {"version": "v", "failure": failure})


@pytest.mark.parametrize(
    ("spec", "place"),
    [
        ({"balancing": {"strategy": "luck"}}, r"\$\.balancing\.strategy"),
        ({"balancing": {"regions": "eu"}}, r"\$\.balancing\.regions"),
        ({"balancing": {"residency": [1]}}, r"\$\.balancing\.residency\[0\]"),
    ],
)
def test_balancing_that_is_wrong_is_refused_with_its_place(spec, place):
    with pytest.raises(msgspec.ValidationError, match=place):
        spec_from_builtins("Model", {"version": "v"} | spec)


@pytest.mark.parametrize(
    ("check", "place"),
    [
        ({}, "path"),
        ({"path": "health"}, r"\$\.health_check\.path"),
        ({"path": "/a b"}, r"\$\.health_check\.path"),
        ({"path": "/", "interval_s": 0}, r"\$\.health_check\.interval_s"),
        ({"path": "/", "unhealthy_after": 0}, r"\$\.health_check\.unhealthy_after"),
    ],
)
def test_a_health_check_that_is_wrong_is_refused_with_its_place(check, place):
    provider = {"protocol": "openai", "base_url": "https://a.example/v1", "health_check": check}
    with pytest.raises(msgspec.ValidationError, match=place):
        spec_from_builtins("Provider", provider)


# Numbers at and around the edges of what is allowed, and in the middle.
NUMBERS = st.sampled_from([-1, 0, 1e-9, 0.001, 0.01, 0.5, 1 - 1e-12, 1, 2, 10, 1_000, 86_400, 1e6, 1e9])


def some_of(form, **others):
    fields = [field.name for field in msgspec.structs.fields(form)]
    return st.dictionaries(st.sampled_from(fields), NUMBERS, max_size=4).map(lambda given: others | given)


FAILURES = st.fixed_dictionaries(
    {},
    optional={
        "retries": some_of(Retries),
        "breaker": some_of(CircuitBreaker) | st.none(),
        "ejection": some_of(Ejection) | st.none(),
        "hedging": some_of(Hedging) | st.none(),
    },
)


@given(failure=FAILURES, strategy=st.sampled_from(get_args(Strategy)))
def test_a_gateway_can_use_whatever_is_accepted(failure, strategy):
    try:
        model = spec_from_builtins("Model", {"version": "v", "failure": failure, "balancing": {"strategy": strategy}})
    except msgspec.ValidationError:
        return
    assert isinstance(model, Model)
    provider = Provider(protocol="openai", base_url="https://a.example/v1", breaker=model.failure.breaker)
    fleet = Fleet()

    account = fleet.account("p", provider, 0)
    state = fleet.backend("m p/x", account, model.failure.breaker, 0)
    memory = Memory()
    memory.follow(model, ["m p/x"], 0)
    retries = model.failure.retries
    Backoff(base_s=retries.backoff_s, max_s=retries.max_backoff_s)

    assert state.out(0) is None
    assert memory.retry_budget is not None


class Nowhere:
    def places(self, now_ns):
        return 1


@given(queueing=some_of(Queueing), concurrency=some_of(Concurrency, algorithm="aimd") | st.none())
def test_a_queue_can_be_made_of_whatever_is_accepted(queueing, concurrency):
    try:
        model = spec_from_builtins("Model", {"version": "v", "queueing": queueing | {"concurrency": concurrency}})
    except msgspec.ValidationError:
        return
    fleet = Fleet()
    account = fleet.account("p", Provider(protocol="openai", base_url="https://a.example/v1"), 0)
    state = fleet.backend("m p/x", account, None, 0)
    state.bear(model.queueing.concurrency, 1)
    queue = fleet.queue("m", model.queueing, Nowhere(), 1)

    assert queue.try_enter(1)
    assert not queue.try_enter(2)
    assert not state.full
    queue.leave(3, served_ns=1)
    assert queue.saturation(4) >= 0
