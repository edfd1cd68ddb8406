import zoneinfo

import msgspec
import pytest

from podium.core.budgets import Budget

PLAIN = {"unit": "usd", "amount": 5, "period": "month"}


def read(**changes):
    return msgspec.convert(PLAIN | changes, Budget)


def test_a_budget_needs_unit_amount_and_period():
    assert read() == Budget(unit="usd", amount=5, period="month", per=("tenant",), soft=(0.8,), hard=True)
    for name in PLAIN:
        with pytest.raises(msgspec.ValidationError, match=name):
            msgspec.convert({key: value for key, value in PLAIN.items() if key != name}, Budget)


@pytest.mark.parametrize(
    "good",
    [
        {"amount": "0.000000001"},
        {"amount": 9_000_000},
        {"unit": "tokens", "amount": 9_000_000_000_000_000},
        {"period": "rolling", "rolling_s": 60},
        {"per": []},
        {"per": ["tenant", "key", "model", "tag:team.x"]},
        {"where": {"user": ["ann"], "tag:team": ["*"]}},
        {"time_zone": "Europe/Berlin"},
        {"soft": []},
    ],
)
def test_what_is_right_is_read(good):
    assert read(**good)


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"amount": 0}, "amount"),
        ({"amount": "0.00"}, "above 0"),
        ({"amount": "-1"}, "amount"),
        ({"amount": "1e3"}, "amount"),
        ({"amount": 1.5}, "amount"),
        ({"amount": 9_000_001}, "9,000,000"),
        ({"amount": "9000000.01"}, "9,000,000"),
        ({"unit": "tokens", "amount": "5"}, "whole number"),
        ({"unit": "eur"}, "unit"),
        ({"period": "rolling"}, "rolling_s"),
        ({"rolling_s": 60}, "rolling_s"),
        ({"period": "rolling", "rolling_s": 59}, "rolling_s"),
        ({"per": ["team"]}, "per"),
        ({"per": ["tag:"]}, "per"),
        ({"per": ["user", "user"]}, "twice"),
        ({"where": {"user": []}}, "where"),
        ({"where": {"user": [""]}}, "where"),
        ({"where": {"user": ["x" * 257]}}, "where"),
        ({"where": {"ip": ["1"]}}, "where"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"time_zone": "../etc/passwd"}, "time_zone"),
        ({"time_zone": "Europe"}, "time_zone"),
        ({"week_starts": "mon"}, "week_starts"),
        ({"soft": [0]}, "soft"),
        ({"soft": [1.1]}, "soft"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_is_wrong_is_named(wrong, word):
    with pytest.raises(msgspec.ValidationError, match=word):
        read(**wrong)


def test_time_zones_are_known_on_a_system_without_their_data():
    known = zoneinfo.TZPATH
    zoneinfo.reset_tzpath(to=[])
    zoneinfo.ZoneInfo.clear_cache()
    try:
        assert read(time_zone="Europe/Berlin").time_zone == "Europe/Berlin"
    finally:
        zoneinfo.reset_tzpath(to=known)
        zoneinfo.ZoneInfo.clear_cache()
