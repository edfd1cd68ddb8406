"""What the version before showed until the switch, for the watch of a step at which nobody has it any more.

Nothing is kept for this: the version before is an arm of the rollout as long as it serves anybody, a blue-green one's
while green is tested, and its sums are those of every arm. So whoever looks reads the same, whenever the control plane
was killed, and exchanges that ended after the switch are in as well.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from msgspec.structs import replace

from podium.core.rollouts import Progress, Rollout
from podium.delivery.analysis.observed import ArmSeen, Observed, comparable, shares_of
from podium.delivery.buckets import BASELINE, arms_at, steps_of

__all__ = ["FEWEST_BEFORE", "Reference", "reference_from", "stood_before"]

FEWEST_BEFORE = 200  # exchanges of the version before: with fewer nothing is watched by them


@dataclass(frozen=True, slots=True)
class Reference:
    """The version before, as it was until the switch."""

    version: str
    observed: Observed
    exchanges: int
    first_unix_s: float
    last_unix_s: float

    @property
    def enough(self) -> bool:
        """Whether anything can be told from so much."""
        return self.exchanges >= FEWEST_BEFORE

    @property
    def sentence(self) -> str:
        """What was seen of it, and when; "before the switch" is for the caller to say."""
        if not self.exchanges:
            return f"`{self.version}` had no exchange"
        first, last = (datetime.fromtimestamp(one, UTC) for one in (self.first_unix_s, self.last_unix_s))
        return f"`{self.version}` had {self.exchanges} exchanges from {first:%Y-%m-%d %H:%M:%S} to {last:%H:%M:%S} UTC"


def stood_before(rollout: Rollout, progress: Progress, seen: Iterable[ArmSeen]) -> Progress | None:
    """The rollout as it stood when the version before was counted last, and often enough.

    None: it is counted still, or never was.
    """
    watched = rollout.analysis is not None and rollout.strategy in ("canary", "blue_green")
    if not watched or BASELINE in shares_of(progress.arms):
        return None
    mine = [arm for arm in seen if arm.name == BASELINE]
    most, found = 0, None
    for one in sorted(mine, key=lambda arm: arm.span_us, reverse=True):
        if one.step >= min(progress.step, len(steps_of(rollout))):
            continue
        arms = arms_at(rollout, one.step, progress.before)
        stood = replace(progress, step=one.step, step_unix_s=one.span_us / 1e6, arms=arms)
        exchanges = sum(arm.exchanges for arm in _taken(rollout, stood, mine))
        if exchanges > most:
            most, found = exchanges, stood
        if most >= FEWEST_BEFORE:
            break
    return found


def reference_from(rollout: Rollout, stood: Progress, observed: Observed) -> Reference:
    """`observed`: of the rollout as it stood."""
    taken = _taken(rollout, stood, [arm for arm in observed.arms if arm.name == BASELINE])
    return Reference(
        version=stood.before,
        observed=observed,
        exchanges=sum(arm.exchanges for arm in taken),
        first_unix_s=min((arm.first_unix_ns for arm in taken), default=0) / 1e9,
        last_unix_s=max((arm.last_unix_ns for arm in taken), default=0) / 1e9,
    )


def _taken(rollout: Rollout, stood: Progress, seen: Sequence[ArmSeen]) -> list[ArmSeen]:
    """Those of the stretches that are looked at together with the one that it stood at."""
    spans = comparable(rollout, stood, {arm.span_us: arm.step for arm in seen})
    return [arm for arm in seen if arm.span_us in spans]
