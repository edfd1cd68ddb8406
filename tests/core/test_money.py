from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.money import NANOUSD_PER_USD, format_usd, nanousd_from_usd


@pytest.mark.parametrize(
    ("text", "nanousd"),
    [("0", 0), ("0.15", 150_000_000), ("1", NANOUSD_PER_USD), ("0.000000001", 1), ("1e-9", 1), ("2.50", 2_500_000_000)],
)
def test_dollars_become_nano_dollars(text, nanousd):
    assert nanousd_from_usd(text) == nanousd


@given(st.integers(0, 10**18))
def test_no_amount_is_rounded(nanousd):
    assert nanousd_from_usd(str(Decimal(nanousd).scaleb(-9))) == nanousd


@pytest.mark.parametrize("text", ["", "a", "-1", "-0.000000001", "NaN", "Infinity", "1,5", "0.0000000001", "$1"])
def test_what_is_not_an_amount_is_refused(text):
    with pytest.raises(ValueError, match=r"decimal number|amount of money|billionth"):
        nanousd_from_usd(text)


@pytest.mark.parametrize(
    ("nanousd", "text"),
    [(0, "$0.000000"), (4_125_000, "$0.004125"), (500, "$0.000000"), (501, "$0.000001"), (1_500, "$0.000002")],
)
def test_people_read_six_decimals(nanousd, text):
    assert format_usd(nanousd) == text
