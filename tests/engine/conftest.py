"""The real models, and workers that serve them in processes of their own."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from podium.engine.catalogue import CATALOGUE
from podium.engine.model_store import ensure
from podium.testing.ports import free_port

KEY = "worker-key-of-the-tests"
SERVE = """
import sys
from pathlib import Path
from podium.core.layout import DataFolder
from podium.engine.settings import EngineSettings
from podium.engine.worker import serve_worker
model, port, key, models, data = sys.argv[1:]
settings = EngineSettings(models_dir=models, threads=1, parallel_slots=4, context_tokens=4096, embedding_queue_texts=64)
sys.exit(serve_worker(model, port=int(port), api_key=key, data=DataFolder(Path(data)), settings=settings))
"""


@dataclass
class Worker:
    process: subprocess.Popen
    url: str
    log: Path

    def client(self, **options):
        headers = {"authorization": f"Bearer {KEY}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, trust_env=False, **options)

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(20)


@contextmanager
def serving(model, models, folder):
    port = free_port()
    log = folder / f"{model}.log"
    with log.open("wb") as output:
        argv = [sys.executable, "-c", SERVE, model, str(port), KEY, str(models), str(folder)]
        process = subprocess.Popen(argv, stdout=output, stderr=subprocess.STDOUT)
    worker = Worker(process, f"http://127.0.0.1:{port}", log)
    try:
        deadline = time.monotonic() + 60
        while not healthy(worker.url):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield worker
    finally:
        process.kill()
        process.wait(10)


def healthy(url):
    try:
        return httpx.get(f"{url}/health", trust_env=False, timeout=2).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="session")
def models():
    """The folder with all built-in models; fetches what is missing, and fails when that fails."""
    folder = Path(os.environ.get("PODIUM_MODELS_DIR") or Path(__file__).parents[2] / ".models")
    for model in CATALOGUE.values():
        ensure(model, folder, timeout_s=600)
    return folder


@pytest.fixture(scope="session")
def chat_worker(models, tmp_path_factory):
    with serving("smollm2", models, tmp_path_factory.mktemp("chat")) as worker:
        yield worker


@pytest.fixture(scope="session")
def embedding_worker(models, tmp_path_factory):
    with serving("minilm", models, tmp_path_factory.mktemp("embedding")) as worker:
        yield worker


@pytest.fixture
def start_worker(models, tmp_path):
    """Starts a worker that the test may end: `with start_worker("minilm") as worker`."""
    return lambda model, folder=models: serving(model, folder, tmp_path)
