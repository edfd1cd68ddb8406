"""Active health checks: whom they ask, what counts as well, and when somebody is told."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from podium.core.resources import Provider
from podium.core.serving import HealthCheck
from podium.testing.behaviour import BAD, Behaviour, Cut
from podium.testing.clock import TestClock
from podium.testing.upstream import ScriptedUpstream
from podium.testing.waiting import eventually
from podium.traffic.health import HealthState
from podium.upstreams.checks import HealthChecks
from podium.upstreams.workers import WorkerWatch

INTERVAL_S = 10.0
FAILING = Behaviour(status=500)


class Checked:
    """Health checks that run, by a clock that a test moves."""

    def __init__(self):
        self.clock = TestClock()
        self.checks = HealthChecks(WorkerWatch({"smollm2": "http://127.0.0.1:9"}), self.clock)
        self.told = 0
        self.checks.tell(self._tell)

    def _tell(self):
        self.told += 1

    def view(self, url, account="p", path="/health", timeout_s=5.0, **spec):
        check = HealthCheck(path=path, interval_s=INTERVAL_S, timeout_s=timeout_s)
        return self.checks.view(account, Provider(protocol="openai", base_url=url, health_check=check, **spec))

    async def check(self, upstream, times=1):
        """Let the next checks come due, one after another, and wait for their results."""
        for _ in range(times):
            seen = len(upstream.requests)
            self.clock.advance(INTERVAL_S * 1.2)
            await eventually(lambda seen=seen: len(upstream.requests) > seen)
            await eventually(lambda: not any(check.running for check in self.checks._checks.values()))


@asynccontextmanager
async def running(checks):
    task = asyncio.create_task(checks.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture
async def checked(monkeypatch):
    monkeypatch.setattr("podium.upstreams.checks._LOOK_EVERY_S", 0.005)
    made = Checked()
    async with running(made.checks):
        yield made


async def test_a_provider_is_usable_until_a_check_says_otherwise(checked, upstream):
    health = checked.view(upstream.url)
    assert (health.state, health.usable, health.explain()) == (HealthState.UNKNOWN, True, "Not checked yet.")
    await checked.check(upstream)
    assert (health.state, health.explain()) == (HealthState.HEALTHY, "Healthy: the last check passed.")


async def test_the_right_question_is_asked_and_nothing_secret_said(checked, upstream):
    checked.view(upstream.url, path="/health?full=1", headers={"x-secret": "s"})
    await checked.check(upstream)
    (request,) = upstream.requests
    assert (request.method, request.path, request.body) == ("GET", "/health?full=1", b"")
    headers = dict(request.headers)
    assert headers["host"] == f"127.0.0.1:{upstream.port}"
    assert not {"authorization", "x-secret"} & headers.keys()


async def test_who_fails_several_times_is_out_until_it_passes_again(checked, upstream):
    health = checked.view(upstream.url)
    await checked.check(upstream)
    told = checked.told
    upstream.behaviour = FAILING
    await checked.check(upstream, times=2)
    assert health.usable and checked.told == told
    await checked.check(upstream)
    assert not health.usable and checked.told == told + 1
    assert health.explain() == "Unhealthy: the last 3 checks failed."
    upstream.behaviour = Behaviour()
    await checked.check(upstream)
    assert not health.usable
    await checked.check(upstream)
    assert health.usable and checked.told == told + 2


@pytest.mark.parametrize(
    ("status", "passes"),
    [
        (200, True),
        (204, True),
        (307, True),
        (401, True),
        (404, True),
        (408, False),
        (429, False),
        (500, False),
        (503, False),
    ],
)
async def test_a_status_says_whether_it_lives(checked, upstream, status, passes):
    upstream.behaviour = Behaviour(status=status, body=b"")
    health = checked.view(upstream.url)
    await checked.check(upstream)
    assert health.passing == passes


@pytest.mark.parametrize(
    "behaviour", [Behaviour(cut=Cut("start", "stall")), Behaviour(cut=Cut("start", "reset")), BAD["stalls-midway"]]
)
async def test_who_does_not_answer_in_time_fails(checked, upstream, behaviour):
    upstream.behaviour = behaviour
    health = checked.view(upstream.url, timeout_s=0.1)
    await checked.check(upstream)
    assert not health.passing


async def test_who_is_not_there_fails(checked):
    health = checked.view("http://127.0.0.1:9/v1")
    checked.clock.advance(INTERVAL_S * 1.2)
    await eventually(lambda: health.in_a_row)
    assert not health.passing


async def test_a_slow_check_is_not_asked_again_meanwhile(checked, upstream):
    upstream.behaviour = Behaviour(before_head_s=0.1)
    checked.view(upstream.url)
    for _ in range(5):
        checked.clock.advance(INTERVAL_S * 1.2)
        await asyncio.sleep(0.01)
    assert len(upstream.requests) == 1


async def test_checks_of_one_do_not_wait_for_another(checked, upstream):
    async with ScriptedUpstream(Behaviour(cut=Cut("start", "stall"))) as silent:
        checked.view(silent.url, account="silent")
        health = checked.view(upstream.url, account="lively")
        checked.clock.advance(INTERVAL_S * 1.2)
        await eventually(lambda: health.in_a_row)
        assert len(silent.requests) == 1


# Changes.


async def test_a_change_that_does_not_concern_the_check_leaves_its_state(checked, upstream):
    upstream.behaviour = FAILING
    health = checked.view(upstream.url)
    await checked.check(upstream, times=3)
    assert not health.usable
    assert checked.view(upstream.url, max_calls=3, region="eu") is health


async def test_a_change_that_concerns_it_starts_anew(checked, upstream):
    health = checked.view(upstream.url)
    await checked.check(upstream)
    assert upstream.connections == 1
    changed = checked.view(upstream.url, path="/other")
    assert changed is not health and changed.state is HealthState.UNKNOWN
    await eventually(lambda: upstream.connections == 0)


async def test_who_is_not_named_any_more_is_not_asked(checked, upstream):
    checked.view(upstream.url)
    await checked.check(upstream)
    checked.checks.retire_unused()
    assert upstream.connections == 1  # it was named since the last time
    checked.checks.retire_unused()
    await eventually(lambda: upstream.connections == 0)
    checked.clock.advance(INTERVAL_S * 5)
    await asyncio.sleep(0.03)
    assert len(upstream.requests) == 1


async def test_who_has_no_check_has_no_health(checked, upstream):
    assert checked.checks.view("p", Provider(protocol="openai", base_url=upstream.url)) is None


async def test_a_url_that_leads_nowhere_has_no_health_but_a_word_in_the_log(checked, capsys):
    assert checked.view("http://bad host") is None
    assert "health_check_unusable" in capsys.readouterr().out


async def test_our_own_workers_are_watched_by_themselves(checked):
    health = checked.checks.view("local/smollm2", Provider(protocol="local"))
    assert health.usable
    assert checked.checks.view("local/unknown", Provider(protocol="local")) is None


async def test_the_end_closes_every_connection(monkeypatch, upstream):
    monkeypatch.setattr("podium.upstreams.checks._LOOK_EVERY_S", 0.005)
    checked = Checked()
    checked.view(upstream.url)
    async with running(checked.checks):
        await checked.check(upstream)
        assert upstream.connections == 1
    await eventually(lambda: upstream.connections == 0)
