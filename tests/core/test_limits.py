import msgspec
import pytest

from podium.core.limits import LimitPolicy

GOOD = {"limits": [{"what": "requests", "amount": 60}]}


def policy(**fields):
    return msgspec.convert(GOOD | fields, LimitPolicy)


def test_a_policy_counts_each_tenant_by_itself_unless_told():
    assert policy().per == ("tenant",)
    assert policy().limits[0].window_s == 60


def test_a_full_policy_is_read():
    read = policy(
        per=["tenant", "user"],
        where={"model": ["gpt-*"], "ip": ["10.0.0.0/8", "::1"]},
        limits=[
            {"what": "tokens", "amount": 1000, "window_s": 3600, "algorithm": "sliding_window"},
            {"what": "requests", "amount": 60, "burst": 5},
            {"what": "concurrency", "amount": 2},
        ],
        priority=9,
    )
    assert msgspec.convert(msgspec.to_builtins(read), LimitPolicy) == read


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"per": ["key", "key"]}, "dimension twice"),
        ({"per": ["colour"]}, "Invalid enum value"),
        ({"limits": []}, "length >= 1"),
        ({"limits": [{"what": "requests", "amount": 0}]}, ">= 1"),
        ({"limits": [{"what": "requests", "amount": 1}, {"what": "requests", "amount": 2}]}, "twice"),
        ({"limits": [{"what": "concurrency", "amount": 1, "window_s": 5}]}, "`concurrency` has no"),
        ({"limits": [{"what": "concurrency", "amount": 1, "burst": 5}]}, "`concurrency` has no"),
        ({"limits": [{"what": "tokens", "amount": 9, "algorithm": "sliding_window", "burst": 5}]}, "`burst` is for"),
        ({"where": {"ip": ["10.0.0.1/8"]}}, "host bits"),
        ({"where": {"ip": ["here"]}}, "does not appear"),
        ({"where": {"key": []}}, "length >= 1"),
        ({"wher": {}}, "unknown field"),
    ],
)
def test_what_makes_no_sense_is_an_error(fields, words):
    with pytest.raises(msgspec.ValidationError, match=words):
        policy(**fields)
