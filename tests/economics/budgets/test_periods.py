"""Periods against a walk over every hour, and the nights on which clocks are changed."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.budgets import Budget
from podium.economics.budgets.periods import Calendar

SECOND = 10**9
# Midnight skipped (Beirut, Sao Paulo, Santiago), repeated (Havana), a day left out (Apia), half hours (Lord Howe).
ZONES = [
    "UTC", "Europe/Berlin", "America/New_York", "Asia/Beirut", "America/Sao_Paulo", "America/Havana", "America/Santiago",
    "Pacific/Apia", "Australia/Lord_Howe", "Asia/Kolkata", "Africa/Casablanca",
]  # fmt: skip
MOMENTS = st.integers(0, 2_500_000_000).map(lambda second: second * SECOND + 123)


def calendar(period, zone="UTC", **changes):
    return Calendar(Budget(unit="tokens", amount=1, period=period, time_zone=zone, **changes))


def local(unix_ns, zone):
    return datetime.fromtimestamp(unix_ns // SECOND, UTC if zone == "UTC" else ZoneInfo(zone))


def ns(text, zone="UTC"):
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()) * SECOND


@given(moment=MOMENTS, zone=st.sampled_from(ZONES), period=st.sampled_from(["day", "week", "month"]))
def test_periods_follow_each_other_without_gap_or_overlap(moment, zone, period):
    found = calendar(period, zone).period_at(moment)
    after, before = (calendar(period, zone).period_at(at) for at in (found.end_ns, found.start_ns - 1))

    assert found.start_ns <= moment < found.end_ns
    assert before.end_ns == found.start_ns
    assert after.start_ns == found.end_ns
    assert len({before.key, found.key, after.key}) == len({before.label, found.label, after.label}) == 3
    assert {calendar(period, zone).period_at(at) for at in (found.start_ns, found.end_ns - 1)} == {found}


@given(moment=MOMENTS, zone=st.sampled_from(ZONES), start=st.sampled_from(["monday", "saturday", "sunday"]))
def test_all_moments_of_a_period_have_its_local_date(moment, zone, start):
    day, month = calendar("day", zone).period_at(moment), calendar("month", zone).period_at(moment)
    week = calendar("week", zone, week_starts=start).period_at(moment)

    for at in (moment, day.start_ns, day.end_ns - 1):
        assert local(at, zone).date().isoformat() == day.label
    for at in (moment, month.start_ns, month.end_ns - 1):
        assert f"{local(at, zone):%Y-%m}" == month.label
    assert f"{local(week.start_ns, zone):%A}".lower() == start
    assert week.label == f"week of {local(week.start_ns, zone).date()}"


@pytest.mark.parametrize(
    ("zone", "moment", "hours"),
    [
        ("Europe/Berlin", "2026-03-29 12:00", 23),
        ("Europe/Berlin", "2026-10-25 12:00", 25),
        ("Europe/Berlin", "2026-10-26 12:00", 24),
        ("Asia/Beirut", "2022-03-27 12:00", 23),  # 00:00 was skipped
        ("America/Havana", "2026-11-01 12:00", 25),  # 00:00 comes twice
        ("Australia/Lord_Howe", "2026-04-05 12:00", 24.5),
    ],
)
def test_a_day_is_as_long_as_its_clocks_say(zone, moment, hours):
    day = calendar("day", zone).period_at(ns(moment, zone))

    assert (day.end_ns - day.start_ns) / 3600 / SECOND == hours


@pytest.mark.parametrize(("month", "days"), [("2028-02", 29), ("2026-02", 28), ("2026-12", 31), ("2026-04", 30)])
def test_a_month_is_as_long_as_it_is(month, days):
    found = calendar("month").period_at(ns(f"{month}-15 00:00"))

    assert (found.label, (found.end_ns - found.start_ns) // SECOND // 86_400) == (month, days)


@given(moment=MOMENTS, window=st.integers(60, 366 * 86_400), later=st.integers(0, 400 * 86_400))
def test_a_rolling_window_holds_at_least_its_length_and_at_most_one_bucket_more(moment, window, later):
    period = calendar("rolling", rolling_s=window).period_at(moment)
    later_ns = moment + later * SECOND
    counted = moment // period.bucket_ns >= later_ns // period.bucket_ns - period.buckets

    assert period.start_ns <= moment < period.end_ns == period.start_ns + period.bucket_ns
    assert period.buckets <= 60
    assert period.bucket_ns // SECOND <= window / 60 + 1
    if later < window:
        assert counted
    if later > window + 2 * period.bucket_ns // SECOND:
        assert not counted


def test_a_period_that_goes_on_is_the_same_object():
    made = calendar("day")

    assert made.period_at(5) is made.period_at(86_399 * SECOND)
    assert made.period_at(86_400 * SECOND).label == "1970-01-02"
    assert made.period_at(5).label == "1970-01-01"
