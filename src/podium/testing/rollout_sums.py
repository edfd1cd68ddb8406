"""The sums of a rollout with as many exchanges as one likes, made directly: for measuring what a look at it costs."""

import random

from podium.core.rollouts import Progress, Rollout, Step
from podium.delivery.analysis.measures import MEASURES
from podium.delivery.analysis.tally import CLUSTERS, WIDTH, ArmKey, ArmTotals, CellKey, Tally, span_us
from podium.delivery.buckets import BASELINE, CANDIDATE, arms_at
from podium.store.sql.database import Database
from podium.store.sql.rollout_sums import Spans, add_tally

__all__ = ["BIG_ROLLOUT", "big_progress", "put_big_rollout"]

_START_S = 1_760_000_000.0
_STEP_S = 10_000.0
_COMPARED = 3  # steps with a baseline of the candidate's size

BIG_ROLLOUT = Rollout(
    model="m",
    candidate="new",
    steps=(Step(percent=5), Step(percent=25), Step(percent=50), Step(percent=100)),
)


def big_progress() -> Progress:
    """Where `BIG_ROLLOUT` stands: all of its exchanges are looked at together."""
    return Progress(
        phase="running",
        before="old",
        salt="s",
        step=_COMPARED - 1,
        arms=arms_at(BIG_ROLLOUT, _COMPARED - 1, "old"),
        started_unix_s=_START_S,
        step_unix_s=_START_S + (_COMPARED - 1) * _STEP_S,
    )


async def put_big_rollout(database: Database, name: str, exchanges: int, *, backends: int = 2) -> float:
    """Put so many exchanges' sums into a migrated database; returns a time at which to look, seconds."""
    tally, chance, steps = Tally(), random.Random(1), {}  # noqa: S311 - the same numbers each time
    each = exchanges / (_COMPARED * 2 * backends * CLUSTERS)
    for step in range(_COMPARED):
        began_s = _START_S + step * _STEP_S
        steps[span_us(began_s)] = step
        for arm in (CANDIDATE, BASELINE):
            _add_arm(tally, ArmKey(name, span_us(began_s), arm), began_s, exchanges // (2 * _COMPARED))
            for backend in range(backends):
                for cluster in range(CLUSTERS):
                    key = CellKey(name, span_us(began_s), arm, f"p/{backend}", cluster)
                    tally.cells[key] = _row(round(each * chance.uniform(0.8, 1.2)), chance)
    async with database.write() as connection:
        await add_tally(connection, tally, {name: Spans(tuple(steps), steps)})
    return _START_S + _COMPARED * _STEP_S


def _add_arm(tally: Tally, key: ArmKey, began_s: float, exchanges: int) -> None:
    arm = tally.arms[key] = ArmTotals()
    arm.version = key.arm
    arm.first_unix_ns, arm.last_unix_ns = int(began_s * 1e9), int((began_s + _STEP_S - 1) * 1e9)
    arm.counts[0] = exchanges


def _row(exchanges: int, chance: random.Random) -> list[float]:
    """One in a hundred fails in every way; other measures are about 6."""
    row = [float(exchanges)] + [0.0] * (WIDTH - 1)
    for number, measure in enumerate(MEASURES):
        level = chance.uniform(0.0099, 0.0101) if measure.endswith("_rate") else chance.gauss(6, 0.05)
        row[2 * number + 1], row[2 * number + 2] = exchanges * level, float(exchanges)
    return row
