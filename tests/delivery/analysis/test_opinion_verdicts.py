"""What follows from opinions: those of users and of judges, and those that do not come."""

import pytest

from podium.delivery.analysis.tally import span_us
from podium.delivery.phases import Happening
from podium.testing.events import make_event


def opinions(kit, traffic, measure, value, *, arm="candidate", count=200):
    """So many of as many subjects."""
    for number in range(count):
        event = make_event(
            started_unix_ns=int(traffic.now_s * 1e9), rollout="r", arm=arm, backend="p/a", subject=f"{arm}-{number}"
        )
        traffic.tally.add_opinion(event, span_us(kit.START_S), measure, value)
    return traffic


@pytest.mark.parametrize("role", ["guardrail", "goal"])
def test_a_step_is_not_done_while_its_judge_is_silent(kit, role):
    rollout = kit.rollout(kit.Metric(name="judge_score", role=role), judge_model="j", inconclusive_after_s=3600)
    traffic = kit.Traffic(1).run(600)
    early = kit.verdict(traffic, rollout)
    assert (early.outcome, early.happening) == ("running", None)
    assert "judge_score of arm `candidate` has no data" in early.detail
    (metric,) = early.metrics
    assert metric.decision == "no_data"
    late = kit.verdict(traffic, rollout, kit.START_S + 3601, None)
    assert (late.outcome, late.reason, late.happening) == ("inconclusive", "no_data", Happening.NO_DATA)
    traffic.now_s = kit.START_S + 3590
    late = kit.verdict(traffic.run(100), rollout, kit.START_S + 3601)
    assert (late.outcome, late.reason, late.happening) == ("inconclusive", "time_is_up", Happening.INCONCLUSIVE)
    assert "judge_score of arm `candidate` has no data" in late.detail


def test_other_measures_go_on_while_the_judge_is_silent(kit):
    metrics = (kit.Metric(name="judge_score"), kit.Metric(name="error_rate", tolerance=0.005, absolute=True))
    traffic = kit.Traffic(2).run(2000, candidate=kit.failing(0.2))
    verdict = kit.verdict(traffic, kit.rollout(*metrics, judge_model="j"))
    assert (verdict.outcome, verdict.reason) == ("failed", "metric_worse")


def test_a_judge_that_is_only_informed_of_holds_nothing(kit):
    metrics = (kit.Metric(name="judge_score", role="info"),)
    verdict = kit.verdict(kit.Traffic(3).run(600), kit.rollout(*metrics, judge_model="j"))
    assert verdict.outcome == "success"


def test_users_who_say_nothing_hold_nothing(kit):
    metrics = (kit.Metric(name="thumbs_up_rate"),)
    assert kit.verdict(kit.Traffic(4).run(600), kit.rollout(*metrics)).outcome == "success"


def test_a_judge_that_prefers_the_old_version_fails_the_candidate(kit):
    metrics = (kit.Metric(name="judge_score", tolerance=0.05, absolute=True),)
    rollout = kit.rollout(*metrics, judge_model="j")
    worse = kit.verdict(opinions(kit, kit.Traffic(5).run(600), "judge_score", 0.0), rollout)
    assert (worse.outcome, worse.reason) == ("failed", "metric_worse")
    even = kit.verdict(opinions(kit, kit.Traffic(5).run(600), "judge_score", 0.5), rollout)
    assert even.outcome == "success"


def test_thumbs_down_fail_the_candidate(kit):
    rollout = kit.rollout(kit.Metric(name="thumbs_up_rate", tolerance=0.05, absolute=True))
    traffic = opinions(kit, kit.Traffic(6).run(600), "thumbs_up_rate", 0.0)
    verdict = kit.verdict(opinions(kit, traffic, "thumbs_up_rate", 1.0, arm="baseline"), rollout)
    assert (verdict.outcome, verdict.reason) == ("failed", "metric_worse")
    assert "thumbs_up_rate" in verdict.detail
