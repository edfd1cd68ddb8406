"""What users and a judge say of a new version returns it: two gateways and control, as processes."""

import asyncio
import json
import sqlite3
from contextlib import AsyncExitStack, ExitStack
from itertools import count

import httpx
import pytest

from podium.testing.scripted_judge import ScriptedJudge
from podium.testing.site import Site
from podium.testing.unharmed import true_in_a_thread
from podium.testing.upstream import ScriptedUpstream

pytestmark = pytest.mark.scenario

QUICK = {"PODIUM_CONTROL_ROLLOUT_TICK_S": "0.2", "PODIUM_CONTROL_LEASE_TTL_S": "1", "PODIUM_CONTROL_POLL_S": "0.1"}
OLD, NEW = "The capital is Paris.", "The capital is Lyon."


class House:
    """The processes, and the model servers on the test's own loop: waits for processes are in threads."""

    def __init__(self, site, key, servers, control, gateway):
        self.site, self.key, self.servers = site, key, servers
        self.control, self.gateway = control, gateway  # the processes of control, and of the first gateway

    async def rollout(self, name, **analysis):
        """Declare a model with a rollout that gives half of the users the new version, and begin it."""
        steps = [{"percent": 50, "minimum_s": 5, "minimum_samples": 100_000}, {"percent": 100}]
        documents = [
            {"kind": "Version", "name": f"{name}-{place}", "spec": {"backends": [{"provider": place, "model": "m"}]}}
            for place in ("old", "new")
        ]
        documents.append({"kind": "Model", "name": name, "spec": {"version": f"{name}-old"}})
        plan = {"model": name, "candidate": f"{name}-new", "steps": steps, "analysis": analysis}
        documents.append({"kind": "Rollout", "name": name, "spec": plan})
        await asyncio.to_thread(self.site.declare, *documents)
        await self.ask(name, "start")
        await self.reaches(name, "running")

    async def ask(self, name, command=""):
        method, path = ("POST", f"/{command}") if command else ("GET", "")
        status, answer = await asyncio.to_thread(self.site.admin, method, f"/admin/v1/rollouts/{name}{path}")
        assert status == 200, answer
        return json.loads(answer)

    async def reaches(self, name, phase):
        path, seen = f"/admin/v1/rollouts/{name}", {}

        def there():
            seen.update(json.loads(self.site.admin("GET", path)[1]))
            return seen["phase"] == phase

        await true_in_a_thread(there, timeout_s=30)
        return seen

    async def post(self, path, body, *, gateway=0, key=None):
        headers = {"authorization": f"Bearer {key or self.key}"}
        async with httpx.AsyncClient(trust_env=False, timeout=20) as http:
            url = f"http://127.0.0.1:{self.site.gateways[gateway].port}{path}"
            return await http.post(url, json=body, headers=headers)

    async def chat(self, model, user, *, gateway=0):
        body = {"model": model, "user": user, "messages": [{"role": "user", "content": "The capital of France?"}]}
        answer = await self.post("/v1/chat/completions", body, gateway=gateway)
        assert answer.status_code == 200
        return answer.headers["x-request-id"], answer.json()["choices"][0]["message"]["content"]

    async def visited(self, visit, name, *, by=8):
        """Let users come, so many at once, until the rollout has ended; how it stands then."""
        numbers, over = count(), asyncio.Event()

        async def come():
            while not over.is_set():
                await visit(next(numbers))

        async with asyncio.TaskGroup() as group:
            for _ in range(by):
                group.create_task(come())
            try:
                return await self.reaches(name, "returned")
            finally:
                over.set()

    def rows(self, statement):
        with sqlite3.connect(self.site.control.data / "podium.db") as database:
            return database.execute(statement).fetchall()


@pytest.fixture
async def house(tmp_path):
    async with AsyncExitStack() as stack:
        servers = {name: await stack.enter_async_context(ScriptedUpstream()) for name in ("old", "new")}
        servers["judge"] = await stack.enter_async_context(ScriptedJudge(lambda answer: "Paris" in answer))
        for name, text in (("old", OLD), ("new", NEW)):
            servers[name].behaviour = type(servers[name].behaviour)(text=text)
        site = Site(tmp_path, gateways=2, environment=QUICK)
        site.control.extra_environment["PODIUM_CONTROL_GATEWAYS"] = ",".join(
            f"http://127.0.0.1:{one.port}" for one in site.gateways
        )
        processes = ExitStack()
        started = [await asyncio.to_thread(processes.enter_context, site.running_control())]
        stack.push_async_callback(asyncio.to_thread, processes.close)
        started += [await asyncio.to_thread(processes.enter_context, site.running_gateway(number)) for number in (0, 1)]
        for name, server in servers.items():
            spec = {"protocol": "openai", "base_url": server.url}
            await asyncio.to_thread(site.declare, {"kind": "Provider", "name": name, "spec": spec})
        _, key = await asyncio.to_thread(site.new_key, "callers")
        yield House(site, key, servers, *started[:2])


async def test_a_candidate_that_users_do_not_like_is_returned(house):
    metric = {"name": "thumbs_up_rate", "tolerance": 0.05, "absolute": True}
    await house.rollout("liked", metrics=[metric], minimum_subjects=5)

    async def visit(number):
        request_id, said = await house.chat("liked", f"user-{number}", gateway=number % 2)
        thumbs = "up" if said == OLD else "down"
        other = (number // 2) % 2  # half of them at the gateway that did not serve them, which asks control
        answer = await house.post("/v1/feedback", {"request_id": request_id, "thumbs": thumbs}, gateway=other)
        assert answer.status_code == 200, answer.text

    seen = await house.visited(visit, "liked")
    assert seen["reason"] == "metric_failed"
    assert "thumbs_up_rate" in seen["detail"]
    assert seen["evidence"]


async def test_feedback_is_tied_to_exchanges_of_the_tenant_and_survives_the_gateway(house):
    await house.rollout("tied", metrics=[], minimum_subjects=5)
    await asyncio.to_thread(house.site.declare, {"kind": "Tenant", "name": "others", "spec": {}})
    _, theirs = await asyncio.to_thread(house.site.new_key, "theirs", tenant="others")
    request_id, _ = await house.chat("tied", "ann")
    said = {"request_id": request_id, "score": 0.5, "comment": "mine alone"}
    unknown = await house.post("/v1/feedback", {**said, "request_id": "req_" + "0" * 32}, key=theirs)
    foreign = await house.post("/v1/feedback", said, key=theirs)
    assert unknown.status_code == foreign.status_code == 404
    assert unknown.content == foreign.content
    for gateway in (1, 0, 1):
        assert (await house.post("/v1/feedback", said, gateway=gateway)).status_code == 200
    kept = "SELECT kind, value, comment FROM feedback ORDER BY kind"
    await true_in_a_thread(lambda: len(house.rows(kept)) == 2, timeout_s=20)
    assert house.rows(kept) == [("comment", 0.0, "mine alone"), ("score", 0.5, "")]
    logs = b"".join(path.read_bytes() for path in house.site.control.folder.glob("*.log"))
    assert b"mine alone" not in logs


async def test_feedback_that_was_answered_survives_control_and_gateway(house):
    await house.rollout("kept", metrics=[])
    request_id, _ = await house.chat("kept", "ann")
    await asyncio.to_thread(house.control.kill)
    for score in (0.25, 0.75):
        answer = await house.post("/v1/feedback", {"request_id": request_id, "score": score})
        assert (answer.status_code, answer.json()["known"]) == (200, True)
    answer = await house.post("/v1/feedback", {"request_id": request_id, "thumbs": "up"}, gateway=1)
    assert (answer.status_code, answer.json()["known"]) == (202, False)
    await asyncio.to_thread(house.gateway.kill)
    with ExitStack() as again:
        await asyncio.to_thread(again.enter_context, house.site.running_control())
        kept = "SELECT kind, value FROM feedback ORDER BY kind"
        await true_in_a_thread(lambda: len(house.rows(kept)) == 2, timeout_s=30)
        assert house.rows(kept) == [("score", 0.25), ("thumbs", 1.0)]


async def test_a_candidate_whose_answers_a_judge_finds_worse_is_returned(house):
    backend = {"provider": "judge", "model": "m"}
    await asyncio.to_thread(
        house.site.declare,
        {"kind": "Version", "name": "judge-1", "spec": {"backends": [backend]}},
        {"kind": "Model", "name": "judge", "spec": {"version": "judge-1"}},
    )
    metric = {"name": "judge_score", "tolerance": 0.05, "absolute": True}
    await house.rollout("judged", metrics=[metric], minimum_subjects=5, judge_model="judge", judge_share=1.0)
    seen = await house.visited(lambda number: house.chat("judged", f"user-{number}"), "judged", by=4)
    assert seen["reason"] == "metric_failed"
    assert "judge_score" in seen["detail"]
    assert house.rows("SELECT DISTINCT judge, score_first, score_second FROM judgements") == [("judge", 0.0, 0.0)]
