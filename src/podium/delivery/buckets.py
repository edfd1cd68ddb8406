"""Which buckets of subjects each arm of a rollout has. Laid out so that growing only adds, and nobody swaps arms."""

from collections.abc import Collection, Mapping, Sequence

from podium.core.rollouts import BUCKETS, Arm, ArmShare, Progress, Rollout, Step

__all__ = [
    "BASELINE",
    "CANDIDATE",
    "arms_at",
    "count_of",
    "handed_over",
    "shares_by_weight",
    "steps_of",
    "with_weights",
]

CANDIDATE = "candidate"
BASELINE = "baseline"
_WHOLE_PERCENT = 100.0


def steps_of(rollout: Rollout) -> tuple[Step, ...]:
    """The steps that it goes through, whatever its strategy: one or more.

    A `blue_green` has two: nobody gets the candidate but testers until it is promoted, then everybody does, under
    watch. `shadow` and `ab` have one.
    """
    steps = rollout.steps or (Step(percent=_WHOLE_PERCENT),)
    match rollout.strategy:
        case "canary":
            return steps
        case "blue_green":
            return Step(percent=0, minimum_s=0, pause=True), steps[-1]
        case "shadow" | "ab":
            return steps[:1] if steps != _DEFAULT_STEPS else (Step(percent=_WHOLE_PERCENT),)


_DEFAULT_STEPS: tuple[Step, ...] = Rollout(model="m", candidate="v").steps


def count_of(percent: float) -> int:
    """So many buckets."""
    return round(percent * BUCKETS / _WHOLE_PERCENT)


def arms_at(rollout: Rollout, step: int, before: str) -> tuple[ArmShare, ...]:
    """Who has which buckets at a step (an index in `steps_of`). Buckets of nobody have the version before.

    The candidate has buckets from below, the baseline from above, as many as the candidate as long as there are any
    left; while there is no candidate yet, all of them. Mirrored exchanges are compared with those that they are copies
    of, so both have the same buckets there.
    """
    count = count_of(steps_of(rollout)[step].percent)
    if rollout.strategy == "ab":
        return shares_by_weight(rollout.arms, count)
    if rollout.candidate is None:
        return ()
    if not count:  # what the version before shows now is what the candidate is watched by when everybody has it
        everybody = ArmShare(name=BASELINE, version=before, first=0, count=BUCKETS)
        return () if rollout.strategy == "shadow" else (everybody,)
    candidate = ArmShare(name=CANDIDATE, version=rollout.candidate, first=0, count=count)
    if rollout.strategy == "shadow":
        return candidate, ArmShare(name=BASELINE, version=before, first=0, count=count)
    beside = min(count, BUCKETS - count)
    if rollout.strategy == "blue_green" or not beside:
        return (candidate,)
    return candidate, ArmShare(name=BASELINE, version=before, first=BUCKETS - beside, count=beside)


def with_weights(rollout: Rollout, progress: Progress, weights: Mapping[str, float]) -> tuple[ArmShare, ...]:
    """The arms of an A/B test with other weights, among the buckets that take part now; as few as possible move."""
    versions = {arm.name: arm.version for arm in rollout.arms}
    total = sum(share.count for share in progress.arms)
    return _laid_out(_counts({name: weights.get(name, 0.0) for name in versions}, total), versions, progress.arms)


def shares_by_weight(arms: Sequence[Arm], count: int, now: Sequence[ArmShare] = ()) -> tuple[ArmShare, ...]:
    """The first `count` buckets, shared by weight. `now`: who has them already, and keeps as many as possible.

    An arm may have several stretches, one share each.
    """
    versions = {arm.name: arm.version for arm in arms}
    return _laid_out(_counts({arm.name: arm.weight for arm in arms}, count), versions, now)


def handed_over(now: Sequence[ArmShare], names: Collection[str], to: Arm) -> tuple[ArmShare, ...]:
    """The buckets of these arms are another one's from here on. Nobody else's bucket has another arm."""
    versions = {share.name: share.version for share in now} | {to.name: to.version}
    stretches = [
        (share.first, share.count, to.name if share.name in names else share.name)
        for share in sorted(now, key=lambda one: one.first)
    ]
    return tuple(
        ArmShare(name=name, version=versions[name], first=first, count=count)
        for first, count, name in _joined(stretches)
    )


def _counts(weights: Mapping[str, float], total: int) -> dict[str, int]:
    """Whole numbers of that sum, by largest remainder."""
    weight = sum(weights.values())
    if weight <= 0:
        return dict.fromkeys(weights, 0)
    exact = {name: total * one / weight for name, one in weights.items()}
    counts = {name: int(one) for name, one in exact.items()}
    names = sorted(exact, key=lambda name: (counts[name] - exact[name], name))
    for name in names[: total - sum(counts.values())]:
        counts[name] += 1
    return counts


def _laid_out(counts: Mapping[str, int], versions: Mapping[str, str], now: Sequence[ArmShare]) -> tuple[ArmShare, ...]:
    """Every arm keeps of its own what it may, from below; the others fill what is free."""
    total = sum(counts.values())
    missing, kept = dict(counts), []
    for share in sorted(now, key=lambda one: one.first):
        most = min(missing.get(share.name, 0), share.count, total - share.first)
        if most > 0:
            kept.append((share.first, most, share.name))
            missing[share.name] -= most
    filled, at = [], 0
    for first, count, name in [*kept, (total, 0, "")]:
        while at < first:
            needy = next(one for one, left in missing.items() if left)
            taken = min(first - at, missing[needy])
            filled.append((at, taken, needy))
            missing[needy] -= taken
            at += taken
        if count:
            filled.append((first, count, name))
            at = first + count
    return tuple(
        ArmShare(name=name, version=versions[name], first=first, count=count) for first, count, name in _joined(filled)
    )


def _joined(stretches: Sequence[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    joined: list[tuple[int, int, str]] = []
    for first, count, name in stretches:
        if joined and joined[-1][2] == name and sum(joined[-1][:2]) == first:
            joined[-1] = (joined[-1][0], joined[-1][1] + count, name)
        else:
            joined.append((first, count, name))
    return joined
