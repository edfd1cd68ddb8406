"""The command line in process, against the real admin application and a scripted gateway, both on loopback."""

import asyncio
import json
import os
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from podium.cli._start import application
from podium.control.documents import parse_documents
from podium.control.keys import NewKey
from podium.control.plane import ControlPlane
from podium.core.clock import SystemClock
from podium.testing.memory_store import (
    MemoryJournals,
    MemoryKeyStore,
    MemoryLeaderLease,
    MemoryLedger,
    MemoryPublisher,
    MemoryResourceStore,
)
from podium.testing.upstream import ScriptedUpstream
from podium.web.admin.app import build_admin_app
from podium.web.admin.settings import AdminSettings


class Result:
    """What a command did."""

    def __init__(self, result):
        self.code, self.out, self.err = result.exit_code, result.stdout, result.stderr
        self.exception = result.exception

    @property
    def json(self):
        """What it printed; fails when there is anything but one JSON document."""
        return json.loads(self.out)


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch):
    """No command sees what the environment of the test run sets for Podium."""
    for name in [name for name in os.environ if name.startswith("PODIUM_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def podium(tmp_path, monkeypatch):
    """Run a command with the data folder `<tmp>/data`; expects exit code 0 unless told otherwise."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path / "data"))
    app = application()

    def run(*arguments, code=0, stdin=None, env=None):
        result = Result(CliRunner().invoke(app, arguments, input=stdin, env=env))
        unexpected = result.exception if not isinstance(result.exception, SystemExit) else None
        assert unexpected is None, repr(unexpected)
        assert result.code == code, result.out + result.err
        return result

    return run


@pytest.fixture
def loop():
    """An event loop in a thread of its own, for servers that a blocking command calls."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


def wait(loop, coroutine):
    """The result of a coroutine that runs in that loop."""
    return asyncio.run_coroutine_threadsafe(coroutine, loop).result(20)


@contextmanager
def served(handle):
    """The address of an HTTP server whose every request is answered by `handle(method, path, headers, body)`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self):
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            status, headers, content = handle(self.command, self.path, dict(self.headers), body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - http.server's names

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = False
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join(10)


class House:
    """The admin application over memory stores, with the tenant acme and an admin key."""

    def __init__(self, loop):
        self.loop = loop
        clock = SystemClock()
        self.ledger = MemoryLedger()
        self.resource_store = MemoryResourceStore(clock)
        self.plane = ControlPlane(
            resource_store=self.resource_store,
            key_store=MemoryKeyStore(),
            ledger=self.ledger,
            lease=MemoryLeaderLease(clock),
            journals=MemoryJournals(),
            publisher=MemoryPublisher(),
            pepper=b"pepper",
            clock=clock,
        )
        self.app = build_admin_app(self.plane, AdminSettings())
        self.requests = []
        self.apply("{kind: Tenant, name: acme}")
        new = NewKey(tenant="acme", name="alice", admin=True)
        self.admin_key = wait(loop, self.plane.keys.create(new, created_by="test")).text

    def apply(self, text):
        """Declare something without the command line."""
        return wait(self.loop, self.plane.resources.apply(parse_documents(text), author="test"))

    def record(self, *events):
        """Put finished exchanges into the ledger."""
        wait(self.loop, self.ledger.load("gateway-0/1", 1, events))

    def handle(self, method, path, headers, body):
        """Answer one request through the application."""
        self.requests.append((method, path, headers))

        async def ask():
            transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://podium") as client:
                return await client.request(method, path, headers=headers, content=body)

        response = wait(self.loop, ask())
        return response.status_code, {"content-type": response.headers.get("content-type", "")}, response.content


@pytest.fixture
def house(loop, tmp_path, monkeypatch, podium):
    """A running control process; commands find its address and its first admin key."""
    house = House(loop)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "admin.key").write_text(house.admin_key + "\n")
    with served(house.handle) as url, capture_logs():
        monkeypatch.setenv("PODIUM_ADMIN_URL", url)
        yield house


@pytest.fixture
def gateway(loop, monkeypatch, podium):
    """A scripted server in the place of the gateway; `podium chat` and `podium models` find it."""
    upstream = ScriptedUpstream(models=("smollm2", "minilm"))
    wait(loop, upstream.__aenter__())
    monkeypatch.setenv("PODIUM_URL", upstream.url)
    yield upstream
    wait(loop, upstream.__aexit__(None, None, None))


@pytest.fixture
def serve():
    """Start an HTTP server by its handler."""
    return served
