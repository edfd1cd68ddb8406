import pytest

from podium.core.rollouts import Segment
from podium.delivery.segments import compile_segment

EXCHANGE = ("acme", "k1", "ann", "gold", "project=search,team=a")


@pytest.mark.parametrize("segment", [None, Segment()])
def test_without_a_segment_all_are_meant(segment):
    assert compile_segment(segment) is None


@pytest.mark.parametrize(
    ("segment", "meant"),
    [
        (Segment(tenants=("acme",)), True),
        (Segment(tenants=("b", "ac*")), True),
        (Segment(tenants=("b",)), False),
        (Segment(keys=("k1",), users=("ann",)), True),
        (Segment(keys=("k1",), users=("bob",)), False),
        (Segment(tiers=("gold", "silver")), True),
        (Segment(tags=("team=a",)), True),
        (Segment(tags=("team=*",), tenants=("acme",)), True),
        (Segment(tags=("team=b", "region=eu")), False),
    ],
)
def test_every_dimension_that_is_set_has_to_hold_by_any_of_its_values(segment, meant):
    assert compile_segment(segment)(*EXCHANGE) is meant
