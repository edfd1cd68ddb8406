"""Experiments under the loop: they end by their design, arms go, shares change, and nothing is promoted."""

import pytest
from sqlalchemy import text

from podium.delivery.analysis.observed import shares_of
from podium.delivery.buckets import handed_over
from podium.delivery.phases import Happening

CHEAPER = {"long": 1e6, "short": 0.8e6, "odd": 1e6}


async def look(world):
    await world.loop.once()
    return (await world.standing()).progress


async def test_at_its_planned_sample_it_waits_for_a_person(world):
    await world.start()
    await world.traffic(400)
    progress = await look(world)
    assert progress.phase == "running"
    await world.traffic(400)
    progress = await look(world)

    assert (progress.phase, progress.reason) == ("paused", "seen_enough")
    assert progress.detail.startswith("every arm has its planned sample: long ")
    assert progress.detail.endswith("of 300 exchanges")
    assert sum(shares_of(progress.arms).values()) == 10_000  # arms keep their subjects
    assert progress.evidence
    assert (await look(world)) == progress


async def test_not_before_the_least_time_of_its_step(world):
    await world.start(steps=[{"percent": 100, "minimum_s": 60}])
    await world.traffic(800)
    assert (await look(world)).phase == "running"
    world.clock.advance(60)
    assert (await look(world)).phase == "paused"


async def test_when_its_time_is_up_it_waits_whatever_was_seen(world):
    await world.start(at_most_s=3600)
    await world.traffic(20)
    world.clock.advance(3600)
    progress = await look(world)

    assert (progress.phase, progress.reason) == ("paused", "seen_enough")
    assert progress.detail.startswith("its time is up: ")


async def test_it_stops_when_it_is_decided_only_if_the_design_says_so(world):
    await world.start(samples=100_000, stop="when_decided")
    await world.traffic(600, costs=CHEAPER)
    assert (await look(world)).detail.startswith("the primary measure is decided")


async def test_else_it_goes_on(world):
    await world.start(samples=100_000)
    await world.traffic(600, costs=CHEAPER)
    assert (await look(world)).phase == "running"


async def test_longer_than_a_day_is_not_inconclusive(world):
    await world.start(samples=100_000)
    await world.traffic(100)
    for _ in range(30):
        world.clock.advance(3600)
        await world.traffic(1)
        assert (await look(world)).phase == "running"


async def test_a_guardrail_that_fails_ends_its_arm_alone_and_the_first_one_has_its_subjects(world):
    await world.start(arms=("long", "short", "odd"), metrics=["error_rate"], samples=100_000)
    before = (await world.standing()).progress
    await world.traffic(900, spoilt="odd")
    progress = await look(world)

    assert progress.phase == "running"
    assert progress.arms == handed_over(before.arms, {"odd"}, (await world.standing()).rollout.arms[0])
    assert shares_of(progress.arms) == {"long": 6667, "short": 3333}
    assert (progress.design, progress.salt) == (before.design, before.salt)
    assert progress.detail.startswith("other shares: odd taken out, error_rate of arm `odd` is ")
    (end,) = progress.ended
    assert (end.arm, end.reason, end.measure, end.tolerance) == ("odd", "metric_failed", "error_rate", 0.05)
    assert end.unix_s == progress.step_unix_s == progress.changes[0].unix_s
    assert end.lower > 0.05
    assert progress.changes[0].shares == shares_of(progress.arms)

    await world.traffic(900)
    assert (await look(world)).arms == progress.arms
    report = await world.experiments.report("prompts")
    assert [arm.ended for arm in report.arms] == [None, None, end]
    assert any(told.startswith("Arm odd ended on ") for told in report.warnings)
    assert report.design == before.design
    assert report.design_unchanged
    assert not report.ratio.mismatch
    assert report.ratio.expected["long"] / report.ratio.expected["short"] == pytest.approx(3 / 2, rel=0.05)
    samples = {row.arm: row.samples for row in report.effects if row.role == "primary"}
    assert samples["short"] > 550  # of both periods
    assert 150 < samples["odd"] < 350  # until it ended


async def test_of_two_arms_a_guardrail_that_fails_ends_the_experiment(world):
    await world.start(metrics=["error_rate"])
    await world.traffic(900, spoilt="short")
    progress = await look(world)

    assert (progress.phase, progress.reason) == ("returned", "metric_failed")
    assert "arm `short`" in progress.detail
    assert not progress.ended


async def test_arms_end_one_by_one_until_the_last_two_end_together(world):
    await world.start(arms=("long", "short", "odd"), metrics=["error_rate"], samples=100_000)
    await world.traffic(900, spoilt="odd")
    assert (await look(world)).phase == "running"
    await world.traffic(1500, spoilt="short")
    progress = await look(world)

    assert (progress.phase, progress.reason) == ("returned", "metric_failed")
    assert [end.arm for end in progress.ended] == ["odd"]


async def test_arms_that_fail_at_once_end_at_once(world):
    await world.start(arms=("long", "short", "odd", "even"), metrics=["error_rate"], samples=100_000)
    await world.traffic(1600, spoilt=("odd", "even"))
    progress = await look(world)

    assert [end.arm for end in progress.ended] == ["even", "odd"]
    assert shares_of(progress.arms) == {"long": 7500, "short": 2500}
    assert len(progress.changes) == 1


async def test_an_arm_ends_in_a_pause_too_which_goes_on(world):
    await world.start(arms=("long", "short", "odd"), metrics=["error_rate"], samples=100)
    await world.traffic(600)
    assert (await look(world)).reason == "seen_enough"
    await world.traffic(900, spoilt="odd")
    progress = await look(world)

    assert (progress.phase, progress.reason) == ("paused", "seen_enough")
    assert [end.arm for end in progress.ended] == ["odd"]
    assert (await look(world)) == progress


async def test_started_anew_all_its_arms_take_part_again(world):
    await world.start(arms=("long", "short", "odd"), metrics=["error_rate"])
    await world.traffic(900, spoilt="odd")
    assert (await look(world)).ended
    await world.experiments.stop("prompts", author="anna")
    await world.experiments.start("prompts", author="anna")
    await world.happen(Happening.PREPARED)
    progress = (await world.standing()).progress

    assert (progress.ended, progress.changes) == ((), ())
    assert set(shares_of(progress.arms)) == {"long", "short", "odd"}


async def test_shares_that_subjects_do_not_follow_hold_it_after_a_change_too(world, adaptive):
    await world.start(samples=100_000, adaptive=adaptive)
    await world.traffic(400, costs=CHEAPER)
    assert shares_of((await look(world)).arms) == {"long": 2500, "short": 7500}
    world.shares = {"long": 1, "short": 1}
    await world.traffic(1500, costs=CHEAPER)
    progress = await look(world)

    assert (progress.phase, progress.reason) == ("paused", "mismatch")
    assert progress.detail.startswith("arms have other shares of the subjects than they were given: long ")
    report = await world.experiments.report("prompts")
    assert report.ratio.mismatch
    assert not report.believable


async def test_a_guardrail_that_fails_takes_an_arm_out_of_an_adaptive_one(world, adaptive):
    await world.start(arms=("long", "short", "odd"), metrics=["error_rate"], samples=100_000, adaptive=adaptive)
    await world.traffic(900, spoilt="odd")
    progress = await look(world)

    assert progress.phase == "running"
    assert shares_of(progress.arms) == pytest.approx({"long": 5000, "short": 5000}, abs=2)
    assert progress.detail.startswith("other shares: odd taken out, error_rate of arm `odd`")
    assert progress.evidence
    await world.traffic(600)
    assert set(shares_of((await look(world)).arms)) == {"long", "short"}


async def test_in_a_freeze_arms_still_go_and_shares_do_not_change(world, adaptive):
    always = [
        {"days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], "start": "08:05"}
    ]  # the clock starts at 08:00
    design = {"samples": 100_000, "adaptive": adaptive}
    await world.start(arms=("long", "short", "odd"), metrics=["error_rate"], freeze=always, **design)
    world.clock.advance(600)
    await world.traffic(900, costs=CHEAPER)
    assert shares_of((await look(world)).arms)["short"] == 3333
    await world.traffic(900, costs=CHEAPER, spoilt="odd")
    assert "odd" not in shares_of((await look(world)).arms)


async def test_the_last_two_end_together(world, adaptive):
    await world.start(metrics=["error_rate"], samples=100_000, adaptive=adaptive)
    await world.traffic(900, spoilt="short")

    assert (await look(world)).phase == "returned"


async def test_shares_follow_what_is_seen_and_each_change_is_a_revision(world, adaptive):
    await world.start(samples=100_000, adaptive=adaptive)
    seen = []
    for _ in range(5):
        await world.traffic(400, costs=CHEAPER)
        seen.append(shares_of((await look(world)).arms)["short"])

    assert seen == [7500, 9000, 9000, 9000, 9000]
    newest = (await world.resource_store.revisions(before=None, limit=1))[0]
    assert newest.author == "podium/rollouts"
    assert newest.message == "rollout prompts: other shares: long 10.0%, short 90.0%"


async def test_a_design_that_was_changed_behind_its_back_ends_it(world):
    await world.start()
    await world.traffic(400)
    changed = text("UPDATE resources SET spec = replace(spec, :old, :new)")
    async with world.store._database.write() as connection:
        await connection.execute(changed, {"old": '"samples":300', "new": '"samples":3'})
    world.standings._known_revision = -1
    progress = await look(world)

    assert (progress.phase, progress.reason) == ("aborted", "aborted")
    assert "its design is not what it was when it started" in progress.detail


async def test_rollouts_without_a_design_are_judged_as_ever(world):
    await world.rollouts.start("plain", author="anna")
    standing = await world.standings.one("plain")
    judgement = await world.analyst.judge(standing, world.now_s)

    assert judgement.reason != "design_changed"
    assert standing.progress.design == ""


@pytest.mark.parametrize("behind_s", [0.0, 600.0])
async def test_while_the_ledger_is_behind_nothing_ends(world, behind_s):
    await world.start()
    await world.traffic(800)
    world.lag_s = behind_s
    assert (await look(world)).phase == ("running" if behind_s else "paused")


async def test_a_paused_one_keeps_its_shares(world, adaptive):
    await world.start(samples=100_000, adaptive=adaptive)
    await world.traffic(600, costs=CHEAPER)
    await world.happen(Happening.PAUSED)
    assert shares_of((await look(world)).arms) == {"long": 5000, "short": 5000}
