import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from podium.core.resources import Model
from podium.core.rollouts import Arm, Progress, Rollout, Segment, Step
from podium.delivery.buckets import arms_at, with_weights
from podium.delivery.choose import Choice, Chooser, choose_version, choosers_of

CANARY = Rollout(model="m", candidate="new")
SUBJECTS = 4000


def chooser(rollout, step=0):
    arms = arms_at(rollout, step, "old")
    mirrored = rollout.strategy == "shadow"
    return Chooser(
        "r", rollout, Progress(phase="running", before="old", salt="s", step=step, arms=arms, mirrored=mirrored)
    )


def ask(one, user, *, tenant="t", key="k", session="", tier="", tags=""):
    return one.choose(tenant, key, user, session, tier, tags)[0]


def shares(one, **more):
    """How many percent of users get each arm."""
    counts = {}
    for n in range(SUBJECTS):
        chosen = ask(one, f"user-{n}", **more)
        counts[chosen.arm] = counts.get(chosen.arm, 0) + 100 / SUBJECTS
    return counts


def test_without_a_rollout_the_declared_version_serves():
    assert choose_version(Model(version="v1")) == ("v1", Choice.DECLARED)
    assert choosers_of({"r": CANARY}, {}) == {}
    done = Progress(phase="promoted", before="old", salt="s")
    assert choosers_of({"r": CANARY}, {"r": done}) == {}
    assert list(choosers_of({"r": CANARY}, {"r": replace(done, phase="preparing")})) == ["m"]


@pytest.mark.parametrize(("step", "candidate", "baseline"), [(0, 5, 5), (1, 25, 25), (2, 75, 25), (3, 100, 0)])
def test_arms_get_their_shares_of_subjects(step, candidate, baseline):
    counts = shares(chooser(CANARY, step))
    assert counts.get("candidate", 0) == pytest.approx(candidate, abs=3)
    assert counts.get("baseline", 0) == pytest.approx(baseline, abs=3)


def test_nobody_leaves_the_candidate_while_it_grows():
    users = [f"user-{n}" for n in range(SUBJECTS)]
    had = set()
    for step in range(4):
        one = chooser(CANARY, step)
        has = {user for user in users if ask(one, user).version == "new"}
        assert had <= has
        had = has
    assert len(had) == SUBJECTS


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_a_choice_is_made_the_same_everywhere_and_every_time(tenant, user, key):
    arguments = (tenant, key, user, "", "", "")
    assert chooser(CANARY, 1).choose(*arguments) == chooser(CANARY, 1).choose(*arguments)


def test_the_versions_are_those_of_the_arms():
    one = chooser(CANARY, 1)
    for n in range(1000):
        chosen = ask(one, f"user-{n}")
        assert (chosen.version == "new") == (chosen.arm == "candidate") == (chosen.choice is Choice.CANDIDATE)
    assert one.candidates == {"candidate"}
    assert one.versions == ("new", "old")


def test_weights_of_an_ab_test_change_and_only_who_has_to_moves():
    rollout = Rollout(
        model="m",
        strategy="ab",
        arms=(Arm(name="a", version="old"), Arm(name="b", version="new"), Arm(name="c", version="other", weight=2)),
        steps=(Step(percent=40),),
    )
    one = chooser(rollout)
    assert one.candidates == {"b", "c"}
    assert shares(one) == {
        "": pytest.approx(60, abs=3),
        "a": pytest.approx(10, abs=2),
        "b": pytest.approx(10, abs=2),
        "c": pytest.approx(20, abs=2),
    }
    arms = with_weights(rollout, one.progress, {"a": 1, "b": 2, "c": 1})
    other = Chooser("r", rollout, replace(one.progress, arms=arms))
    users = [f"user-{n}" for n in range(SUBJECTS)]
    moved = [(ask(one, user).arm, ask(other, user).arm) for user in users if ask(one, user) != ask(other, user)]
    assert set(moved) == {("c", "b")}
    assert len(moved) / SUBJECTS == pytest.approx(0.1, abs=0.03)


def test_a_rollout_is_about_its_segment_only():
    rollout = replace(CANARY, where=Segment(tenants=("pilot-*",)), steps=(Step(percent=100),))
    one = chooser(rollout)
    assert ask(one, "ann", tenant="pilot-1").version == "new"
    outside = ask(one, "ann", tenant="acme")
    assert (outside.version, outside.arm, outside.choice) == ("old", "", Choice.OUTSIDE_SEGMENT)


def test_who_got_the_candidate_as_a_pilot_keeps_it_and_is_not_compared():
    pilots = Segment(tags=("team=pilot",))
    steps = (Step(percent=100, where=pilots), Step(percent=5), Step(percent=100))
    rollout = replace(CANARY, steps=steps)
    first, second, third = (chooser(rollout, step) for step in range(3))
    for n in range(300):
        user = f"user-{n}"
        assert ask(first, user, tags="team=pilot").choice is Choice.CANDIDATE
        assert ask(first, user).choice is Choice.OUTSIDE_SEGMENT
        kept = ask(second, user, tags="team=pilot")
        assert (kept.version, kept.arm, kept.choice) == ("new", "", Choice.KEPT)
        assert ask(third, user, tags="team=pilot").arm == "candidate"
    assert shares(second)["candidate"] == pytest.approx(5, abs=2)


def test_a_mirrored_candidate_answers_nobody():
    one = chooser(Rollout(model="m", candidate="new", strategy="shadow", steps=(Step(percent=30),)))
    seen = [ask(one, f"user-{n}") for n in range(SUBJECTS)]
    assert {chosen.version for chosen in seen} == {"old"}
    assert {(chosen.arm, chosen.mirrored) for chosen in seen} == {("baseline", True), ("", False)}
    assert sum(chosen.mirrored for chosen in seen) / SUBJECTS == pytest.approx(0.3, abs=0.03)


def test_testers_choose_among_what_takes_part():
    one = chooser(CANARY)
    assert one.override("new").version == "new"
    assert one.override("old").choice is Choice.OVERRIDDEN
    assert one.override("other") is None
