import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest

from podium.app.rollouts import HttpRolloutGateways
from podium.control.changes import state_of
from podium.control.documents import parse_documents
from podium.control.rollouts.standing import standings_of
from podium.core.standings import Standings, TrippedArm

HOUSE = """
{kind: Provider, name: p, spec: {protocol: local}}
--- {kind: Version, name: v1, spec: {backends: [{provider: p, model: m}]}}
--- {kind: Version, name: v2, spec: {backends: [{provider: p, model: n}]}}
--- {kind: Version, name: v3, spec: {backends: [{provider: p, model: n}]}}
"""
MODEL = "--- {kind: Model, name: chat, spec: {version: v1, endpoints: [%s]}}\n"
CANARY = "--- {kind: Rollout, name: r, spec: {model: chat, candidate: v2}}\n"
AB = (
    "--- {kind: Rollout, name: r, spec: {model: chat, strategy: ab, arms: "
    "[{name: a, version: v1}, {name: b, version: v2}, {name: c, version: v3}]}}\n"
)


def standing(rollout=CANARY, endpoint="chat.completions"):
    text = HOUSE + MODEL % endpoint + rollout
    (one,) = standings_of(1, state_of(parse_documents(text)))
    return one


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self._answer()

    def do_POST(self):
        self.server.asked.append(
            (
                self.path,
                self.headers["authorization"],
                self.headers["x-podium-version"],
                json.loads(self.rfile.read(int(self.headers["content-length"]))),
            )
        )
        self._answer()

    def _answer(self):
        time.sleep(self.server.wait_s)
        status, body = self.server.answer
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def gateways():
    """Makes servers that answer as `answer` says, and remember what they were asked."""
    made = []

    def make(status=200, body=b"{}", wait_s=0.0):
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.asked, server.answer, server.wait_s = [], (status, body), wait_s
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        made.append((server, thread))
        return server

    yield make
    for server, thread in made:
        server.shutdown()
        thread.join()
        server.server_close()


async def tried(*addresses, what=None, public="http://127.0.0.1:1", timeout_s=5.0):
    async with HttpRolloutGateways(addresses, "pk_x", public=public) as asker:
        return await asker.try_candidate(what or standing(), timeout_s)


async def test_the_candidate_is_asked_for_by_name_at_each_gateway(gateways):
    first, second = gateways(), gateways()
    trials = await tried(first.url, second.url)
    assert [(trial.gateway, trial.answered) for trial in trials] == [(first.url, True), (second.url, True)]
    ((path, key, version, body),) = first.asked
    assert (path, key, version) == ("/v1/chat/completions", "Bearer pk_x", "v2")
    assert (body["model"], body["max_tokens"]) == ("chat", 16)


@pytest.mark.parametrize("endpoint", ["completions", "embeddings"])
async def test_models_without_chat_are_asked_for_what_they_do(gateways, endpoint):
    gateway = gateways()
    await tried(gateway.url, what=standing(endpoint=endpoint))
    assert gateway.asked[0][0] == f"/v1/{endpoint}"


async def test_each_arm_of_an_ab_test_is_tried_but_the_version_that_serves(gateways):
    gateway = gateways()
    assert len(await tried(gateway.url, what=standing(AB))) == 2
    assert sorted(version for _, _, version, _ in gateway.asked) == ["v2", "v3"]


async def test_an_error_says_what_the_gateway_says(gateways):
    error = {"error": {"message": "No backend can serve.", "code": "no_backend"}}
    (trial,) = await tried(gateways(503, json.dumps(error).encode()).url)
    assert (trial.answered, trial.detail) == (False, "`v2` answers 503 no_backend: No backend can serve.")


async def test_a_candidate_that_gives_no_answer_in_time_has_not_answered(gateways):
    (trial,) = await tried(gateways(wait_s=0.5).url, timeout_s=0.1)
    assert (trial.answered, "gave no answer in 0.1 s" in trial.detail) == (False, True)


async def test_a_gateway_that_is_away_says_nothing_of_the_candidate(gateways):
    away, here = await tried("http://127.0.0.1:1", gateways().url)
    assert (away.answered, here.answered) == (None, True)
    assert "cannot be reached" in away.detail


async def test_where_only_probes_are_answered_the_public_port_is_asked(gateways):
    probes = gateways(404, b'{"error": {"message": "Only /healthz, /readyz and /metrics are here."}}')
    public = gateways()
    (trial,) = await tried(probes.url, public=public.url)
    assert trial.answered
    assert len(public.asked) == 1


async def test_a_model_that_a_gateway_does_not_know_yet_is_not_asked_for_elsewhere(gateways):
    gateway = gateways(404, b'{"error": {"message": "There is no model `chat`.", "code": "model_not_found"}}')
    public = gateways()
    (trial,) = await tried(gateway.url, public=public.url)
    assert (trial.answered, public.asked) == (False, [])


async def test_trips_come_with_the_gateway_that_saw_them(gateways):
    arm = TrippedArm(
        rollout="r", salt="s", arm="candidate", changed_unix_s=1.0, failures=10, of=12, reason="failures_in_a_row"
    )
    gateway = gateways(body=msgspec.json.encode(Standings(place="g-1", tripped=(arm,))))
    async with HttpRolloutGateways((gateway.url, "http://127.0.0.1:1"), "pk_x", public="") as asker:
        (trip,) = await asker.trips()
    assert (trip.rollout, trip.salt, trip.gateway) == ("r", "s", "g-1")
    assert trip.detail == "10 of the last 12 exchanges of arm `candidate` at g-1 failed (failures_in_a_row)"
