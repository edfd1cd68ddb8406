from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.errors import Conflict
from podium.core.rollouts import (
    ACTIVE_PHASES,
    BUCKETS,
    Analysis,
    Approval,
    Arm,
    Phase,
    Progress,
    Rollout,
    RolloutStrategy,
    Step,
)
from podium.delivery.phases import (
    TABLE,
    WAITS_FOR_APPROVAL,
    Guard,
    Happening,
    Reason,
    next_progress,
    promoted_version,
    step_of,
)

CANARY = Rollout(model="m", candidate="v2", steps=(Step(percent=5), Step(percent=50), Step(percent=100)))
AB = Rollout(model="m", strategy="ab", arms=(Arm(name="a", version="v1"), Arm(name="b", version="v2")))
LOOP = "podium/rollouts"


def after(rollout, *happenings, **more):
    """Where a rollout stands after these, each at another second and by alice, or whom the pair names."""
    progress = None
    for second, one in enumerate(happenings):
        happening, author = one if isinstance(one, tuple) else (one, "alice")
        progress = next_progress(
            rollout, progress, Happening(happening), 1000.0 + second, author=author, before="v1", salt="s", **more
        )
    return progress


def shares(progress):
    return {arm.name: (arm.first, arm.count) for arm in progress.arms}


def test_a_canary_goes_step_by_step_to_its_end():
    start = after(CANARY, "started")
    assert (start.phase, start.reason, start.arms, start.before, start.salt) == ("preparing", "started", (), "v1", "s")
    first = after(CANARY, "started", "prepared")
    assert (first.phase, first.step, shares(first)) == (
        "running",
        0,
        {"candidate": (0, 500), "baseline": (9500, 500)},
    )
    second = next_progress(CANARY, first, Happening.STEP_DONE, 2000.0)
    assert (second.phase, second.step, second.step_unix_s) == ("running", 1, 2000.0)
    assert shares(second) == {"candidate": (0, 5000), "baseline": (5000, 5000)}
    third = next_progress(CANARY, second, Happening.STEP_DONE, 3000.0)
    assert shares(third) == {"candidate": (0, BUCKETS)}
    last = next_progress(CANARY, third, Happening.STEP_DONE, 4000.0)
    assert (last.phase, last.reason, last.arms, last.started_unix_s) == ("promoted", "all_steps_done", (), 1000.0)
    assert promoted_version(CANARY, last) == "v2"


@pytest.mark.parametrize(
    ("happening", "phase", "reason"),
    [
        ("failed", "returned", "metric_failed"),
        ("burst", "returned", "burst"),
        ("aborted", "aborted", "aborted"),
        ("paused", "paused", "paused"),
        ("error", "paused", "analysis_error"),
        ("promoted_fully", "promoted", "promoted"),
    ],
)
def test_what_happens_at_a_step_leads_where_the_table_says(happening, phase, reason):
    progress = after(CANARY, "started", "prepared", happening)
    assert (progress.phase, progress.reason) == (phase, reason)
    assert bool(progress.arms) == (phase == "paused")


@pytest.mark.parametrize("field", ["no_data", "inconclusive", "sample_ratio_mismatch"])
@pytest.mark.parametrize(("policy", "phase"), [("hold", "paused"), ("return", "returned"), ("go_on", "running")])
def test_what_cannot_be_judged_goes_by_policy(field, policy, phase):
    happening = "mismatch" if field == "sample_ratio_mismatch" else field
    rollout = Rollout(model="m", candidate="v2", analysis=Analysis(**{field: policy}))
    progress = after(rollout, "started", "prepared", happening)
    assert progress.phase == phase
    assert progress.step == (1 if policy == "go_on" and happening != "mismatch" else 0)


def test_a_hold_is_over_when_its_cause_is_but_a_pause_of_an_operator_is_not():
    held = after(CANARY, "started", "prepared", "no_data")
    assert next_progress(CANARY, held, Happening.CLEARED, 9.0).phase == "running"
    assert after(CANARY, "started", "prepared", "paused", "cleared").phase == "paused"
    assert after(CANARY, "started", "prepared", "no_data", "paused", "cleared").reason == "paused"


def test_a_pause_keeps_step_arms_and_clock():
    running, paused = after(CANARY, "started", "prepared"), after(CANARY, "started", "prepared", "paused")
    resumed = next_progress(CANARY, paused, Happening.RESUMED, 5000.0)
    assert paused.arms == resumed.arms == running.arms
    assert resumed.step_unix_s == running.step_unix_s


def test_a_step_that_pauses_waits_for_an_operator():
    rollout = Rollout(model="m", candidate="v2", steps=(Step(percent=5, pause=True), Step(percent=100)))
    waiting = after(rollout, "started", "prepared", "step_done")
    assert (waiting.phase, waiting.reason, waiting.step) == ("paused", "waits_for_operator", 0)
    assert after(rollout, "started", "prepared", "step_done", "promoted").step == 1


def test_blue_and_green_switch_at_once_when_told():
    rollout = Rollout(model="m", candidate="v2", strategy="blue_green", approval=Approval(before=("promote",)))
    green = after(rollout, "started", "prepared")
    assert (green.phase, shares(green), step_of(rollout, green).percent) == ("running", {"baseline": (0, BUCKETS)}, 0)
    waits = after(rollout, "started", "prepared", "step_done", "promoted")
    assert (waits.reason, shares(waits), waits.asked_by) == ("waits_for_step", {"baseline": (0, BUCKETS)}, "alice")
    switched = next_progress(rollout, waits, Happening.APPROVED, 7.0, author="bob")
    assert (switched.phase, shares(switched)) == ("running", {"candidate": (0, BUCKETS)})
    assert next_progress(rollout, switched, Happening.STEP_DONE, 8.0).phase == "promoted"


def test_a_mirrored_candidate_is_compared_with_those_it_is_a_copy_of_and_never_promoted_by_itself():
    rollout = Rollout(model="m", candidate="v2", strategy="shadow", steps=(Step(percent=10),))
    running = after(rollout, "started", "prepared")
    assert running.mirrored
    assert shares(running) == {"candidate": (0, 1000), "baseline": (0, 1000)}
    assert after(rollout, "started", "prepared", "step_done").reason == "seen_enough"
    assert after(rollout, "started", "prepared", "step_done", "promoted").phase == "promoted"


def test_an_ab_test_is_promoted_by_the_name_of_its_winner():
    seen = after(AB, "started", "prepared", "step_done")
    assert (seen.phase, seen.reason) == ("paused", "seen_enough")
    with pytest.raises(Conflict, match=r"name the arm.*: a, b"):
        next_progress(AB, seen, Happening.PROMOTED, 9.0)
    won = next_progress(AB, seen, Happening.PROMOTED, 9.0, winner="b")
    assert (won.phase, promoted_version(AB, won)) == ("promoted", "v2")


def test_promotion_waits_for_other_people():
    rollout = Rollout(model="m", strategy="ab", arms=AB.arms, approval=Approval(approvals=2))
    asked = next_progress(
        rollout, after(rollout, "started", "prepared"), Happening.PROMOTED, 5.0, author="a", winner="b"
    )
    assert (asked.phase, asked.reason, asked.asked_by) == ("paused", "waits_for_promotion", "a")
    with pytest.raises(Conflict, match="who asked"):
        next_progress(rollout, asked, Happening.APPROVED, 6.0, author="a")
    one = next_progress(rollout, asked, Happening.APPROVED, 6.0, author="b")
    assert (one.phase, one.approved_by, one.asked_by) == ("paused", ("b",), "a")
    with pytest.raises(Conflict, match="approved it already"):
        next_progress(rollout, one, Happening.APPROVED, 6.0, author="b")
    with pytest.raises(Conflict, match="waits for approvals"):
        next_progress(rollout, one, Happening.PROMOTED, 6.0, author="b", winner="a")
    done = next_progress(rollout, one, Happening.APPROVED, 7.0, author="c")
    assert (done.phase, done.approved_by, done.asked_by, done.winner) == ("promoted", ("b", "c"), "", "b")


def test_a_start_and_a_step_wait_for_other_people():
    rollout = Rollout(model="m", candidate="v2", approval=Approval(before=("start", "step")))
    assert after(rollout, "started").phase == "pending"
    preparing = after(rollout, "started", ("approved", "bob"))
    assert (preparing.phase, preparing.started_unix_s) == ("preparing", 1001.0)
    waits = after(rollout, "started", ("approved", "bob"), "prepared", ("step_done", LOOP))
    assert (waits.phase, waits.step, waits.asked_by) == ("paused", 0, LOOP)
    assert after(rollout, "started", ("approved", "bob"), "prepared", ("step_done", LOOP), "approved").step == 1


def test_what_has_ended_starts_anew_with_other_buckets():
    ended = after(CANARY, "started", "prepared", "step_done", "failed")
    again = next_progress(CANARY, ended, Happening.STARTED, 9.0, before="v1", salt="t")
    assert (again.phase, again.step, again.salt) == ("preparing", 0, "t")


def test_what_is_not_possible_is_told_to_operators_and_late_news_change_nothing():
    with pytest.raises(Conflict, match="pending"):
        next_progress(CANARY, None, Happening.PAUSED, 1.0)
    ended = after(CANARY, "started", "aborted")
    with pytest.raises(Conflict, match="aborted; it cannot be resumed"):
        next_progress(CANARY, ended, Happening.RESUMED, 1.0)
    for late in ("step_done", "failed", "burst", "no_data", "error", "cleared", "prepared"):
        assert next_progress(CANARY, ended, Happening(late), 1.0) is ended


def test_the_table_is_whole():
    assert {row.happening for row in TABLE} == set(Happening)
    assert {row.guard for row in TABLE} == set(Guard)
    assert {row.reason for row in TABLE} - {None} == set(Reason)
    assert {row.phase for row in TABLE} | {row.to for row in TABLE} == set(get_args(Phase))
    for row in TABLE:  # nothing behind a row that always holds
        same = [one for one in TABLE if (one.phase, one.happening) == (row.phase, row.happening)]
        assert row.guard is not Guard.ALWAYS or same[-1] is row


approvals = st.none() | st.builds(
    Approval,
    before=st.lists(st.sampled_from(["start", "step", "promote"]), min_size=1, unique=True).map(tuple),
    approvals=st.integers(1, 3),
)
policies = st.sampled_from(["hold", "return", "go_on"])
analyses = st.none() | st.builds(Analysis, no_data=policies, inconclusive=policies, sample_ratio_mismatch=policies)
steps = st.lists(st.floats(0, 100), max_size=4).flatmap(
    lambda percents: st.lists(st.booleans(), min_size=len(percents) + 1, max_size=len(percents) + 1).map(
        lambda pauses: tuple(
            Step(percent=percent, pause=pause) for percent, pause in zip([*sorted(percents), 100], pauses, strict=True)
        )
    )
)


@st.composite
def rollouts(draw):
    strategy = draw(st.sampled_from(get_args(RolloutStrategy)))
    more = {"arms": AB.arms} if strategy == "ab" else {"candidate": "v2"}
    return Rollout(
        model="m", strategy=strategy, steps=draw(steps), approval=draw(approvals), analysis=draw(analyses), **more
    )


@given(rollouts(), st.lists(st.tuples(st.sampled_from(Happening), st.sampled_from("abcd")), max_size=40))
def test_whatever_happens_in_whatever_order_a_rollout_stands_somewhere_sensible(rollout, happenings):
    progress, second = None, 0.0
    for happening, author in happenings:
        second += 1
        try:
            new = next_progress(
                rollout,
                progress,
                happening,
                second,
                author=author,
                before="v1",
                salt="s",
                winner="a" if rollout.strategy == "ab" and "promoted" in happening else "",
            )
        except Conflict:
            continue
        check(rollout, progress, new, happening, author)
        progress = new


def check(rollout: Rollout, old: Progress | None, new: Progress, happening: Happening, author: str) -> None:
    assert step_of(rollout, new)
    assert bool(new.arms) <= (new.phase in ("running", "paused"))
    assert new.mirrored <= (rollout.strategy == "shadow")
    assert (new.reason in WAITS_FOR_APPROVAL) == bool(new.asked_by)
    if new is not old:
        assert Reason(new.reason)
    if new.phase == "promoted":
        assert promoted_version(rollout, new) in ("v1", "v2")
    wanted = rollout.approval.before if rollout.approval is not None else ()
    if old is None or new is old:
        return
    if happening is Happening.ABORTED and old.phase in ACTIVE_PHASES:
        assert new.phase == "aborted"  # the way back is always open
    if happening in (Happening.FAILED, Happening.BURST) and old.phase in ("running", "paused"):
        assert new.phase == "returned"
    if new.phase == "promoted" and old.phase != "promoted" and "promote" in wanted and rollout.strategy != "blue_green":
        approved(rollout, old, new, author)
    if new.step > old.step and "step" in wanted:
        approved(rollout, old, new, author)


def approved(rollout: Rollout, old: Progress, new: Progress, author: str) -> None:
    assert rollout.approval is not None
    assert new.approved_by[-1] == author
    assert len(set(new.approved_by) - {old.asked_by}) == len(new.approved_by) >= rollout.approval.approvals
