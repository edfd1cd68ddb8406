"""`podium worker` of registered versions: real weights, a real LoRA adapter, a real embedding model."""

import shutil
from importlib.resources import files
from pathlib import Path

import gguf
import numpy as np
import pytest

from podium.core.errors import OperatorError
from podium.core.layout import DataFolder
from podium.core.registry import Adapter, worker_name
from podium.engine.loadable import Loadable, write_loadable
from podium.engine.settings import EngineSettings
from podium.engine.sources.reference import PathSource
from podium.engine.weights_store import WeightsStore
from podium.engine.worker import serve_worker

TOKENIZER = files("podium.engine") / "data/minilm/tokenizer.json"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return WeightsStore(tmp_path_factory.mktemp("registered") / "models", EngineSettings())


@pytest.fixture(scope="module")
def weights(store, models):
    return store.add(PathSource(next(models.glob("*.gguf")))).weights


def make_lora(path):
    """An adapter that turns one matrix of the first layer into noise."""
    random = np.random.default_rng(7)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 4.0)
    writer.add_tensor("blk.0.attn_q.weight.lora_a", random.normal(size=(4, 576)).astype(np.float32))
    writer.add_tensor("blk.0.attn_q.weight.lora_b", random.normal(size=(576, 4)).astype(np.float32))
    for write in (
        writer.write_header_to_file,
        writer.write_kv_data_to_file,
        writer.write_tensors_to_file,
        writer.close,
    ):
        write()
    return path


@pytest.fixture
def start_registered(start_worker, tmp_path):
    """Starts a worker as the engine does: `with start_registered(store, loadable) as worker`."""

    def start(store, loadable):
        write_loadable(DataFolder(tmp_path), loadable)
        return start_worker(loadable.name, store.path_of(loadable.weights).parent)

    return start


def answer(worker, name):
    body = {
        "model": name,
        "messages": [{"role": "user", "content": "Count to ten."}],
        "max_tokens": 8,
        "temperature": 0,
    }
    with worker.client() as client:
        response = client.post("/v1/chat/completions", json=body)
    assert response.status_code == 200, response.text
    return response.json()["choices"][0]["message"]["content"]


def test_weights_are_served_under_their_name_and_an_adapter_changes_what_they_say(
    store, weights, start_registered, tmp_path
):
    lora = store.add(PathSource(make_lora(tmp_path / "lora.gguf")), alone=True).weights
    adapter = Adapter(source=lora.source, file=lora.files[0])
    said = []
    for adapters in ((), (adapter,)):
        name = worker_name("tuned", weights, adapters)
        with start_registered(store, Loadable(name=name, weights=weights, adapters=adapters)) as worker:
            said.append(answer(worker, name))
    assert said[0] != said[1]


def test_an_embedding_model_is_served_with_its_own_tokenizer(
    store, models, start_registered, embedding_worker, tmp_path
):
    folder = tmp_path / "minilm"
    folder.mkdir()
    shutil.copy(next(models.glob("*.onnx")), folder / "model.onnx")
    (folder / "tokenizer.json").write_text(TOKENIZER.read_text("utf-8"), "utf-8")
    weights = store.add(PathSource(folder)).weights
    name = worker_name("minilm2", weights)
    body = {"input": ["one text", "another"]}
    with start_registered(store, Loadable(name=name, weights=weights)) as worker, worker.client() as client:
        mine = client.post("/v1/embeddings", json=body | {"model": name}).json()
    with embedding_worker.client() as client:
        built_in = client.post("/v1/embeddings", json=body | {"model": "minilm"}).json()
    assert [one["embedding"] for one in mine["data"]] == [one["embedding"] for one in built_in["data"]]


@pytest.mark.parametrize("damage", ["file", "tokenizer"])
def test_what_cannot_be_loaded_is_told_with_the_exit_code_for_it(store, models, damage, tmp_path):
    model = shutil.copy(next(models.glob("*.onnx")), tmp_path / f"{damage}.onnx")
    weights = store.add(PathSource(Path(model))).weights
    if damage == "file":
        with (store.path_of(weights) / weights.main).open("r+b") as stream:
            stream.write(b"!")
    name = worker_name("x", weights)
    write_loadable(DataFolder(tmp_path), Loadable(name=name, weights=weights))
    settings = EngineSettings(models_dir=str(store.path_of(weights).parent))
    with pytest.raises(OperatorError) as caught:
        serve_worker(name, port=1, api_key="key", data=DataFolder(tmp_path), settings=settings)
    assert caught.value.exit_code == 78
    assert ("checksum is wrong" if damage == "file" else "no tokenizer.json") in caught.value.message
