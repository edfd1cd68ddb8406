"""What is taken for the version before, as it was until the switch."""

import msgspec

from podium.core.rollouts import Progress, Rollout, Step
from podium.delivery.analysis.before import FEWEST_BEFORE, reference_from, stood_before
from podium.delivery.analysis.observed import ArmSeen, Observed
from podium.delivery.analysis.tally import COUNTS, span_us
from podium.delivery.buckets import arms_at

START_S = 1_760_000_000.0
BLUE_GREEN = Rollout(model="m", candidate="new", strategy="blue_green")
CANARY = Rollout(model="m", candidate="new", steps=tuple(Step(percent=one) for one in (5, 25, 75, 100)))


def at(rollout, step):
    return Progress(
        phase="running",
        before="old",
        salt="s",
        step=step,
        arms=arms_at(rollout, step, "old"),
        started_unix_s=START_S,
        step_unix_s=START_S + 100 * step,
    )


def seen(arm, step, exchanges):
    began_s = START_S + 100 * step
    counts = (exchanges, *(0 for _ in COUNTS[1:]))
    return ArmSeen(arm, span_us(began_s), step, arm, int(began_s * 1e9), int((began_s + 99) * 1e9), counts)


def test_while_the_version_before_serves_there_is_no_time_before():
    for step in range(3):
        assert stood_before(CANARY, at(CANARY, step), [seen("baseline", step, 1000)]) is None
    assert stood_before(BLUE_GREEN, at(BLUE_GREEN, 0), [seen("baseline", 0, 1000)]) is None
    shadow = Rollout(model="m", candidate="new", strategy="shadow")
    assert stood_before(shadow, at(shadow, 0), ()) is None


def test_after_a_blue_green_switch_it_is_the_time_of_tests():
    arms = (seen("baseline", 0, 700), seen("candidate", 1, 50), seen("baseline", 1, 3))  # a gateway that heard late
    stood = stood_before(BLUE_GREEN, at(BLUE_GREEN, 1), arms)
    assert (stood.step, stood.step_unix_s, [arm.name for arm in stood.arms]) == (0, START_S, ["baseline"])
    reference = reference_from(BLUE_GREEN, stood, Observed(arms))
    assert (reference.exchanges, reference.enough, reference.version) == (700, True, "old")
    assert reference.sentence == "`old` had 700 exchanges from 2025-10-09 08:53:20 to 08:54:59 UTC"
    assert stood_before(BLUE_GREEN, at(BLUE_GREEN, 1), arms[1:]) is None


def test_after_a_canary_it_is_the_newest_stretch_with_enough_of_it():
    arms = [seen("baseline", 0, 150), seen("baseline", 1, 600), seen("baseline", 2, FEWEST_BEFORE)]
    newest = stood_before(CANARY, at(CANARY, 3), arms)
    assert newest.step == 2  # a quarter of the subjects: what it showed before is of other shares
    assert reference_from(CANARY, newest, Observed(tuple(arms))).exchanges == FEWEST_BEFORE
    arms[2] = seen("baseline", 2, FEWEST_BEFORE - 1)
    earlier = stood_before(CANARY, at(CANARY, 3), arms)
    assert earlier.step == 1
    assert reference_from(CANARY, earlier, Observed(tuple(arms))).exchanges == 750  # of two steps that are alike
    few = stood_before(CANARY, at(CANARY, 3), [seen("baseline", 1, 20), seen("baseline", 2, 10)])
    assert (few.step, reference_from(CANARY, few, Observed((seen("baseline", 1, 20),))).enough) == (1, False)
    assert stood_before(CANARY, at(CANARY, 3), ()) is None


def test_a_pause_changes_nothing():
    arms = (seen("baseline", 0, 700),)
    paused = msgspec.structs.replace(at(BLUE_GREEN, 1), phase="paused")
    assert stood_before(BLUE_GREEN, paused, arms).step == 0
