import fnmatch
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.flags import Condition
from podium.delivery.flags.conditions import compile_condition
from podium.delivery.flags.semver import parse_version


def holds(value, **tests):
    condition = msgspec.convert({"attribute": "a", **tests}, Condition)
    return compile_condition(condition)({} if value is None else {"a": value})


@pytest.mark.parametrize(
    ("tests", "yes", "no"),
    [
        ({"in": ["x", 1, True]}, ["x", 1, 1.0, True, ["y", "x"]], ["y", "1", False, 0, None, {}, [], "true"]),
        ({"in": [1]}, [1, 1.0], [True, "1"]),
        ({"in": [True]}, [True], [1, "true"]),
        ({"not_in": ["x", "y"]}, ["z", 1, None, [], ["z"]], ["x", ["z", "y"]]),
        ({"matches": ["a*c", "*@acme.com"]}, ["ac", "abc", "ann@acme.com", ["z", "abc"]], ["ab", "abcd", 1, None]),
        ({"matches": ["a"]}, ["a"], ["ab", "A", "a*"]),
        ({"matches": ["a*a"]}, ["aa", "aba"], ["a"]),
        ({"starts_with": ["de", "en-"]}, ["de", "de-AT", "en-GB"], ["en", "DE", 1, None]),
        ({"at_least": 2}, [2, 2.5, 10**400, [1, 3]], [1.9, "3", True, None, float("nan")]),
        ({"below": 2}, [1, -5.5], [2, 3, "1", False, float("nan")]),
        ({"at_least": 1, "below": 3}, [1, 2.9], [0, 3, [0, 4]]),
        ({"semver_at_least": "2.1"}, ["2.1.0", "2.1", "v3", "2.10.0"], ["2.0.9", "2.1.0-rc.1", "two", 2.5, None]),
        ({"semver_below": "2"}, ["1.9.9", "2.0.0-beta"], ["2", "2.0.0+build", "x"]),
        ({"semver_at_least": "1", "semver_below": "2"}, ["1.5"], ["2.5", ["0.5", "2.5"]]),
        ({"present": True}, ["", 0, False, "x"], [None]),
        ({"present": False}, [None], ["", 0, "x"]),
        ({"in": ["x"], "not_in": ["y"]}, ["x", ["x"]], ["y", ["x", "y"], "z"]),
    ],
)
def test_a_condition_holds_for_these_and_not_for_those(tests, yes, no):
    assert [value for value in yes if not holds(value, **tests)] == []
    assert [value for value in no if holds(value, **tests)] == []


@given(pattern=st.text("ab*", min_size=1, max_size=8), text=st.text("ab", max_size=8))
def test_globs_match_what_fnmatch_matches(pattern, text):
    assert holds(text, matches=[pattern]) == fnmatch.fnmatchcase(text, pattern)


def test_no_pattern_takes_long():
    began = time.perf_counter()

    assert not holds("a" * 10_000, matches=["*a" * 100 + "*b"])
    assert time.perf_counter() - began < 5


def test_versions_have_the_order_of_the_specification():
    order = "1.0.0-alpha 1.0.0-alpha.1 1.0.0-alpha.beta 1.0.0-beta 1.0.0-beta.2 1.0.0-beta.11 1.0.0-rc.1 1.0.0 1.0.1"

    versions = [parse_version(text) for text in order.split()]

    assert versions == sorted(versions)
    assert len(set(versions)) == 9
    assert parse_version("1.0.0+a") == parse_version("1") == parse_version("v1.0")
    for text in ("", "x", "1.", "1.2.3.4", "1.0-", "1" * 600, "-1", "1.0.0-a..b", "\u0661"):
        assert parse_version(text) is None, text
