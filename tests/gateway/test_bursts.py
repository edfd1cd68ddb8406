"""When an arm of a rollout hangs, and when its answers are only slow."""

import pytest

from podium.core.errors import ClientGone
from podium.core.exchange import Exchange
from podium.core.rollouts import Analysis, Progress, Rollout
from podium.delivery.buckets import arms_at
from podium.delivery.choose import Chooser
from podium.gateway.bursts import Bursts
from podium.testing.events import make_event

S = 10**9


class Watching:
    def __init__(self, most=3):
        self.bursts = Bursts()
        self.rollout = Rollout(model="m", candidate="v2", analysis=Analysis(burst_errors=most))
        self.follow()

    def follow(self, salt="s", changed_unix_s=1.0):
        arms = arms_at(self.rollout, 0, "v1")
        progress = Progress(phase="running", before="v1", salt=salt, arms=arms, changed_unix_s=changed_unix_s)
        self.arm = self.bursts.follow([Chooser("r", self.rollout, progress)])["r", "candidate"]

    def usually(self, seconds):
        self.bursts.observe(make_event(rollout="r", arm="baseline", first_byte_ns=int(seconds * S)))

    def begin(self, at_s):
        exchange = Exchange("chat.completions", request_id="", started_unix_ns=0, started_at_ns=0)
        exchange.admitted_at_ns = int(at_s * S) + 1
        return self.arm.begin(exchange), exchange


@pytest.mark.parametrize(("usual_s", "patience_s"), [(None, 60), (0.5, 10), (20, 60), (40, 120)])
def test_it_hangs_when_several_wait_far_longer_than_usual(usual_s, patience_s):
    watching = Watching()
    if usual_s is not None:
        watching.usually(0.1)
        watching.usually(usual_s)
    assert all(watching.begin(at_s)[0] for at_s in (0, 1, 2))
    assert watching.begin(2 + patience_s - 0.01)[0]
    assert not watching.begin(2 + patience_s)[0]
    assert watching.arm.burst.tripped == "hangs"
    assert (watching.arm.burst.failures, watching.arm.burst.of) == (3, 3)


def test_those_that_were_answered_or_ended_do_not_wait():
    watching = Watching()
    exchanges = [watching.begin(at_s)[1] for at_s in (0, 1, 2)]
    exchanges[1].first_byte_at_ns = 5
    assert watching.begin(100)[0]
    assert watching.begin(101)[0]
    exchanges[0].fail(ClientGone("gone"))
    exchanges[2].status = 200
    assert all(watching.begin(at_s)[0] for at_s in (200, 201, 202, 203))
    assert watching.arm.burst.tripped is None


def test_another_revision_of_the_same_run_keeps_what_is_known_and_another_run_does_not():
    watching = Watching(most=1)
    watching.usually(1)
    watching.begin(0)
    watching.follow(changed_unix_s=2.0)
    watching.usually(2)
    assert not watching.begin(11)[0]
    assert watching.bursts.tripped()[0].changed_unix_s == 2.0
    watching.follow(salt="t")
    assert watching.begin(12)[0]
    assert watching.bursts.tripped() == ()


@pytest.mark.parametrize(
    ("event", "counted"),
    [
        ({"reason": "client_gone", "fault": "caller", "first_byte_ns": -1, "ended_ns": 11 * S}, True),
        ({"reason": "client_gone", "fault": "caller", "first_byte_ns": -1, "ended_ns": 9 * S}, False),
        ({"reason": "client_gone", "fault": "caller", "first_byte_ns": S, "ended_ns": 11 * S}, False),
        ({"reason": "draining", "fault": "podium", "status": 503}, False),
        ({"reason": "no_backend", "fault": "podium", "status": 503}, True),
        ({"reason": "upstream_rejected", "fault": "caller", "status": 400}, False),
    ],
)
def test_what_tells_something_of_a_version_counts(event, counted):
    watching = Watching(most=1)
    watching.bursts.observe(make_event(rollout="r", arm="candidate", **event))
    assert bool(watching.bursts.tripped()) is counted
    assert watching.arm.burst.seen == counted
