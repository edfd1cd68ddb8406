from podium.core.resources import LimitPolicy
from podium.traffic.rules import LimitRule, LimitTable, limit_rules


def test_without_a_policy_nothing_is_limited():
    assert limit_rules({}, tenant="acme", key_id="k1") == ()


def test_a_policy_for_nobody_by_name_holds_for_each_tenant_by_itself():
    table = LimitTable({"all": LimitPolicy(requests_per_minute=5)})
    assert table.rules(tenant="acme", key_id="k1") == (LimitRule("tenant:acme", requests_per_minute=5),)
    assert table.rules(tenant="umbrella", key_id="k1") == (LimitRule("tenant:umbrella", requests_per_minute=5),)


def test_policies_hold_only_for_whom_they_name():
    policies = {"t": LimitPolicy(tenant="acme", concurrency=5), "k": LimitPolicy(key="k1", tokens_per_minute=9)}
    for_tenant, for_key = LimitRule("tenant:acme", concurrency=5), LimitRule("key:k1", tokens_per_minute=9)
    assert limit_rules(policies, tenant="acme", key_id="k1") == (for_tenant, for_key)
    assert limit_rules(policies, tenant="acme", key_id="k2") == (for_tenant,)
    assert limit_rules(policies, tenant="umbrella", key_id="k1") == (for_key,)
    assert limit_rules(policies, tenant="umbrella", key_id="k2") == ()


def test_policies_for_one_subject_add_up_to_the_tightest():
    policies = {
        "default": LimitPolicy(requests_per_minute=5, concurrency=7),
        "acme": LimitPolicy(tenant="acme", requests_per_minute=50, tokens_per_minute=100, concurrency=3),
    }
    assert limit_rules(policies, tenant="acme", key_id="k") == (LimitRule("tenant:acme", 5, 100, 3),)
