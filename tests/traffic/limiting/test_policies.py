import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.limits import DIMENSIONS, LimitPolicy
from podium.traffic.limiting.policies import MAX_KEY_CHARACTERS, Dimensions, LimitTable


def table(capacity=100, **policies):
    return LimitTable(
        {
            name: msgspec.convert({"limits": [{"what": "requests", "amount": 60}]} | fields, LimitPolicy)
            for name, fields in policies.items()
        },
        capacity,
    )


def names(limits, **dimensions):
    return [bucket.policy for bucket in limits.buckets(Dimensions(**dimensions))]


def key_of(limits, **dimensions):
    (bucket,) = limits.buckets(Dimensions(**dimensions))
    return bucket.key


def test_without_policies_there_is_nothing_to_take_from():
    assert table().buckets(Dimensions("k", "u", "t", "m", "1.2.3.4", "gold")) == ()


def test_each_limit_of_a_policy_is_a_bucket_of_the_subject():
    limits = table(
        fair={
            "per": ["tenant", "user"],
            "priority": 7,
            "limits": [
                {"what": "requests", "amount": 60, "burst": 5},
                {"what": "tokens", "amount": 1000, "window_s": 3600, "algorithm": "sliding_window"},
                {"what": "concurrency", "amount": 2},
            ],
        }
    )
    requests, tokens, places = limits.buckets(Dimensions(tenant="acme", user="ann"))
    assert requests.key == "fair|requests|60s|gcra|tenant,user|acme|ann"
    assert (requests.amount, requests.at_once, requests.window_ns, requests.priority) == (60, 5, 60 * 10**9, 7)
    assert tokens.key == "fair|tokens|3600s|sliding_window|tenant,user|acme|ann"
    assert (places.key, places.window_ns) == ("fair|concurrency|tenant,user|acme|ann", 0)
    assert (places.per, places.policy) == (("tenant", "user"), "fair")
    assert places.shared_key == "fair|concurrency|tenant,user"


def test_only_policies_that_match_apply():
    limits = table(
        a_key={"where": {"key": ["k1"]}},
        a_model={"where": {"model": ["gpt-*", "o3"]}},
        a_net={"where": {"ip": ["10.0.0.0/8", "2001:db8::/32"]}},
        all={},
        both={"where": {"tenant": ["acme", "beta"], "tier": ["gold"]}},
    )
    assert names(limits) == ["all"]
    assert names(limits, key="k1", model="o3") == ["a_key", "a_model", "all"]
    assert names(limits, model="gpt-5") == ["a_model", "all"]
    assert names(limits, tenant="beta", tier="gold") == ["all", "both"]
    assert names(limits, tenant="acme", tier="iron") == ["all"]
    assert names(limits, tier="gold") == ["all"]
    assert names(limits, ip="10.9.8.7") == names(limits, ip="::ffff:10.9.8.7") == ["a_net", "all"]
    assert names(limits, ip="2001:db8::5%eth0") == ["a_net", "all"]
    assert names(limits, ip="11.0.0.1") == names(limits, ip="nonsense") == ["all"]


def test_dimensions_that_no_policy_mentions_do_not_tell_requests_apart():
    limits = table(fair={"per": ["key"], "where": {"model": ["m*"]}})
    first = limits.buckets(Dimensions("k", "u1", "t", "m1", "1.1.1.1"))
    assert limits.buckets(Dimensions("k", "u2", "t", "m1", "2.2.2.2")) is first
    assert limits.cached == 1


def test_what_is_kept_at_hand_is_bounded_and_the_busy_stay():
    limits = table(capacity=10, fair={"per": ["user"]})
    busy = limits.buckets(Dimensions(user="busy"))
    for number in range(1000):
        limits.buckets(Dimensions(user=f"u{number}"))
        assert limits.buckets(Dimensions(user="busy")) is busy
    assert limits.cached == 10


def test_policies_of_ten_thousand_keys_are_not_asked_for_the_others():
    limits = table(**{f"p{number}": {"where": {"key": [f"k{number}"], "model": ["m*"]}} for number in range(10_000)})
    asked = []
    for policy in limits._policies:
        policy.filters = tuple(Spy(filtered, asked) for filtered in policy.filters)
    assert names(limits, key="k77", model="m") == ["p77"]
    assert len(asked) == 2


class Spy:
    """A filter that takes note of being asked."""

    def __init__(self, filtered, asked):
        self.dimension, self._filtered, self._asked = filtered.dimension, filtered, asked

    def matches(self, value):
        self._asked.append(value)
        return self._filtered.matches(value)


def test_those_without_a_value_are_counted_together():
    limits = table(fair={"per": ["user"]})
    assert key_of(limits, key="a") == key_of(limits, key="b") != key_of(limits, user="a")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:1.2.3.4", "1.2.3.4", True),
        ("1.2.3.4", "1.2.3.5", False),
        ("fe80::1%eth0", "fe80::1", True),
        ("nonsense:", "nonsense", False),
    ],
)
def test_ipv6_addresses_are_counted_by_network(one, other, same):
    limits = table(fair={"per": ["ip"]})
    assert (key_of(limits, ip=one) == key_of(limits, ip=other)) == same


values = st.text(max_size=8) | st.text(alphabet="a|#,= *:/\ud800\n", max_size=300)


@given(st.tuples(values, values), st.tuples(values, values))
def test_callers_cannot_make_keys_long_or_equal(one, other):
    limits = table(**{"n" * 128: {"per": ["user", "model", "key", "tenant", "tier"]}})
    keys = [key_of(limits, user=user, model=model, key="k" * 64, tenant=user) for user, model in (one, other)]
    assert (keys[0] == keys[1]) == (one == other)
    assert all(key.isascii() and len(key) <= MAX_KEY_CHARACTERS for key in keys)


wheres = st.fixed_dictionaries(
    {},
    optional={
        dimension: st.lists(st.sampled_from(["a", "b", "a*", "*b"]), min_size=1, max_size=3)
        for dimension in DIMENSIONS
        if dimension != "ip"
    },
)


def covers(pattern, value):
    if pattern == "a*":
        return value.startswith("a")
    return value.endswith("b") if pattern == "*b" else pattern == value


@given(
    st.lists(wheres, max_size=8),
    st.lists(st.builds(Dimensions, *[st.sampled_from(["", "a", "b", "ab", "ba"])] * 6), max_size=10),
)
def test_what_is_filed_is_found_as_if_each_were_asked(all_wheres, requests):
    limits = table(**{f"p{number}": {"where": where} for number, where in enumerate(all_wheres)})
    for request in requests:
        expected = [
            f"p{number}"
            for number, where in enumerate(all_wheres)
            if all(
                any(covers(pattern, getattr(request, dimension)) for pattern in patterns)
                for dimension, patterns in where.items()
            )
        ]
        assert [bucket.policy for bucket in limits.buckets(request)] == sorted(expected)
