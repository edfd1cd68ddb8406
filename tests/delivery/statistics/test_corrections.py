"""Corrections agree with statsmodels."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from podium.delivery.statistics.corrections import benjamini_hochberg, bonferroni, holm, split_alpha


@pytest.mark.parametrize(
    ("correction", "name"), [(holm, "holm"), (benjamini_hochberg, "fdr_bh"), (bonferroni, "bonferroni")]
)
@settings(max_examples=8, deadline=None)  # statsmodels collects garbage in each
@given(p_values=st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_corrections_agree_with_statsmodels(correction, name, p_values):
    assert correction(p_values) == pytest.approx(multipletests(p_values, method=name)[1], abs=1e-12)


def test_nothing_to_correct():
    assert (holm([]), benjamini_hochberg([]), bonferroni([])) == ([], [], [])


def test_a_level_is_split_by_weight():
    assert split_alpha(0.05, [1, 1, 2]) == pytest.approx([0.0125, 0.0125, 0.025])
    assert split_alpha(0.05, [0]) == [0]
