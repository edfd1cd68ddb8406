from textwrap import dedent

import pytest

from podium.control.changes import state_of
from podium.control.documents import parse_documents
from podium.control.validation import check_change
from podium.core.resources import Resource
from podium.core.rollouts import ArmShare, Progress

HOUSE = """
{kind: Tenant, name: acme}
--- {kind: Provider, name: p, spec: {protocol: local}}
--- {kind: Version, name: v1, spec: {backends: [{provider: p, model: m}]}}
--- {kind: Version, name: v2, spec: {backends: [{provider: p, model: n}]}}
--- {kind: Model, name: chat, spec: {version: v1}}
--- {kind: Rollout, name: r, spec: {model: chat, candidate: v2, where: {tenants: [acme, 'pilot-*']}}}
"""


def state(text):
    return state_of(parse_documents(dedent(text)))


def told(before, after):
    return [str(problem) for problem in check_change(before, after)]


def with_progress(before, name, phase, arms=()):
    progress = Progress(phase=phase, before="v1", salt="s", arms=arms)
    return {**before, ("Progress", name): Resource("Progress", name, progress)}


def without(before, kind, name):
    return {key: resource for key, resource in before.items() if key != (kind, name)}


def test_a_house_with_a_rollout_is_right():
    assert told({}, state(HOUSE)) == []


def test_what_a_rollout_names_has_to_be_there():
    text = """
    kind: Rollout
    name: x
    spec:
      model: chatt
      candidate: v3
      steps: [{percent: 5, where: {tenants: [acne]}}, {percent: 100}]
      analysis: {judge_model: judge}
    """
    before = state(HOUSE)
    assert told(before, before | state(text)) == [
        "Rollout/x: spec.model: there is no Model `chatt`; did you mean `chat`?",
        "Rollout/x: spec.candidate: there is no Version `v3`",
        "Rollout/x: spec.analysis.judge_model: there is no Model `judge`",
        "Rollout/x: spec.steps[0].where.tenants[0]: there is no Tenant `acne`; did you mean `acme`?",
    ]


@pytest.mark.parametrize("kind_and_name", [("Version", "v2"), ("Model", "chat"), ("Tenant", "acme")])
def test_what_a_rollout_stands_on_is_not_deleted(kind_and_name):
    before = state(HOUSE)
    assert any("is still used by Rollout/r" in one for one in told(before, without(before, *kind_and_name)))


def test_the_way_back_is_not_deleted():
    text = "{kind: Model, name: chat, spec: {version: v2}}"
    share = ArmShare(name="candidate", version="v2", first=0, count=10)
    before = with_progress(state(HOUSE), "r", "promoted", (share,)) | state(text)
    assert told(before, without(before, "Version", "v1")) == ["Version/v1: is still used by Progress/r (spec.before)"]


def test_one_rollout_of_a_model_is_under_way_at_a_time():
    second = "{kind: Rollout, name: a, spec: {model: chat, candidate: v2}}"
    before = with_progress(state(HOUSE) | state(second), "r", "running")
    assert told(before, with_progress(before, "a", "preparing")) == [
        "Rollout/a: rollout `r` of the model `chat` is under way; one runs at a time"
    ]
    assert told(before, with_progress(with_progress(before, "a", "running"), "r", "aborted")) == []
