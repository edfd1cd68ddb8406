from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.cli._times import duration_s, moment, moment_text
from podium.core.errors import OperatorError

NOW = datetime(2026, 3, 8, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), ("90s", 90), ("15m", 900), ("24h", 86_400), ("1.5d", 129_600), ("2w", 1_209_600)]
)
def test_durations(text, seconds):
    assert duration_s(text, "--grace") == seconds


@pytest.mark.parametrize("text", ["", "5", "-1d", "1y", "d", "1d2h", "999999999999w"])
def test_what_is_no_duration(text):
    with pytest.raises(OperatorError, match=r"--grace: .* is not a duration"):
        duration_s(text, "--grace")


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)),
        ("2026-03-01T12:30:00Z", datetime(2026, 3, 1, 12, 30, tzinfo=UTC)),
        ("2026-03-01T12:30:00+01:00", datetime(2026, 3, 1, 11, 30, tzinfo=UTC)),
        ("7d", datetime(2026, 3, 1, 12, tzinfo=UTC)),
    ],
)
def test_moments(text, when):
    assert moment(text, "--since", NOW) == when.timestamp()


@given(st.text())
def test_any_text_is_a_moment_or_refused(text):
    try:
        moment(text, "--since", NOW)
    except OperatorError as error:
        assert error.message.startswith("--since: ")  # noqa: PT017 - either outcome is fine


def test_moments_are_shown_in_utc():
    assert moment_text(0.0) == "1970-01-01 00:00:00Z"
    assert moment_text(None) == ""
