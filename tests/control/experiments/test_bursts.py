"""What becomes of an experiment when gateways take arms of it out: before any statistics, and only those arms."""

import pytest

from podium.control.rollouts.ports import Trip
from podium.core.errors import InternalError
from podium.delivery.analysis.observed import shares_of
from podium.delivery.phases import Happening


async def tripped(world, *arms, salt=None, gateway="g1"):
    """Gateways tell that these are out, and control looks once."""
    progress = (await world.standing()).progress
    world.gateways.tripped = tuple(
        Trip(rollout="prompts", salt=salt or progress.salt, arm=arm, gateway=gateway, detail="10 of the last 10 failed")
        for arm in arms
    )
    await world.loop.return_tripped()
    return (await world.standing()).progress


@pytest.mark.parametrize("shares", ["fixed", "adaptive"])
@pytest.mark.parametrize("paused", [False, True])
async def test_only_the_arm_ends_that_gateways_took_out(world, adaptive, shares, paused):
    design = {"adaptive": adaptive} if shares == "adaptive" else {}
    await world.start(arms=("long", "short", "odd"), **design)
    await world.traffic(30)
    if paused:
        await world.happen(Happening.PAUSED)
    progress = await tripped(world, "odd")

    assert progress.phase == ("paused" if paused else "running")
    assert set(shares_of(progress.arms)) == {"long", "short"}
    assert shares_of(progress.arms)["short"] == pytest.approx(5000 if design else 3333, abs=1)
    (end,) = progress.ended
    assert (end.arm, end.reason, end.detail) == ("odd", "burst", "g1: 10 of the last 10 failed")
    assert progress.detail.startswith("other shares: odd taken out, g1: 10 of the last 10 failed; long ")
    bundle = await world.rollouts.evidence("prompts", progress.evidence)
    assert bundle.happening == "arm_ended"


async def test_what_gateways_still_tell_of_an_arm_that_is_out_ends_nothing(world):
    await world.start(arms=("long", "short", "odd"))
    first = await tripped(world, "odd")

    assert await tripped(world, "odd") == first
    assert await tripped(world, "odd", "short", salt="of an earlier run") == first


@pytest.mark.parametrize("arms", [("short", "odd"), ("long",)], ids=["all but the first", "the first"])
async def test_when_nothing_is_left_to_compare_the_experiment_ends(world, arms):
    await world.start(arms=("long", "short", "odd"))
    progress = await tripped(world, *arms)

    assert (progress.phase, progress.reason, progress.arms) == ("returned", "burst", ())
    assert progress.detail == "; ".join(["g1: 10 of the last 10 failed"] * len(arms))


async def test_with_one_arm_left_beside_the_first_it_ends(world):
    await world.start(arms=("long", "short", "odd"))
    await tripped(world, "odd")
    progress = await tripped(world, "odd", "short", gateway="g2")

    assert (progress.phase, progress.reason, progress.detail) == ("returned", "burst", "g2: 10 of the last 10 failed")
    assert (await world.experiments.report("prompts")).arms[2].ended.reason == "burst"


async def test_it_does_not_wait_for_an_analysis_that_cannot_be_made(world, monkeypatch):
    async def broken(standing, now_unix_s):
        raise InternalError("the analysis is broken")

    await world.start(arms=("long", "short", "odd"))
    monkeypatch.setattr(world.analyst, "judge", broken)

    assert [end.arm for end in (await tripped(world, "odd")).ended] == ["odd"]


async def test_a_plain_test_of_several_arms_ends_as_a_whole(world):
    """It has no design that goes on with fewer arms."""
    await world.apply(
        "{kind: Rollout, name: prompts, spec: {model: chat, strategy: ab, arms: [{name: long, version: v1},"
        " {name: short, version: v2}, {name: odd, version: v3}]}}"
    )
    await world.rollouts.start("prompts", author="anna")
    await world.happen(Happening.PREPARED)

    assert (await tripped(world, "odd")).phase == "returned"
