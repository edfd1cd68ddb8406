"""The registry as people see it, and the page that describes it."""

from pathlib import Path

from podium.control.changes import state_of
from podium.control.documents import parse_documents
from podium.control.registry import version_views
from podium.core.resources import Resource
from podium.core.rollouts import Progress
from podium.core.workers import WorkerState
from podium.delivery.digest import version_name

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
HOUSE = """
{kind: Provider, name: p, spec: {protocol: local}}
--- {kind: Version, name: v1, spec: {backends: [{provider: p, model: m}], stage: previous}}
--- {kind: Version, name: v2, spec: {backends: [{provider: p, model: m}], parent: v1}}
--- {kind: Version, name: v3, spec: {backends: [{provider: p, model: m}], parent: v2, stage: candidate}}
--- {kind: Version, name: v4, spec: {backends: [{provider: p, model: m}], parent: v2}}
--- {kind: Version, name: v0, spec: {backends: [{provider: p, model: m}]}}
--- {kind: Model, name: chat, spec: {version: v2}}
--- {kind: Rollout, name: r, spec: {model: chat, strategy: canary, candidate: v4}}
"""


def test_stage_descent_and_use_follow_from_what_is_declared():
    state = state_of(parse_documents(HOUSE))
    state["Progress", "r"] = Resource("Progress", "r", Progress(phase="promoted", before="v0", salt="s"))
    views = {view.name: view for view in version_views(state.values())}
    assert {name: view.stage for name, view in views.items()} == {
        "v0": "previous",
        "v1": "previous", "v2": "live", "v3": "candidate", "v4": "candidate",
    }  # fmt: skip
    assert views["v3"].descent == ("v2", "v1")
    assert views["v2"].children == ("v3", "v4")
    assert views["v2"].used_by == ("Model/chat (spec.version)",)
    assert views["v4"].used_by == ("Rollout/r (spec.candidate)",)
    assert views["v1"].used_by == ()


def test_the_names_in_the_page_are_those_that_podium_gives():
    (block,) = (part.split("```")[0] for part in PAGE.split("```yaml\n")[1:])
    (version,) = (one for one in parse_documents(block) if one.kind == "Version")
    assert version_name("support", version.spec) == version.name


def test_the_page_describes_every_state_of_a_worker():
    assert [state for state in WorkerState if f"`{state}`" not in PAGE] == []
