from podium.delivery.analysis.measures import INDEX
from podium.delivery.analysis.observed import Cell
from podium.delivery.experiments.tenants import (
    GROUPS,
    MOST_TENANTS,
    OTHERS,
    TenantTally,
    observed_by_tenant,
)
from podium.testing.events import make_event


def exchange(tenant="acme", arm="a", subject="00", **changes):
    return make_event(rollout="r", arm=arm, tenant=tenant, subject=subject, **changes)


def test_exchanges_and_opinions_of_a_tenant_add_up():
    tally = TenantTally({})
    for cost in (100, 250):
        tally.add(exchange(cost_nanousd=cost), 7)
    tally.add_opinion(exchange(), 7, "judge_score", 0.75)
    ((key, row),) = tally.cells.items()

    assert (key.rollout, key.span_us, key.arm, key.tenant) == ("r", 7, "a", "acme")
    assert key.cluster < GROUPS
    assert row[0] == 2
    assert row[2 * INDEX["cost_nanousd"] + 1 :][:2] == [350.0, 2.0]
    assert row[2 * INDEX["judge_score"] + 1 :][:2] == [0.75, 1.0]
    assert tally.new == {("r", "acme")}


def test_tenants_are_bounded_and_known_ones_stay():
    tally = TenantTally({"r": {f"known{number}" for number in range(MOST_TENANTS - 1)}})
    for tenant in ("known3", "first", "second", "third", "a\0b", ""):
        tally.add(exchange(tenant), 1)

    assert {key.tenant for key in tally.cells} == {"known3", "first", OTHERS}
    assert tally.new == {("r", "first")}


def test_each_experiment_has_its_own():
    tally = TenantTally({"r": {f"known{number}" for number in range(MOST_TENANTS)}})
    tally.add(exchange("new"), 1)
    tally.add(make_event(rollout="other", arm="a", tenant="new", subject="0"), 1)

    assert {(key.rollout, key.tenant) for key in tally.cells} == {("r", OTHERS), ("other", "new")}


def test_what_was_seen_is_told_by_tenant():
    tally = TenantTally({})
    for number in range(10):
        tally.add(exchange(["acme", "beta"][number % 2], "ab"[number % 3 == 0], f"{number:02}"), 1)
    cells = [(key.tenant, Cell(key.arm, "", key.cluster, tuple(row))) for key, row in tally.cells.items()]
    found = observed_by_tenant(cells)

    assert list(found) == ["acme", "beta"]
    totals = {(tenant, arm): found[tenant].sums(arm, "error_rate").total_x for tenant in found for arm in "ab"}
    assert totals == {("acme", "a"): 3, ("acme", "b"): 2, ("beta", "a"): 3, ("beta", "b"): 2}
    assert observed_by_tenant([]) == {}
