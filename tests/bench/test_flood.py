"""The narrow mock, and the client that floods: who is served and who is told."""

import http.server
import itertools
import os
import threading

import pytest
from harness.lab import QUICK, Lab
from harness.load.flood import FloodJob, FloodResult
from harness.place import Place
from harness.processes import free_ports, http_get
from harness.request import COMPLETION, chat_request


@pytest.fixture
def lab(tmp_path):
    port, side_port, upstream_port = free_ports(3)
    cores = sorted(os.sched_getaffinity(0))
    return Lab(Place(tmp_path, tmp_path, cores[0], cores[-1], port, side_port, upstream_port), QUICK)


def flood(lab, port, per_s):
    job = FloodJob(request=chat_request(port, {}), expect=COMPLETION, per_s=per_s, warm_s=0.1, seconds=0.4)
    return lab.generate("flood", job, FloodResult, limit_s=20)


def test_what_a_narrow_mock_cannot_do_at_once_waits_and_is_done(lab):
    port = lab.place.upstream_port
    with lab.narrow_mock(places=2, service_ms=20):
        result = flood(lab, port, per_s=200)
        status, told = http_get(port, "/bench/narrow")
    assert (result.sent, result.served, result.told, result.failed) == (80, 80, 0, 0)
    assert result.statuses == {200: 80}
    assert result.served_p99_ms > 200  # the last ones wait for all before them
    assert status == 200
    assert told.startswith(b'{"served": 100, "most_waiting": ')


class _Refuser(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    statuses = itertools.cycle((429, 503, 500))

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        status = next(self.statuses)
        self.send_response(status)
        if status == 429:
            self.send_header("Retry-After", "1")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        """Nothing."""


def test_who_is_told_to_come_again_is_counted_apart_from_other_failures(lab):
    with http.server.ThreadingHTTPServer(("127.0.0.1", lab.place.port), _Refuser) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        result = flood(lab, lab.place.port, per_s=150)
        server.shutdown()
    assert result.sent == 60
    found = result.statuses
    assert found.keys() == {429, 503, 500}
    assert (result.served, result.told, result.untimed) == (0, found[429] + found[503], found[503])
    assert result.failed == found[500] == 60 - result.told
    assert result.served_p99_ms is None
