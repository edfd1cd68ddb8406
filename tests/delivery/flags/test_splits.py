import math
from collections import Counter

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from podium.delivery.flags.splits import compile_split, subject_text

SHARES = st.dictionaries(st.sampled_from("abcde"), st.integers(0, 100), min_size=1).filter(
    lambda one: any(one.values())
)


@given(before=SHARES, after=SHARES, subject=st.text(min_size=1, max_size=20))
def test_who_moves_moves_to_a_variant_that_has_grown_more_than_the_one_he_leaves(before, after, subject):
    old, new = compile_split("salt", before)(subject), compile_split("salt", after)(subject)

    if old != new:
        assert after[new] * before[old] > after.get(old, 0) * before.get(new, 0)


@given(shares=SHARES, variant=st.sampled_from("abcde"), more=st.integers(1, 100), subject=st.text(min_size=1))
def test_a_share_that_grows_only_takes_and_takes_from_nobody_else_to_another(shares, variant, more, subject):
    old = compile_split("salt", shares)(subject)
    new = compile_split("salt", shares | {variant: shares.get(variant, 0) + more})(subject)

    assert new in {old, variant}


@given(shares=SHARES, subject=st.text(min_size=1), factor=st.integers(1, 9))
def test_only_the_relation_of_shares_counts_and_not_their_order(shares, subject, factor):
    turned = dict(reversed([(variant, share * factor) for variant, share in shares.items()]))

    assert compile_split("salt", shares)(subject) == compile_split("salt", turned)(subject)


@given(shares=SHARES, subject=st.text())
def test_a_share_of_nothing_is_never_dealt(shares, subject):
    assume(len(shares) > 1)

    assert shares[compile_split("salt", shares)(subject)] > 0


@pytest.mark.parametrize("shares", [{"on": 5, "off": 95}, {"a": 10, "b": 20, "c": 70}, {"x": 0.5, "y": 99.5}])
def test_shares_are_what_they_say(shares):
    count = 20_000
    choose = compile_split("a flag", shares)

    dealt = Counter(choose(f"user-{number}") for number in range(count))

    for variant, share in shares.items():
        expected = count * share / 100
        assert abs(dealt[variant] - expected) < 5 * math.sqrt(expected)  # the subjects are fixed: it passes or not


def test_splits_of_flags_do_not_know_each_other_unless_they_share_a_salt():
    shares = {"on": 50, "off": 50}
    one, other, same = compile_split("one", shares), compile_split("other", shares), compile_split("one", shares)
    subjects = [f"user-{number}" for number in range(4000)]

    assert all(one(subject) == same(subject) for subject in subjects)
    both = sum(one(subject) == other(subject) for subject in subjects)
    assert 1800 < both < 2200


def test_what_a_subject_is_dealt_does_not_change_with_versions_of_podium():
    choose = compile_split("checkout", {"on": 30, "off": 70})

    assert "".join("+" if choose(f"user-{number}") == "on" else "." for number in range(40)) == (
        ".+..+......+...........+......++.+..+..+"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("ann", "ann"), (7, "7"), (7.0, "7"), (7.5, "7.5"), (True, "true"), (False, "false"), (2**70, ""),
        (float("nan"), ""), (float("inf"), ""), (None, ""), ([], ""), ({}, ""), ("", ""),
    ],
)  # fmt: skip
def test_a_value_is_dealt_by_its_text(value, text):
    assert subject_text(value) == text
