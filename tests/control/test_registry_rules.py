"""What the registry refuses, as sentences."""

import json
from textwrap import dedent

import msgspec

from podium.control.changes import state_of
from podium.control.documents import parse_documents
from podium.control.validation import check_change
from podium.core.registry import WeightFile, Weights, worker_name
from podium.core.resources import Resource
from podium.core.rollouts import Progress

HOUSE = """
{kind: Provider, name: local, spec: {protocol: local}}
--- {kind: Version, name: v1, spec: {backends: [{provider: local, model: m}]}}
--- {kind: Version, name: v2, spec: {backends: [{provider: local, model: m}], parent: v1}}
--- {kind: Model, name: chat, spec: {version: v1}}
"""
WEIGHTS = Weights(
    source="file:x.gguf", format="gguf", main="x.gguf", files=(WeightFile(path="x.gguf", sha256="a" * 64, size=1),)
)


def state(text):
    return state_of(parse_documents(dedent(text)))


def version(name, **spec):
    values = {"backends": [{"provider": "local", "model": "m"}]} | spec
    return state(json.dumps({"kind": "Version", "name": name, "spec": values}))


def told(before, after):
    return [str(problem) for problem in check_change(before, after)]


def test_a_version_in_use_cannot_be_retired_and_says_who_uses_it():
    before = state(HOUSE)
    (problem,) = check_change(before, before | version("v1", stage="retired"))
    assert problem.conflict
    assert "Version/v1" in str(problem)
    assert "Model/chat uses it (spec.version)" in str(problem)


def test_a_version_that_only_has_children_can_be_retired_and_is_not_taken_into_use_again():
    before = state(HOUSE) | state("{kind: Model, name: chat, spec: {version: v2}}")
    after = before | version("v1", stage="retired")
    assert told(before, after) == []
    (problem,) = check_change(after, after | state("{kind: Model, name: chat, spec: {version: v1}}"))
    assert "Version `v1` is retired" in str(problem)


def test_a_rollout_that_is_over_uses_nothing_any_more():
    before = state(HOUSE) | state("{kind: Rollout, name: r, spec: {model: chat, strategy: canary, candidate: v2}}")
    retired = before | version("v2", stage="retired", parent="v1")
    assert "Rollout/r uses it (spec.candidate)" in told(before, retired)[0]
    for phase, problems in (("returned", 0), ("running", 1), ("pending", 1)):
        progress = Resource("Progress", "r", Progress(phase=phase, before="v1", salt="s"))
        at = {("Progress", "r"): progress}
        assert len(told(before | at, retired | at)) == problems


def test_a_state_that_is_wrong_already_does_not_stop_other_changes():
    wrong = state(HOUSE) | version("v1", stage="retired")
    assert told(wrong, wrong | state("{kind: Tenant, name: acme}")) == []


def test_what_is_noted_may_change_and_what_it_answers_with_may_not():
    before = state(HOUSE)
    noted = {"stage": "live", "notes": "good", "licence": "MIT", "data_sources": ["ours"], "pinned": True}
    assert told(before, before | version("v1", **noted)) == []
    for changed in ({"tools": [{"name": "look"}]}, {"system_prompt": "No."}):
        (problem,) = check_change(before, before | version("v1", **changed))
        assert problem.conflict


def test_a_parent_must_be_there_and_descent_has_no_circles():
    before = state(HOUSE)
    assert "there is no Version `gone`" in told(before, before | version("v3", parent="gone"))[0]
    assert "descend from itself" in told(before, before | version("v1", parent="v2"))[0]
    assert "descend from itself" in told(before, before | version("v1", parent="v1"))[0]


def test_a_worker_s_name_says_what_it_has_in_memory():
    before, weights = state(HOUSE), msgspec.to_builtins(WEIGHTS)
    right = worker_name("tuned", WEIGHTS)
    wrong = version("v3", weights=weights, backends=[{"provider": "local", "model": "tuned"}])
    assert f"must be `{worker_name('v3', WEIGHTS)}`" in told(before, before | wrong)[0]
    good = version("v3", weights=weights, backends=[{"provider": "local", "model": right}])
    assert told(before, before | good) == []


def test_our_workers_do_not_load_safetensors_but_a_provider_may():
    before = state(HOUSE) | state("{kind: Provider, name: vllm, spec: {protocol: openai, base_url: 'http://h/v1'}}")
    weights = msgspec.structs.replace(WEIGHTS, format="safetensors")
    values = msgspec.to_builtins(weights)
    ours = [{"provider": "local", "model": worker_name("t", weights)}]
    assert "convert" in told(before, before | version("v3", weights=values, backends=ours))[0]
    theirs = [{"provider": "vllm", "model": "org/t"}]
    assert told(before, before | version("v3", weights=values, backends=theirs)) == []


def test_a_guard_policy_that_nobody_would_apply_is_refused():
    before = state(HOUSE)
    assert "no guard policies yet" in told(before, before | version("v3", guard="strict"))[0]
