"""One subject who makes all the traffic, or nearly all, decides nothing: neither that a candidate is bad nor that it is good."""

import pytest

from podium.core.rollouts import ArmShare


@pytest.mark.parametrize("share", [0.0, 1.0])
@pytest.mark.parametrize("rate", [0.0, 0.5, 1.0])
def test_a_subject_that_is_alone_decides_nothing(kit, share, rate):
    traffic = kit.Traffic(1, subjects=1).run(3000, share=share, candidate=kit.failing(rate), baseline=kit.failing(rate))
    for rollout in (kit.rollout(), kit.rollout(minimum_subjects=1, sample_ratio_mismatch="go_on")):
        verdict = kit.verdict(traffic, rollout)
        assert (verdict.outcome, verdict.happening) == ("running", None), verdict
    late = kit.verdict(traffic, kit.rollout(inconclusive_after_s=60.0, no_data_after_s=1e6))
    assert (late.outcome, late.reason) == ("inconclusive", "time_is_up")


@pytest.mark.parametrize("arm", ["candidate", "baseline"])
def test_a_subject_whose_requests_mostly_fail_does_not_speak_for_its_arm(kit, arm):
    traffic = kit.Traffic(2).run(400)  # all is well, for 400 subjects in each arm
    traffic.subjects = 1
    traffic.run(3000, share=float(arm == "candidate"), **{arm: kit.failing(0.9)})
    verdict = kit.verdict(traffic, kit.rollout())
    assert verdict.outcome in {"running", "inconclusive"}, verdict
    assert not [one for one in verdict.metrics if one.decision == "worse"]


def test_nor_when_everybody_has_the_candidate(kit):
    progress = kit.progress(
        step=1, arms=(ArmShare(name="candidate", version="new", first=0, count=10_000),), started_unix_s=kit.START_S
    )
    traffic = kit.Traffic(3, subjects=1).run(3000, share=1.0, candidate=kit.failing(1.0))
    assert kit.verdict(traffic, kit.rollout(), progress=progress).outcome != "failed"
    many = kit.Traffic(3, subjects=50).run(3000, share=1.0, candidate=kit.failing(1.0))
    assert kit.verdict(many, kit.rollout(), progress=progress).reason == "plainly_broken"
