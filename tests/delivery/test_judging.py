from podium.core.rollouts import Analysis, Arm, Rollout
from podium.delivery.judging import judging_of

JUDGED = Analysis(judge_model="judge", judge_share=0.2)


def test_the_candidate_is_compared_with_the_version_before():
    for strategy in ("canary", "blue_green", "shadow"):
        judging = judging_of(Rollout(model="m", candidate="new", strategy=strategy, analysis=JUDGED), "old")
        assert (judging.model, judging.share, judging.arms, judging.other) == ("judge", 0.2, {"candidate"}, "old")


def test_arms_of_an_ab_test_are_compared_with_the_first():
    arms = tuple(Arm(name=name, version=f"{name}-1") for name in "abc")
    judging = judging_of(Rollout(model="m", strategy="ab", arms=arms, analysis=JUDGED), "old")
    assert (judging.arms, judging.other) == ({"b", "c"}, "a-1")


def test_without_a_judge_or_a_share_nobody_judges():
    for analysis in (None, Analysis(), Analysis(judge_model="judge", judge_share=0.0)):
        assert judging_of(Rollout(model="m", candidate="new", analysis=analysis), "old") is None
