"""What was spent is known again after a gateway was killed, and after the shared store has lost its data."""

import json
from contextlib import ExitStack

import httpx
import pytest

from podium.testing.redis_server import RedisServer
from podium.testing.simulator_process import SimulatorProcess
from podium.testing.site import Site

pytestmark = pytest.mark.scenario

BUDGET = {
    "kind": "Budget",
    "name": "month",
    "spec": {"unit": "usd", "amount": 1000, "period": "month", "per": ["user"]},
}
LIMIT = {
    "kind": "LimitPolicy",
    "name": "fair",
    "spec": {"per": ["key"], "limits": [{"what": "requests", "amount": 100, "window_s": 86400}]},
}
OFTEN = {"PODIUM_CONTROL_BUDGET_TRUTH_S": "0.5", "PODIUM_CONTROL_BUDGET_REPAIR_S": "1"}


@pytest.fixture
def upstream(tmp_path):
    with SimulatorProcess(tmp_path / "upstream.log") as upstream:
        upstream.wait_up()
        yield upstream


class Place:
    def __init__(self, folder, **stores):
        self.site = Site(folder, environment=OFTEN, **stores)
        gateway = self.site.gateways[0].url.removesuffix("/v1")
        self.site.control.extra_environment["PODIUM_CONTROL_GATEWAYS"] = gateway

    def furnish(self, upstream):
        self.site.declare_model(upstream.url, BUDGET, LIMIT)

    def spend(self, key):
        url = f"{self.site.gateways[0].url}/chat/completions"
        answer = httpx.post(
            url,
            content=json.dumps({"model": "m", "user": "ann", "messages": [{"role": "user", "content": "hello"}]}),
            headers={"authorization": f"Bearer {key}", "content-type": "application/json"},
            timeout=10,
            trust_env=False,
        )
        assert answer.status_code == 200, answer.text

    def settled(self):
        report = self.site.control.run("budget", "show", "month", "--json").json()
        accounts = [one for place in report["places"] for one in place["budgets"]]
        return {one["subject"]["user"]: one["settled"] for one in accounts}

    def wait(self, condition, timeout_s=20):
        process = type("Running", (), {"running": True, "tail": lambda _: ""})()
        self.site.control.wait_for(condition, process, timeout_s=timeout_s)


def test_a_gateway_that_was_killed_learns_from_the_ledger_what_was_spent(upstream, tmp_path):
    place = Place(tmp_path)
    with ExitStack() as stack:
        stack.enter_context(place.site.running_control())
        place.furnish(upstream)
        gateway = stack.enter_context(place.site.running_gateway())
        key_id, key = place.site.new_key("alice")
        place.wait(lambda: place.site.status_of("m", key) == 200)
        for _ in range(3):
            place.spend(key)
        spent = place.settled()
        assert spent["ann"] > 0
        (limits,) = place.site.control.run("limits", "show", key_id, "--json").json()["places"]
        assert limits["limits"][0]["left"] == 97
        known = place.site.control.data / "budgets.bin"
        place.wait(lambda: place.site.admin("GET", "/admin/v1/usage?by=key")[1].count(f'"{key_id}"'))
        written = known.stat().st_mtime_ns
        place.wait(lambda: known.stat().st_mtime_ns != written)
        written = known.stat().st_mtime_ns
        place.wait(lambda: known.stat().st_mtime_ns != written)
        gateway.kill()
        stack.enter_context(place.site.running_gateway())
        assert place.settled() == spent


def test_budgets_that_the_shared_store_has_lost_are_mended(upstream, tmp_path):
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        place = Place(tmp_path, redis_url=redis.url)
        stack.enter_context(place.site.running_control())
        place.furnish(upstream)
        stack.enter_context(place.site.running_gateway())
        key_id, key = place.site.new_key("alice")
        place.wait(lambda: place.site.status_of("m", key) == 200)
        for _ in range(3):
            place.spend(key)
        place.wait(lambda: place.settled().get("ann", 0) > 0)
        spent = place.settled()
        (limits,) = place.site.control.run("limits", "show", key_id, "--json").json()["places"]
        assert (limits["place"], limits["limits"][0]["left"]) == ("shared", 97)
        redis.command("FLUSHALL")
        assert place.settled() == {}
        place.wait(lambda: place.settled() == spent, timeout_s=40)
        status, text = place.site.admin("GET", "/admin/v1/budgets/repair")
        assert status == 200
        assert "added" in text
