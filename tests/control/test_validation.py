from textwrap import dedent

import pytest

from podium.control.changes import state_of
from podium.control.documents import parse_documents
from podium.control.validation import check_change

HOUSE = """
{kind: Tenant, name: acme}
--- {kind: Provider, name: p, spec: {protocol: local}}
--- {kind: Version, name: v1, spec: {backends: [{provider: p, model: m}]}}
--- {kind: Model, name: chat, spec: {version: v1, aliases: [default]}}
--- {kind: LimitPolicy, name: lp, spec: {where: {tenant: [acme]}, limits: [{what: concurrency, amount: 3}]}}
"""


def state(text):
    return state_of(parse_documents(dedent(text)))


def changed(before, text):
    return {**before, **state(text)}


def without(before, kind, name):
    return {key: resource for key, resource in before.items() if key != (kind, name)}


def told(before, after, **more):
    return [str(problem) for problem in check_change(before, after, **more)]


def test_a_whole_house_is_right():
    assert told({}, state(HOUSE)) == []


def test_a_version_does_not_change_under_its_name():
    before = state(HOUSE)
    after = changed(before, "{kind: Version, name: v1, spec: {backends: [{provider: p, model: other}]}}")
    (problem,) = check_change(before, after)
    assert problem.conflict
    assert "new name" in problem.message


def test_a_version_declared_again_word_for_word_is_no_change():
    before = state(HOUSE)
    assert told(before, state(HOUSE)) == []


def test_all_missing_references_are_told_at_once_with_what_was_meant():
    after = state(
        """
        {kind: Provider, name: openai, spec: {protocol: local}}
        --- {kind: Version, name: v1, spec: {backends: [{provider: openia, model: m}, {provider: x, model: m}]}}
        --- {kind: Model, name: chat, spec: {version: v2}}
        --- {kind: LimitPolicy, name: lp, spec: {where: {tenant: [nobody]}, limits: [{what: concurrency, amount: 3}]}}
        --- {kind: LimitPolicy, name: lk, spec: {where: {key: [k00000000001]}, limits: [{what: concurrency, amount: 3}]}}
        """
    )
    assert told({}, after) == [
        "Version/v1: spec.backends[0].provider: there is no Provider `openia`; did you mean `openai`?",
        "Version/v1: spec.backends[1].provider: there is no Provider `x`",
        "Model/chat: spec.version: there is no Version `v2`",
        "LimitPolicy/lp: spec.where.tenant[0]: there is no Tenant `nobody`",
    ]


def budget(where):
    return f"{{kind: Budget, name: b, spec: {{unit: usd, amount: 5, period: month, where: {where}}}}}"


def policy(where):
    return f"{{kind: LimitPolicy, name: p, spec: {{where: {where}, limits: [{{what: requests, amount: 3}}]}}}}"


@pytest.mark.parametrize("declare", [budget, policy])
def test_what_limits_and_budgets_name_has_to_be_there(declare):
    before = state(HOUSE)
    after = changed(before, declare("{tenant: [acme, acne, 'a*'], model: [chat, default, chatt, '*'], user: [ann]}"))
    (name,) = after.keys() - before.keys()
    assert told(before, after) == [
        f"{'/'.join(name)}: spec.where.tenant[1]: there is no Tenant `acne`; did you mean `acme`?",
        f"{'/'.join(name)}: spec.where.model[1]: there is no Model `default`; it is an alias of `chat`",
        f"{'/'.join(name)}: spec.where.model[2]: there is no Model `chatt`; did you mean `chat`?",
    ]


@pytest.mark.parametrize("declare", [budget, policy])
@pytest.mark.parametrize(
    "named", ["pk_3k9x7m2p4q8r_secret", "pk_3k9x7m2p4q8r", "alice", "*A", "*" * 13, "3k9x7m2p4q8r0"]
)
def test_a_key_that_cannot_be_is_refused_and_not_repeated(declare, named):
    before = state(HOUSE)
    (problem,) = told(before, changed(before, declare(f"{{key: [3k9x7m2p4q8r, '3k*', '*', '{named}']}}")))
    assert "spec.where.key[3]: a key is named by its id" in problem
    assert f"'{named}'" not in problem
    assert "secret" not in problem


def test_what_a_budget_names_is_not_deleted():
    before = changed(without(state(HOUSE), "LimitPolicy", "lp"), budget("{tenant: [acme], model: [chat]}"))
    assert told(before, without(before, "Tenant", "acme")) == [
        "Tenant/acme: is still used by Budget/b (spec.where.tenant[0])"
    ]
    assert told(before, without(before, "Model", "chat")) == [
        "Model/chat: is still used by Budget/b (spec.where.model[0])"
    ]


def test_what_is_used_is_not_deleted():
    before = state(HOUSE)
    assert told(before, without(before, "Provider", "p")) == [
        "Provider/p: is still used by Version/v1 (spec.backends[0].provider)"
    ]
    assert told(before, without(before, "Version", "v1")) == ["Version/v1: is still used by Model/chat (spec.version)"]
    assert told(before, without(before, "Tenant", "acme")) == [
        "Tenant/acme: is still used by LimitPolicy/lp (spec.where.tenant[0])"
    ]
    assert all(problem.conflict for problem in check_change(before, without(before, "Provider", "p")))


def test_a_tenant_with_keys_is_not_deleted():
    before = without(state(HOUSE), "LimitPolicy", "lp")
    after = without(before, "Tenant", "acme")
    assert told(before, after) == []
    assert told(before, after, tenants_with_keys=frozenset({"acme"})) == [
        "Tenant/acme: the tenant still has API keys; revoke them first"
    ]


def test_an_alias_is_no_other_models_name_or_alias():
    before = state(HOUSE)
    new = "{kind: Model, name: a-new, spec: {version: v1, aliases: [chat, default, fine]}}"
    assert told(before, changed(before, new)) == [
        "Model/a-new: spec.aliases[0]: `chat` is a name or alias of Model/chat already",
        "Model/a-new: spec.aliases[1]: `default` is a name or alias of Model/chat already",
    ]


def test_a_models_name_is_no_other_models_alias():
    before = state(HOUSE)
    assert told(before, changed(before, "{kind: Model, name: default, spec: {version: v1}}")) == [
        "Model/default: name: `default` is a name or alias of Model/chat already"
    ]


def test_a_model_says_each_name_once():
    before = state(HOUSE)
    after = changed(before, "{kind: Model, name: x, spec: {version: v1, aliases: [x, y, y]}}")
    assert told(before, after) == [
        "Model/x: spec.aliases[0]: `x` is a name or alias of this Model already",
        "Model/x: spec.aliases[2]: `y` is a name or alias of this Model already",
    ]


def test_an_alias_may_move_from_one_model_to_another_in_one_change():
    before = state(HOUSE)
    after = changed(
        before,
        "{kind: Model, name: chat, spec: {version: v1}}\n"
        "--- {kind: Model, name: next, spec: {version: v1, aliases: [default]}}",
    )
    assert told(before, after) == []


def test_what_was_wrong_before_does_not_stop_another_change():
    before = without(state(HOUSE), "Provider", "p")
    assert told(before, changed(before, "{kind: Tenant, name: other}")) == []


FALLBACK = """
{kind: Provider, name: p, spec: {protocol: local}}
--- {kind: Version, name: v1, spec: {backends: [{provider: p, model: m}]}}
--- {kind: Model, name: small, spec: {version: v1, failure: {fallbacks: [{model: big}]}}}
--- {kind: Model, name: big, spec: {version: v1, failure: {fallbacks: [{model: small, "on": [down]}]}}}
"""


def test_models_may_fall_back_on_each_other():
    assert told({}, state(FALLBACK)) == []


def test_a_fallback_names_a_model_that_is_there():
    spec = '{version: v1, aliases: [bigger], failure: {fallbacks: [{model: big}, {model: smal, "on": [down]}]}}'
    assert told({}, changed(state(FALLBACK), f"{{kind: Model, name: small, spec: {spec}}}")) == [
        "Model/small: spec.failure.fallbacks[1].model: there is no Model `smal`; did you mean `small`?"
    ]


def test_a_fallback_is_named_by_its_own_name_not_by_an_alias():
    after = changed(state(FALLBACK), "{kind: Model, name: big, spec: {version: v1, aliases: [large]}}")
    after = changed(after, "{kind: Model, name: small, spec: {version: v1, failure: {fallbacks: [{model: large}]}}}")
    (problem,) = told(state(FALLBACK), after)
    assert problem.startswith("Model/small: spec.failure.fallbacks[0].model: there is no Model `large`")


def test_a_model_that_others_fall_back_on_is_not_deleted():
    before = state(FALLBACK)
    (problem,) = check_change(before, without(before, "Model", "big"))
    assert str(problem) == "Model/big: is still used by Model/small (spec.failure.fallbacks[0].model)"
    assert problem.conflict
    assert told(before, without(without(before, "Model", "big"), "Model", "small")) == []


PLACES = """
{kind: Provider, name: p, spec: {protocol: local}}
--- {kind: Provider, name: q, spec: {protocol: local}}
--- {kind: Version, name: v1, spec: {backends: [{provider: p, model: m}], parameters: {top_p: 1}}}
"""


@pytest.mark.parametrize(
    "backends",
    [
        "[{provider: p, model: m}, {provider: q, model: m}]",
        "[{provider: q, model: m}]",
        "[{provider: p, model: m, weight: 0}]",
        "[{provider: p, model: m, region: eu}]",
        "[{provider: p, model: m}, {provider: p, model: m}]",
    ],
)
def test_where_a_version_runs_may_change_while_it_serves(backends):
    before = state(PLACES)
    spec = f"{{backends: {backends}, parameters: {{top_p: 1.0}}}}"
    assert told(before, changed(before, f"{{kind: Version, name: v1, spec: {spec}}}")) == []


@pytest.mark.parametrize(
    "spec",
    [
        "{backends: [{provider: p, model: m}]}",
        "{backends: [{provider: p, model: m}], parameters: {top_p: 0.5}}",
        "{backends: [{provider: p, model: m}], parameters: {top_p: 1, seed: 1}}",
        "{backends: [{provider: p, model: m}], parameters: {top_p: 1}, system_prompt: Hello}",
        "{backends: [{provider: p, model: m}, {provider: q, model: n}], parameters: {top_p: 1}}",
        "{backends: [{provider: p, model: n}], parameters: {top_p: 1}}",
    ],
)
def test_what_a_version_answers_with_may_not_change(spec):
    before = state(PLACES)
    (problem,) = check_change(before, changed(before, f"{{kind: Version, name: v1, spec: {spec}}}"))
    assert problem.conflict and "never change" in problem.message


def test_a_new_place_is_a_provider_that_is_there():
    before = state(PLACES)
    spec = "{backends: [{provider: p, model: m}, {provider: r, model: m}], parameters: {top_p: 1}}"
    assert told(before, changed(before, f"{{kind: Version, name: v1, spec: {spec}}}")) == [
        "Version/v1: spec.backends[1].provider: there is no Provider `r`"
    ]


def test_a_provider_may_go_once_no_version_runs_there():
    before = changed(state(PLACES), "{kind: Version, name: v1, spec: {backends: [{provider: q, model: m}]}}")
    assert told(before, without(before, "Provider", "p")) == []
