"""Control is killed inside every transition of an experiment, and begun anew: it goes on exactly there."""

import pytest
from sqlalchemy import text

from podium.control.rollouts.loop import RolloutLoop
from podium.control.rollouts.ports import Trip
from podium.control.rollouts.standing import Standings
from podium.control.rollouts.use import Rollouts
from podium.delivery.analysis.observed import shares_of
from podium.delivery.phases import Happening


class Killed(BaseException):
    """The process ends here."""


class Deadly:
    """Something whose n-th call, counted over all of them, is the last thing that the process does.

    `fuse`: how many are left; the name of the last one follows it.
    """

    def __init__(self, inner, fuse, *, after):
        self._inner, self._fuse, self._after = inner, fuse, after

    def __getattr__(self, name):
        method = getattr(self._inner, name)

        async def call(*arguments, **named):
            self._fuse[0] -= 1
            if self._fuse[0] == 0:
                self._fuse.append(name)
            if self._fuse[0] == 0 and not self._after:
                raise Killed
            result = await method(*arguments, **named)
            if self._fuse[0] == 0 and self._after:
                raise Killed
            return result

        return call


def loop_of(world, fuse, *, after):
    """A loop that remembers nothing, and may be killed."""
    standings = Standings(Deadly(world.resource_store, fuse, after=after))
    analyst = Deadly(world.analyst, fuse, after=after)
    return RolloutLoop(standings, world.clock, analyst=analyst, gateways=world.gateways, tick_s=5, prepare_s=60)


async def look(world, fuse, *, after):
    """Rounds of a loop that is begun anew when it was killed, until nothing changes any more."""
    loop = loop_of(world, fuse, after=after)
    for _ in range(3):
        try:
            await loop.once()
        except Killed:
            await loop._trials.close()
            loop = loop_of(world, fuse, after=after)
    await loop._trials.close()
    return (await Standings(world.resource_store).one("prompts")).progress


async def moves(world):
    """How many revisions moved it."""
    revisions = await world.resource_store.revisions(before=None, limit=100)
    return sum(any(change.kind == "Progress" for change in one.changes) for one in revisions)


WRITING = 5  # the call that writes, of a look at what gateways took out


async def test_an_arm_that_gateways_took_out_ends_once_whenever_control_is_killed(world):
    await world.declare(arms=("long", "short", "odd"))
    for death, after in [*((death, False) for death in range(1, WRITING + 1)), (WRITING, True)]:
        await world.experiments.start("prompts", author="anna")
        await world.happen(Happening.PREPARED)
        salt, before = (await world.standing()).progress.salt, await moves(world)
        world.gateways.tripped = (Trip(rollout="prompts", salt=salt, arm="odd", gateway="g", detail="dead"),)
        fuse = [death]
        progress = await look(world, fuse, after=after)

        assert fuse[0] <= 0
        assert (fuse[1] == "commit") == (death == WRITING)
        await ended_once(world, progress, before)
        await world.experiments.stop("prompts", author="anna")


@pytest.mark.parametrize(("death", "after", "call"), [(5, False, "keep"), (6, False, "commit"), (6, True, "commit")])
async def test_an_arm_whose_guardrail_fails_ends_once_whenever_control_is_killed(world, death, after, call):
    await world.start(arms=("long", "short", "odd"), metrics=["error_rate"], samples=100_000)
    await world.traffic(300, spoilt="odd")
    before, fuse = await moves(world), [death]
    progress = await look(world, fuse, after=after)

    assert fuse[1:] == [call]
    assert progress.ended[0].measure == "error_rate"
    await ended_once(world, progress, before)


async def ended_once(world, progress, moves_before):
    assert (progress.phase, [end.arm for end in progress.ended], len(progress.changes)) == ("running", ["odd"], 1)
    assert shares_of(progress.arms) == {"long": 6667, "short": 3333}
    assert await moves(world) == moves_before + 1
    assert (await world.rollouts.evidence("prompts", progress.evidence)).happening == "arm_ended"


@pytest.mark.parametrize(("winner", "after"), [("", False), ("short", False), ("short", True)])
async def test_it_is_stopped_whole_or_not_at_all_whenever_control_is_killed(world, winner, after):
    """Who is told nothing looks, and says it again."""
    await world.start()
    await world.traffic(300)
    before, phase = await moves(world), "running"
    for death in range(1, 20):
        fuse = [death]
        standings = Standings(Deadly(world.resource_store, fuse, after=after))
        keeper = Deadly(world.analyst, fuse, after=after)
        world.experiments._rollouts = Rollouts(standings, world.clock, shelf=world.store, keeper=keeper)
        try:
            await world.experiments.stop("prompts", author="anna", winner=winner)
        except Killed:
            pass
        else:
            assert fuse[0] > 0
        phase = (await Standings(world.resource_store).one("prompts")).progress.phase
        if phase != "running":
            break

    progress = (await Standings(world.resource_store).one("prompts")).progress
    assert phase == ("promoted" if winner else "aborted")
    assert await moves(world) == before + 1
    assert death > 2
    await forget(world)
    report = await world.experiments.report("prompts")
    assert (report.phase, report.winner, sum(arm.exchanges for arm in report.arms)) == (phase, winner, 300)
    assert progress.evidence


async def forget(world):
    """The sums are gone."""
    async with world.store._database.write() as connection:
        for table in ("rollout_cells", "rollout_minutes", "rollout_arms", "rollout_times", "rollout_tenants"):
            await connection.execute(text(f"DELETE FROM {table}"))
