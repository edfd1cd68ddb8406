"""What stops a start: one clear sentence, a non-zero exit, never a traceback."""

import shutil
import signal
import socket
from contextlib import contextmanager

import pytest

pytestmark = pytest.mark.scenario


def refused(result, *words):
    said = (result.out + result.err).strip()
    assert result.code not in {0, -9}
    assert "Traceback" not in said
    assert "unexpected error" not in said
    assert len(result.err.strip().splitlines()) <= 4, said
    for word in words:
        assert str(word) in said, said


@contextmanager
def occupied(port):
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        yield


@pytest.mark.parametrize("command", ["up", "gateway"])
def test_a_busy_port(installation, command):
    with occupied(installation.port):
        refused(installation.run(command, check=False), installation.port, "in use")


@pytest.mark.parametrize("command", ["up", "control"])
def test_a_busy_admin_port(installation, command):
    with occupied(installation.admin_port):
        refused(installation.run(command, check=False), installation.admin_port, "in use")


@pytest.mark.parametrize("command", ["up", "control"])
def test_a_data_folder_that_cannot_be_written(installation, command):
    file = installation.folder / "file"
    file.write_text("not a folder")
    refused(installation.run(command, "--data-dir", str(file / "data"), check=False), file)


def test_a_folder_that_another_podium_uses(installation):
    with installation.start("up") as first:
        installation.wait_for((installation.data / "podium.lock").exists, first, timeout_s=20)
        installation.port, installation.admin_port = installation.admin_port, installation.port
        refused(installation.run("up", check=False), installation.data)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("gateway:\n  port: http\n", ["podium.yaml", "gateway.port", "2"]),
        ("gateway:\n  prot: 1\n", ["podium.yaml", "gateway.prot", "2"]),
        ("gateway: [\n", ["podium.yaml"]),
        ("gatewya:\n  port: 1\n", ["podium.yaml", "gatewya"]),
    ],
)
@pytest.mark.parametrize("command", ["up", "gateway", "control"])
def test_a_configuration_that_is_wrong_is_told_with_file_line_and_key(installation, command, text, words):
    (installation.folder / "podium.yaml").write_text(text)
    refused(installation.run(command, check=False), *words)


def test_an_environment_that_is_wrong_is_told_with_its_variable(installation):
    installation.extra_environment["PODIUM_PORT"] = "many"
    refused(installation.run("up", check=False), "PODIUM_PORT")


@pytest.mark.parametrize("command", [("up",), ("worker", "minilm", "--port", "0")])
def test_a_model_file_with_a_wrong_checksum(installation, command):
    damaged = installation.folder / "models"
    damaged.mkdir()
    for file in installation.models.glob("s*"):
        (damaged / file.name).symlink_to(file)
    shutil.copy(installation.models / "minilm.json", damaged)
    (whole,) = installation.models.glob("*.onnx")
    weights = damaged / whole.name
    weights.unlink(missing_ok=True)
    content = bytearray(whole.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    installation.models = damaged
    refused(installation.run(*command, check=False), weights, "checksum")


def test_a_model_that_is_not_there(installation):
    refused(installation.run("worker", "gpt-5", "--port", "0", check=False), "gpt-5", "smollm2")


def test_a_snapshot_that_somebody_changed_is_not_served(installation):
    """The gateway does not trust the file; it waits for a good one and says so."""
    installation.data.mkdir(parents=True)
    (installation.data / "secret.key").write_text("0" * 64)
    (installation.data / "secret.key").chmod(0o600)
    (installation.data / "snapshot.bin").write_bytes(b"x" * 500)
    with installation.start("gateway") as process:
        installation.wait_for(lambda: installation.status("/healthz") == 200, process, timeout_s=20)
        assert installation.status("/readyz") == 503
        process.signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert "Traceback" not in process.output()
