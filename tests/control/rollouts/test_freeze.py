from datetime import UTC, datetime

import pytest

from podium.control.rollouts.freeze import frozen_until
from podium.core.rollouts import FreezeWindow


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


FRIDAY = FreezeWindow(days=("fri",), start="12:00")
WEEKEND = FreezeWindow(days=("sat", "sun"))
NIGHTS = FreezeWindow(days=("mon",), start="20:00", end="22:30")


@pytest.mark.parametrize(
    ("now", "until"),
    [
        ("2026-11-20T11:59:59.9", None),
        ("2026-11-20T12:00:00", "2026-11-23T00:00:00"),
        ("2026-11-22T23:59:59", "2026-11-23T00:00:00"),
        ("2026-11-23T00:00:00", None),
        ("2026-11-23T20:00:01", "2026-11-23T22:30:00"),
        ("2026-11-23T22:30:00", None),
    ],
)
def test_windows_that_meet_are_one_freeze(now, until):
    assert frozen_until((WEEKEND, FRIDAY, NIGHTS), at(now)) == (until and at(until))


def test_who_freezes_everything_waits_for_ever_and_nothing_hangs():
    always = FreezeWindow(days=("mon", "tue", "wed", "thu", "fri", "sat", "sun"))
    now = at("2026-11-20T12:00:00")
    assert frozen_until((always,), now) > now + 6 * 86_400


def test_without_windows_nothing_is_frozen():
    assert frozen_until((), 0.0) is None
