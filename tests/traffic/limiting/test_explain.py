import msgspec

from podium.core.limits import LimitPolicy
from podium.traffic.limiting.buckets import Bucket, charge_of
from podium.traffic.limiting.explain import explain
from podium.traffic.limiting.limiter import Limiter
from podium.traffic.limiting.policies import Dimensions, LimitTable
from podium.traffic.limiting.wording import describe, refusal_message, whose

SECOND = 10**9


def test_an_operator_sees_what_applies_what_is_left_and_why_it_was_refused():
    policies = {
        "fair": {"per": ["key"], "limits": [{"what": "requests", "amount": 60}, {"what": "tokens", "amount": 600}]},
        "users": {"per": ["tenant", "user"], "limits": [{"what": "concurrency", "amount": 3}]},
        "others": {"where": {"key": ["k9"]}, "limits": [{"what": "requests", "amount": 1}]},
    }
    table = LimitTable({name: msgspec.convert(fields, LimitPolicy) for name, fields in policies.items()})
    limiter, key = Limiter(), Dimensions(key="k1", tenant="acme")
    limiter.acquire(table.buckets(key), charge_of(500, 0), 0)
    limiter.acquire(table.buckets(key), charge_of(400, 0), 10 * SECOND)

    requests, tokens, places = explain(table, limiter, key, 12 * SECOND)

    assert (requests.policy, requests.limit, requests.counted) == ("fair", "60 requests a minute", "this key")
    assert (requests.left, requests.reset_s, requests.last_refusal, requests.without) == (60, 0, None, ())
    assert (tokens.left, tokens.reset_s) == (220, 38)
    assert tokens.last_refusal is not None
    assert (tokens.last_refusal.ago_s, tokens.last_refusal.asked) == (2, 400)
    assert tokens.last_refusal.retry_after_s == 20
    assert tokens.last_refusal.message == "The limit of 600 tokens a minute for this key is used up."
    assert (places.limit, places.counted) == ("3 exchanges at the same time", "this tenant and user")
    assert (places.left, places.without) == (2, ("user",))


def test_a_request_that_is_too_large_is_explained_with_what_may_come_at_once():
    bucket = Bucket("b", "tokens", 10_000, 7200 * SECOND, burst=500, per=("key", "model", "ip"))
    assert describe(bucket) == "10,000 tokens in 2 hours"
    assert whose(bucket) == "this key, model and IP address"
    assert refusal_message(bucket, 501) == (
        "This request needs about 501 tokens, which is larger than the whole limit"
        " of 10,000 tokens in 2 hours (500 at once) for this key, model and IP address."
    )
    assert whose(Bucket("b", "requests", 1)) == "all callers together"
