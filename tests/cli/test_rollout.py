"""`rollout` against the real admin application."""

import asyncio
import threading

import pytest

from podium.cli.rollout import _tell_bundle
from podium.control.rollouts.moves import Asked, moved
from podium.control.rollouts.standing import Standings
from podium.core.rollouts import Rollout
from podium.delivery.analysis.compared import MetricResult
from podium.delivery.analysis.evidence import Bundle
from podium.delivery.analysis.verdict import Verdict
from podium.delivery.phases import Happening

HOUSE = """
{kind: Provider, name: p, spec: {protocol: local}}
--- {kind: Version, name: v1, spec: {backends: [{provider: p, model: m}]}}
--- {kind: Version, name: v2, spec: {backends: [{provider: p, model: n}]}}
--- {kind: Model, name: chat, spec: {version: v1}}
--- {kind: Rollout, name: r, spec: {model: chat, candidate: v2, steps: [{percent: 5}, {percent: 100}]}}
"""


@pytest.fixture
def declared(house, monkeypatch):
    monkeypatch.setattr("podium.cli.rollout._POLL_S", 0.02)
    house.apply(HOUSE)
    return house


@pytest.fixture
def happen(declared):
    """Let something happen to `r`, as the loop does."""

    async def happening(what):
        standings = Standings(declared.resource_store)
        standing = await standings.one("r")
        move = moved(standing, what, Asked("podium/rollouts", declared.plane.clock.unix_ns() / 1e9, "as seen"))
        assert await standings.write(standing, move, author="podium/rollouts")

    return lambda what: asyncio.run_coroutine_threadsafe(happening(what), declared.loop).result(20)


@pytest.fixture
def soon(declared, happen):
    """Let things happen one after another while a command waits."""
    threads = []

    def begin(*happenings):
        def run():
            for what in happenings:
                asked = len(declared.requests)
                while len(declared.requests) < asked + 3:  # it has looked since
                    threading.Event().wait(0.02)
                happen(what)

        thread = threading.Thread(target=run)
        thread.start()
        threads.append(thread)

    yield begin
    for thread in threads:
        thread.join(20)


def test_list_and_show_tell_where_rollouts_stand(podium, declared, happen):
    assert podium("rollout", "list").out.splitlines()[2].split()[:4] == ["r", "chat", "canary", "pending"]
    podium("rollout", "start", "r", "-m", "a better prompt")
    happen(Happening.PREPARED)
    shown = podium("rollout", "show", "r").out
    assert shown.splitlines()[0] == "r: running, step 1 of 2, 5% candidate: as seen"
    assert [line.split() for line in shown.splitlines()[3:5]] == [
        ["candidate", "v2", "5.0"],
        ["baseline", "v1", "5.0"],
    ]
    assert podium("rollout", "show", "r", "--json").json["phase"] == "running"
    assert podium("rollout", "list", "--json").json["rollouts"][0]["step"] == 0
    assert "there is no Rollout `x`" in podium("rollout", "show", "x", code=1).err


def test_commands_move_it_and_are_in_the_history(podium, declared, happen):
    podium("rollout", "start", "r")
    happen(Happening.PREPARED)
    assert podium("rollout", "pause", "r", "-m", "a demo").out.startswith(
        "r: paused, step 1 of 2, 5% candidate: a demo"
    )
    assert podium("rollout", "resume", "r", "--json").json["phase"] == "running"
    assert podium("rollout", "promote", "r", "--json").json["step"] == 1
    assert "100% candidate" in podium("rollout", "promote", "r").out
    assert "Everybody gets v1." in podium("rollout", "undo", "r", "-m", "users complain").out
    messages = [one["message"] for one in podium("history", "rollout", "--json").json["revisions"]]
    assert len(messages) == 1  # the declaration: steps are of kind Progress
    newest = podium("history", "--json").json["revisions"][0]
    assert newest["message"] == "rollout r: returned (undone): users complain"
    assert "cannot be undone" in podium("rollout", "undo", "r", code=1).err


def test_an_operator_who_looked_at_something_else_is_refused(podium, declared):
    seen = podium("rollout", "start", "r", "--json").json["changed_unix_s"]
    podium("rollout", "abort", "r", "-m", "too early")
    refused = podium("rollout", "abort", "r", "--seen", repr(seen), code=1)
    assert "moved since you saw it" in refused.err
    assert "too early" in refused.err


def test_wait_ends_with_0_when_it_is_promoted(podium, declared, soon):
    soon(Happening.PREPARED, Happening.STEP_DONE, Happening.STEP_DONE)
    lines = podium("rollout", "start", "r", "--wait", "--timeout", "20", code=0).out.splitlines()
    assert [line.split(",")[0] for line in lines] == ["r: preparing", "r: running", "r: running", "r: promoted"]


@pytest.mark.parametrize(
    ("happening", "code", "phase"),
    [
        (Happening.FAILED, 3, "returned"),
        (Happening.ABORTED, 4, "aborted"),
        (Happening.PAUSED, 5, "paused"),
    ],
)
def test_wait_tells_by_its_code_how_it_ended(podium, declared, soon, happen, happening, code, phase):
    podium("rollout", "start", "r")
    happen(Happening.PREPARED)
    soon(happening)
    told = podium("rollout", "watch", "r", "--json", "--timeout", "20", code=code)
    assert told.json["phase"] == phase


def test_a_candidate_that_never_came_up_counts_as_returned(podium, declared, soon):
    soon(Happening.COULD_NOT_PREPARE)
    assert "failed" in podium("rollout", "start", "r", "--wait", "--timeout", "20", code=3).out


def test_wait_ends_with_124_when_its_time_has_passed(podium, declared):
    told = podium("rollout", "start", "r", "--wait", "--timeout", "0.2", code=124)
    assert "goes on" in told.err


def test_wait_outlasts_a_database_that_is_away(podium, declared, soon, happen):
    podium("rollout", "start", "r")
    happen(Happening.PREPARED)
    declared.resource_store.down = True

    def back():
        asked = len(declared.requests)
        while len(declared.requests) < asked + 2:
            threading.Event().wait(0.02)
        declared.resource_store.down = False
        happen(Happening.FAILED)

    thread = threading.Thread(target=back)
    thread.start()
    podium("rollout", "watch", "r", "--timeout", "20", code=3)
    thread.join(20)


def test_evidence_shows_limits_and_the_version_before_beside_what_was_compared(capsys):
    result = {"arm": "candidate", "decision": "worse", "scale": "absolute", "higher_is_better": False, "alpha": 0.01}
    result |= {"reference_samples": 0.0, "samples": 300.0, "subjects": 200.0, "upper": None}
    metrics = tuple(
        MetricResult(
            name=name, role=role, reference=reference, value=0.2, effect=0.1, lower=lower, margin=0.0, **result
        )
        for name, role, reference, lower in (
            ("error_rate", "guardrail", 0.05, 0.11),
            ("empty_rate", "limit", 0.07, 0.12),
            ("ttft_ms", "watch", 0.09, 0.13),
        )
    )
    verdict = Verdict(outcome="failed", reason="limit_passed", detail="too slow", samples={}, metrics=metrics)
    rollout = Rollout(model="chat", candidate="v2")
    bundle = Bundle(
        name="r",
        decided_unix_s=0.0,
        happening="failed",
        reason="limit_passed",
        detail="too slow",
        rollout=rollout,
        progress=None,
        verdict=verdict,
    )
    _tell_bundle(bundle)
    told = capsys.readouterr().out
    lines = {line.split()[0]: line for line in told.splitlines() if line.split()}
    assert (
        "error_rate" not in lines
    )  # of those all are shown, with intervals that end on both sides: here there are none
    assert "its limit" in lines["empty_rate"]
    assert "0.07" in lines["empty_rate"]
    assert "0.12" in lines["empty_rate"]
    assert "the version before" in lines["ttft_ms"]
