import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import msgspec
import pytest

from podium.app.standings import HttpGateways, gateway_addresses
from podium.core.errors import OperatorError
from podium.core.standings import Standings, StandingsQuery


@pytest.fixture
def gateway():
    """A server that answers with what `answer` says, and remembers what it was asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.asked.append((self.path, self.headers["authorization"]))
            status, body = self.server.answer
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.answer = [], (200, msgspec.json.encode(Standings(place="g-1")))
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


async def ask(*addresses, query=StandingsQuery()):  # noqa: B008 - immutable
    async with HttpGateways(addresses) as gateways:
        return await gateways.ask(query, "pk_x")


async def test_each_gateway_is_asked_with_the_operators_key(gateway):
    query = StandingsQuery(key="k1", user="ann & bob/ü", budgets=False, most=5)
    told = await ask(gateway.url, gateway.url, query=query)
    assert [one.place for one in told] == ["g-1", "g-1"]
    path, key = gateway.asked[0]
    prefix, _, text = urlsplit(path).path.rpartition("/")
    assert (prefix, key) == ("/podium/v1/standings", "Bearer pk_x")
    assert dict(parse_qsl(text)) == {"key": "k1", "user": "ann & bob/ü", "budgets": "false", "most": "5"}


async def test_a_gateway_that_does_not_answer_is_named(gateway):
    gateway.answer = (403, b"{}")
    refused, gone = await ask(gateway.url, "http://127.0.0.1:1")
    assert refused.error == f"{gateway.url} answers with status 403"
    assert gone.error.startswith("http://127.0.0.1:1 cannot be asked")
    gateway.answer = (200, json.dumps({"other": 1}).encode())
    (strange,) = await ask(gateway.url)
    assert "as no gateway" in strange.error


def test_addresses_are_read_and_checked():
    assert gateway_addresses("") == ()
    assert gateway_addresses(" http://a:1/ ,https://b") == ("http://a:1", "https://b")
    for wrong in ("a:1", "http://", "http://a/path", "ftp://a", "http://a:0"):
        with pytest.raises(OperatorError, match=r"control\.gateways"):
            gateway_addresses(wrong)
