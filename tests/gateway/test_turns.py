"""Which class and share an exchange has in a queue."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.errors import InvalidRequest
from podium.core.serving import PriorityRule, Queueing
from podium.gateway.turns import TurnTable, read_priority
from podium.traffic.queueing.fair_queue import RANKS, Priority

PRIORITIES = st.sampled_from(Priority)


def table(*rules, **spec):
    return TurnTable(Queueing(places=1, priorities=rules, **spec))


@given(asked=PRIORITIES | st.none(), highest=PRIORITIES)
def test_nobody_gets_a_higher_class_than_is_allowed_nor_than_was_asked_for(asked, highest):
    found = table(PriorityRule(highest=highest)).priority(asked, tenant="t", key="k", tier="")
    wanted = asked or Priority.STANDARD
    assert RANKS[found] == max(RANKS[wanted], RANKS[highest])


def test_the_first_rule_that_matches_all_of_its_patterns_counts():
    rules = table(
        PriorityRule(tenants=("a*",), keys=("k1",), highest="critical"),
        PriorityRule(tenants=("ab", "c"), highest="batch"),
    )
    found = {
        (tenant, key): str(rules.priority(Priority.CRITICAL, tenant=tenant, key=key, tier=""))
        for tenant in ("a", "ab", "c", "d")
        for key in ("k1", "k2")
    }
    assert {who for who, priority in found.items() if priority == "critical"} == {("a", "k1"), ("ab", "k1")}
    assert {who for who, priority in found.items() if priority == "batch"} == {("ab", "k2"), ("c", "k1"), ("c", "k2")}


def test_tiers_may_be_named():
    rules = table(
        PriorityRule(tiers=("gold", "gold-*"), highest="critical"), PriorityRule(tiers=("none",), highest="batch")
    )
    found = [rules.priority(Priority.CRITICAL, tenant="t", key="k", tier=tier) for tier in ("gold-1", "silver", "none")]
    assert found == ["critical", "standard", "batch"]


def test_who_has_no_weight_has_one():
    assert [table(weights={"a": 3}).weight(tenant) for tenant in "ab"] == [3, 1]


def test_a_header_is_read_in_any_case_and_nothing_else_is_a_class():
    assert [read_priority(header) for header in (b"BATCH", b" standard\t", b"Critical")] == [
        Priority.BATCH,
        Priority.STANDARD,
        Priority.CRITICAL,
    ]
    for header in (b"", b"high", b"batch,critical", b"\xff"):
        with pytest.raises(InvalidRequest, match="critical, standard, batch"):
            read_priority(header)
