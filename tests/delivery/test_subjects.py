from collections import Counter

import pytest

from podium.core.rollouts import BUCKETS
from podium.delivery.subjects import Subjects

USUAL = Subjects("salt", ("user", "session", "key"))


def test_the_first_that_an_exchange_has_is_its_subject():
    user = USUAL.find("t", "ann", "s1", "k1")
    assert user == USUAL.find("t", "ann", "s2", "k2")
    session = USUAL.find("t", "", "s1", "k1")
    assert session == USUAL.find("t", "", "s1", "k2")
    assert USUAL.find("t", "", "", "k1") == Subjects("salt", ("user",)).find("t", "", "s1", "k1")
    assert len({user, session, USUAL.find("t", "", "", "k1")}) == 3


def test_what_looks_the_same_is_another_subject_in_another_tenant_kind_or_rollout():
    found = {
        USUAL.find("t", "x", "", "k"),
        USUAL.find("u", "x", "", "k"),
        USUAL.find("t", "", "x", "k"),
        USUAL.find("t", "", "", "x"),
        Subjects("pepper", ("user",)).find("t", "x", "", "k"),
    }
    assert len({subject for _, subject in found}) == 5


def test_a_subject_is_sixteen_hex_digits_and_tells_no_name():
    _, subject = USUAL.find("t", "ann\ud800", "", "k")
    assert len(subject) == 16
    assert int(subject, 16) >= 0


@pytest.mark.parametrize("salt", ["a", "b", "c"])
def test_buckets_are_filled_evenly(salt):
    subjects, parts = 20_000, 20
    find = Subjects(salt, ("user",)).find
    counts = Counter(find("t", f"user-{n}", "", "k")[0] * parts // BUCKETS for n in range(subjects))
    expected = subjects / parts
    chi_square = sum((counts[part] - expected) ** 2 / expected for part in range(parts))
    assert chi_square < 43.8  # p = 0.001 at 19 degrees of freedom; the same texts every time


def test_salts_are_independent():
    one, other = Subjects("a", ("user",)).find, Subjects("b", ("user",)).find
    low = [n for n in range(10_000) if one("t", str(n), "", "k")[0] < 1000]
    both = sum(other("t", str(n), "", "k")[0] < 1000 for n in low)
    assert 60 < both < 140  # of about 1000 a tenth
