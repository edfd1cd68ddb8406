"""`doctor`: each check in good and in bad health."""

import json
import os
import socket
import sqlite3
import time
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from podium.control.bootstrap import ensure_root_secret
from podium.core.layout import DataFolder
from podium.core.resources import BackendSpec, Model, Provider, Version
from podium.core.snapshot import Snapshot
from podium.engine.settings import EngineSettings
from podium.engine.sources.reference import PathSource
from podium.engine.weights_store import WeightsStore
from podium.identity.keys import derive_secret
from podium.store.snapshot_file import write_snapshot
from podium.testing.model_files import tiny_gguf
from podium.testing.ports import free_port


@pytest.fixture
def data(tmp_path):
    """A data folder as a first start leaves it."""
    folder = DataFolder(tmp_path / "data")
    folder.path.mkdir()
    return folder


@pytest.fixture
def examine(podium, monkeypatch):
    """The findings of `podium doctor`, by check."""
    monkeypatch.setenv("PODIUM_PORT", str(free_port()))
    monkeypatch.setenv("PODIUM_ADMIN_PORT", str(free_port()))

    def run(*arguments, code=0, env=None):
        done = podium("doctor", "--json", *arguments, code=code, env=env).json
        assert done["ok"] is (code == 0)
        return {finding["check"]: finding for finding in done["findings"]}

    return run


def test_before_the_first_start_nothing_fails(examine, podium):
    found = examine()
    assert {name for name, one in found.items() if one["status"] != "ok"} <= {"models", "disk space", "open files"}
    assert found["gateway"]["text"].endswith("is free")
    assert "podium models fetch" in found["models"]["advice"]
    lines = podium("doctor").out.splitlines()
    assert lines[0].split()[:2] == ["ok", "python"]


def test_a_wrong_configuration_is_a_finding_and_the_rest_is_still_checked(examine):
    found = examine(env={"PODIUM_GATEWAY_PORT": "x"}, code=1)
    assert found["configuration"]["status"] == "fail"
    assert "PODIUM_GATEWAY_PORT: gateway.port: expected an integer" in found["configuration"]["text"]
    assert found["python"]["status"] == "ok"
    assert "control" in found


def test_secrets_that_others_can_read_fail(examine, data):
    data.secret_file.write_text("00" * 32)
    data.secret_file.chmod(0o644)
    found = examine(code=1)["secrets"]
    assert found["status"] == "fail"
    assert found["advice"] == f"chmod 600 {data.secret_file}"
    data.secret_file.chmod(0o600)
    assert examine()["secrets"]["status"] == "ok"


def test_a_database_without_its_root_secret_fails(examine, data):
    sqlite3.connect(data.database_file).close()
    assert "no key works without it" in examine(code=1)["secrets"]["text"]


def test_a_data_folder_that_is_a_file_or_in_a_file_fails(examine, tmp_path):
    (tmp_path / "data").write_text("")
    assert examine(code=1)["data folder"]["text"].endswith("is not a folder")
    found = examine("--data-dir", str(tmp_path / "data" / "below"), code=1)["data folder"]
    assert found["text"].endswith(f"cannot be created in {tmp_path / 'data'}")


def test_a_data_folder_that_cannot_be_written_fails(examine, data, monkeypatch):
    may = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != data.path and may(path, mode))  # root may everything
    assert examine(code=1)["data folder"]["text"].endswith("cannot be written")


def test_a_damaged_model_fails(examine, data):
    data.models.mkdir()
    (data.models / "smollm2.json").write_text("{}")
    found = examine(code=1)["models"]
    assert "smollm2" in found["text"]


@pytest.fixture
def registered(data, tmp_path):
    """A version whose file is in the store, one whose file another server has, and one that is nowhere."""
    (tmp_path / "m.gguf").write_bytes(tiny_gguf())
    here = WeightsStore(data.models, EngineSettings()).add(PathSource(tmp_path / "m.gguf")).weights
    gone = replace(here, files=(replace(here.files[0], sha256="b" * 64),))
    versions = {
        name: Version(backends=(BackendSpec(provider=provider, model="m"),), weights=weights, stage=stage)
        for name, provider, weights, stage in (
            ("here@1", "local", here, "live"),
            ("there@1", "vllm", gone, "live"),
            ("old@1", "local", gone, "retired"),
        )
    }
    providers = {
        "local": Provider(protocol="local"),
        "vllm": Provider(protocol="openai", base_url="http://127.0.0.1:1/v1"),
    }

    def publish(**more):
        root = ensure_root_secret(data)
        state = {"published_unix_s": time.time(), "providers": providers, "versions": versions | more}
        write_snapshot(data.snapshot_file, derive_secret(root, "snapshot"), Snapshot(revision=7, **state))

    publish()
    folder = next(data.models.glob("weights-*"))
    return SimpleNamespace(publish=publish, file=folder / "m.gguf", version=versions["here@1"], gone=gone)


def test_files_of_registered_versions_are_looked_at_by_size_and_whole_if_asked(examine, registered):
    assert "1 registered" in examine()["model files"]["text"]
    whole = registered.file.read_bytes()
    registered.file.write_bytes(whole[:-1] + b"!")
    assert "sizes right" in examine()["model files"]["text"]
    found = examine("--deep", code=1)["model files"]
    assert "here@1" in found["text"]
    assert "another checksum" in found["text"]
    assert "podium models pull" in found["advice"]
    registered.file.write_bytes(whole[:-1])
    assert f"{len(whole) - 1:,} bytes instead of {len(whole):,}" in examine(code=1)["model files"]["text"]
    registered.file.unlink()
    assert "cannot be read" in examine(code=1)["model files"]["text"]


def test_files_that_our_workers_need_and_that_are_not_here_are_told(examine, registered):
    assert "checksums right" in examine("--deep")["model files"]["text"]
    registered.publish(**{"lost@1": replace(registered.version, weights=registered.gone)})
    found = examine()["model files"]
    assert found["status"] == "warn"
    assert found["text"].endswith(": lost@1")


def test_a_database_that_is_none_fails_and_one_that_answers_is_right(examine, data):
    data.secret_file.write_text("00" * 32)
    data.secret_file.chmod(0o600)
    data.database_file.write_bytes(b"not a database, and longer than a header of SQLite would be " * 20)
    assert examine(code=1)["database"]["text"].endswith("file is not a database")
    data.database_file.unlink()
    with sqlite3.connect(data.database_file) as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()
    assert "answers (1 tables" in examine()["database"]["text"]


def test_a_postgres_that_does_not_answer_fails_and_its_password_is_not_shown(examine):
    url = f"postgresql://podium:hunter2@127.0.0.1:{free_port()}/podium"
    found = examine(env={"PODIUM_DATABASE_URL": url}, code=1)["database"]
    assert found["text"].startswith("PostgreSQL does not answer: ")
    assert "hunter2" not in str(found)


def test_a_snapshot_is_opened_and_its_seal_checked(examine, data):
    root = ensure_root_secret(data)
    now = time.time()
    write_snapshot(data.snapshot_file, derive_secret(root, "snapshot"), Snapshot(revision=7, published_unix_s=now))
    assert examine()["snapshot"]["text"].startswith("revision 7, ")
    write_snapshot(data.snapshot_file, b"another key", Snapshot(revision=7, published_unix_s=now))
    assert examine(code=1)["snapshot"]["status"] == "fail"


def test_a_snapshot_sealed_with_the_secret_that_is_set_is_opened(examine, data):
    key = derive_secret(b"\xaa" * 32, "snapshot")
    write_snapshot(data.snapshot_file, key, Snapshot(revision=7, published_unix_s=time.time()))
    found = examine(env={"PODIUM_IDENTITY_ROOT_SECRET": "aa" * 32})["snapshot"]
    assert found["text"].startswith("revision 7, ")


def test_damaged_and_old_journals_are_warned_of(examine, data):
    folder = data.journals / "gateway-0"
    folder.mkdir(parents=True)
    assert examine()["journal"]["status"] == "ok"
    (folder / "1-0.damaged").write_bytes(b"x")
    assert examine()["journal"]["status"] == "warn"


def test_a_port_that_another_program_holds_fails(examine):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = examine("--port", str(port), code=1)["gateway"]
    assert found["text"].startswith(f"port {port} is taken")
    assert "--port" in found["advice"]


def test_processes_that_live_are_told_apart_from_ready_ones(examine, serve):
    ready = [True]

    def answer(method, path, headers, body):
        return (200, {}, b"ok") if path == "/healthz" or ready[0] else (503, {}, b'{"missing": "snapshot"}')

    with serve(answer) as url:
        port = url.rpartition(":")[2]
        assert examine("--port", port)["gateway"]["text"] == f"alive and ready at {url}"
        ready[0] = False
        found = examine("--port", port)["gateway"]
    assert found["status"] == "warn"
    assert 'not ready: {"missing": "snapshot"}' in found["text"]


OPEN = "Its breaker is not closed. Open for 3.0 s more, because 5 calls in a row failed."
DRAINED = "Its weight is 0: it takes nothing new."
PARTS = [
    {"name": "snapshot", "ready": True},
    {"name": "worker tiny", "ready": True, "required": False},
    {"name": "backend big a/large", "ready": False, "detail": OPEN, "required": False},
    {"name": "backend big b/very large", "ready": False, "detail": DRAINED, "required": False},
    {"name": "backend other c/x", "ready": False, "detail": DRAINED, "required": False},
    {"name": "model other", "ready": False, "detail": "None of its backends takes calls.", "required": False},
]


@pytest.fixture
def backends(podium, serve, monkeypatch):
    """The findings about backends, by a gateway whose /readyz has these parts."""
    monkeypatch.setenv("PODIUM_ADMIN_PORT", str(free_port()))

    def run(*arguments, parts=PARTS, body=None, code=0):
        content = json.dumps({"ready": True, "parts": parts}).encode() if body is None else body
        with serve(lambda *_: (200, {}, content)) as url:
            done = podium("doctor", "--json", "--port", url.rpartition(":")[2], *arguments, code=code).json
        return [(one["status"], one["text"], one["advice"]) for one in done["findings"] if one["check"] == "backends"]

    return run


def test_each_backend_that_is_out_is_told_with_its_reason_and_each_model_that_has_no_other(backends):
    others = "The model's other backends take its calls."
    assert backends(code=1) == [
        ("warn", f"big: a/large is out. {OPEN}", others),
        ("warn", f"big: b/very large is out. {DRAINED}", others),
        ("warn", f"other: c/x is out. {DRAINED}", ""),
        (
            "fail",
            "other: none of its backends takes calls",
            "A fallback or a last resort answers, if the model has any; else callers get an error.",
        ),
    ]
    assert backends(parts=PARTS[:2]) == [("ok", "all take calls", "")]


def test_of_one_model_only_its_own_backends_are_told(backends, data):
    root = ensure_root_secret(data)
    models = {name: Model(version="v", aliases=[f"{name}-alias"]) for name in ("big", "other", "tiny")}
    snapshot = Snapshot(revision=1, published_unix_s=time.time(), models=models)
    write_snapshot(data.snapshot_file, derive_secret(root, "snapshot"), snapshot)
    told = [text.partition(" is out")[0] for _, text, _ in backends("--model", "big")]
    assert told == ["big: a/large", "big: b/very large"]
    assert backends("--model", "big-alias") == backends("--model", "big")
    assert backends("--model", "tiny") == [("ok", "tiny: all take calls", "")]
    assert backends("--model", "huge", code=1) == [
        ("fail", "there is no model 'huge'", "`podium get models` lists them.")
    ]


def test_of_one_model_nothing_else_is_checked(podium, data, monkeypatch):
    monkeypatch.setenv("PODIUM_PORT", str(free_port()))
    found = podium("doctor", "--model", "big", "--json").json["findings"]
    assert [one["check"] for one in found] == ["configuration", "gateway"]
    assert found[1]["text"].endswith("is free")


@pytest.mark.parametrize("body", [b"ok", b"[]", b'{"parts": 1}'])
def test_what_does_not_answer_as_a_gateway_tells_nothing_of_backends(backends, body):
    assert backends(body=body) == []
