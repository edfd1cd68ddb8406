import msgspec
import pytest

from podium.core.errors import OperatorError
from podium.core.layout import DataFolder
from podium.core.registry import WeightFile, Weights, worker_name
from podium.core.resources import BackendSpec, Model, Provider, Version
from podium.core.rollouts import Progress, Rollout
from podium.core.snapshot import Snapshot
from podium.engine.loadable import Loadable, loadables_of, read_loadable, write_loadable

WEIGHTS = Weights(
    source="file:/m", format="gguf", main="m.gguf", files=(WeightFile(path="m.gguf", sha256="a" * 64, size=50 << 20),)
)
NAME = worker_name("chat", WEIGHTS)
VERSION = Version(backends=(BackendSpec(provider="local", model=NAME),), weights=WEIGHTS)


def snapshot(versions, **more):
    providers = {"local": Provider(protocol="local"), "vllm": Provider(protocol="openai", base_url="http://h/v1")}
    return Snapshot(revision=1, published_unix_s=0.0, providers=providers, versions=versions, **more)


def test_versions_with_one_content_share_a_worker_and_one_that_is_used_or_pinned_makes_it_so():
    prompted = msgspec.structs.replace(VERSION, system_prompt="Be kind.", pinned=True)
    found = loadables_of(snapshot({"a": VERSION, "b": prompted}, models={"m": Model(version="a")}))
    assert found == {NAME: Loadable(name=NAME, weights=WEIGHTS, pinned=True, in_use=True)}
    assert found[NAME].mib > 50


def test_retired_ones_others_providers_and_the_built_in_ones_are_not_ours():
    retired = msgspec.structs.replace(VERSION, stage="retired")
    theirs = msgspec.structs.replace(VERSION, backends=(BackendSpec(provider="vllm", model="org/m"),))
    built_in = Version(backends=(BackendSpec(provider="local", model="smollm2"),))
    assert loadables_of(snapshot({"a": retired, "b": theirs, "c": built_in})) == {}


@pytest.mark.parametrize(("phase", "in_use"), [("preparing", True), ("returned", False)])
def test_the_candidate_of_a_rollout_is_loaded_ahead_as_soon_as_it_has_begun(phase, in_use):
    rollouts = {"r": Rollout(model="m", strategy="canary", candidate="new")}
    progress = {"r": Progress(phase=phase, before="old", salt="s")}
    found = loadables_of(snapshot({"new": VERSION}, rollouts=rollouts, progress=progress))
    assert found[NAME].in_use is in_use


def test_a_worker_reads_what_was_written_for_it(tmp_path):
    data, loadable = DataFolder(tmp_path), Loadable(name="../a/b@" + "0" * 12, weights=WEIGHTS)
    assert read_loadable(data, loadable.name) is None
    write_loadable(data, loadable)
    assert read_loadable(data, loadable.name) == loadable
    (file,) = (tmp_path / "workers").iterdir()
    file.write_text("{")
    with pytest.raises(OperatorError, match="cannot be read"):
        read_loadable(data, loadable.name)
