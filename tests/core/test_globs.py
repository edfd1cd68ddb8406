import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.globs import one_of


@pytest.mark.parametrize(
    ("patterns", "covered", "others"),
    [
        (("acme",), ["acme"], ["acm", "acme2", ""]),
        (("acme*", "b"), ["acme", "acme2", "b"], ["acm", "ab"]),
        (("*",), ["", "x"], []),
        (("a*b*c",), ["abc", "axbyc", "abbc"], ["ac", "acb", "xabc"]),
        (("", "a"), ["", "a"], ["b"]),
        (("aa*aa",), ["aaaa", "aaxaa"], ["aaa"]),
    ],
)
def test_a_star_is_any_run_of_characters(patterns, covered, others):
    matches = one_of(patterns)
    assert all(map(matches, covered))
    assert not any(map(matches, others))


@given(st.text("ab*", max_size=6), st.text("ab", max_size=8))
def test_it_agrees_with_a_regular_expression(pattern, text):
    expected = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text, re.DOTALL) is not None
    assert one_of((pattern,))(text) == expected
