import msgspec
import pytest

from podium.core.resources import Version
from podium.core.rollouts import Rollout
from podium.delivery.experiments.design import design_digest, short

SPEC = {
    "model": "chat",
    "strategy": "ab",
    "arms": [{"name": "long", "version": "v1"}, {"name": "short", "version": "v2"}],
    "experiment": {"hypothesis": "Short is cheaper.", "primary": "cost_nanousd", "effect": -0.1, "samples": 5000},
}
VERSIONS = {
    "v1": {"backends": [{"provider": "p", "model": "m"}]},
    "v2": {"backends": [{"provider": "p", "model": "m"}], "system_prompt": "Be brief."},
}


def digest(spec=SPEC, versions=VERSIONS, **changes):
    declared = {name: msgspec.convert(one, Version) for name, one in versions.items()}
    return design_digest(msgspec.convert(spec | changes, Rollout), declared.get)


def test_it_is_64_hex_digits_and_the_same_each_time():
    assert digest() == digest()
    assert len(digest()) == 64
    assert short(digest()) == digest()[:12]


def test_what_is_said_although_it_is_the_default_changes_nothing():
    said = SPEC["experiment"] | {"alpha": 0.05, "method": "sequential", "stop": "at_samples", "adaptive": None}
    assert digest(experiment=said, where=None, steps=[{"percent": 100}]) == digest()


@pytest.mark.parametrize(
    "change",
    [
        {"hypothesis": "Short is better."},
        {"primary": "error_rate", "effect": 0.1},
        {"effect": -0.2},
        {"samples": 5001},
        {"alpha": 0.01},
        {"power": 0.9},
        {"method": "fixed"},
        {"stop": "when_decided"},
        {"at_most_s": 86_400},
        {"adaptive": {}},
        {"higher_is_better": True},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_part_of_the_design_is_in_it(change):
    assert digest(experiment=SPEC["experiment"] | change) != digest()


@pytest.mark.parametrize(
    "change",
    [
        {"model": "other"},
        {"arms": [SPEC["arms"][0] | {"weight": 2}, SPEC["arms"][1]]},
        {"arms": [*SPEC["arms"], {"name": "third", "version": "v1"}]},
        {"steps": [{"percent": 50}]},
        {"where": {"tiers": ["gold"]}},
        {"sticky_by": ["key"]},
        {"flag": "new"},
        {"analysis": {"metrics": [{"name": "error_rate", "tolerance": 0.02, "absolute": True}]}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_arms_split_guardrails_and_who_takes_part_are_in_it(change):
    assert digest(**change) != digest()


def test_versions_count_as_what_they_answer_with():
    elsewhere = {"backends": [{"provider": "q", "model": "m", "weight": 3}], "system_prompt": "Be brief."}
    assert digest(versions=VERSIONS | {"v2": elsewhere}) == digest()
    longer = VERSIONS["v2"] | {"system_prompt": "Be very brief."}
    assert digest(versions=VERSIONS | {"v2": longer}) != digest()
    assert digest(versions={"v1": VERSIONS["v1"]}) != digest()


def test_who_approves_and_when_nothing_moves_is_not():
    assert digest(approval={"before": ["start"]}, freeze=[{"days": ["sun"]}], keep_warm_s=5) == digest()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"effect": 0}, "not zero"),
        ({"method": "fixed", "stop": "when_decided"}, "at_samples"),
        ({"method": "fixed", "adaptive": {}}, "sequential"),
        ({"primary": "output_tokens", "adaptive": {}}, "higher_is_better"),
        ({"adaptive": {"floor": 0.5}, "arms": 3}, "floor"),
        ({"analysis": None}, "guardrails"),
        ({"arms": 0}, "weight"),
        ({"strategy": "canary"}, "strategy `ab`"),
        ({"at_most_s": 60, "steps": [{"percent": 100, "minimum_s": 60}]}, "at_most_s"),
    ],
    ids=lambda part: next(iter(part)) if isinstance(part, dict) else "",
)
def test_designs_that_cannot_be_are_refused(change, complaint):
    changes = {name: change.pop(name) for name in ("analysis", "strategy", "steps") if name in change}
    if "arms" in change:
        arms = {
            3: [*SPEC["arms"], {"name": "c", "version": "v1"}],
            0: [SPEC["arms"][0] | {"weight": 0}, SPEC["arms"][1]],
        }
        changes["arms"] = arms[change.pop("arms")]
    if changes.get("strategy") == "canary":
        changes |= {"arms": [], "candidate": "v2"}
    with pytest.raises(msgspec.ValidationError, match=complaint):
        msgspec.convert(SPEC | changes | {"experiment": SPEC["experiment"] | change}, Rollout)
