"""What experiments read, from the events of a memory ledger: podium.control.experiments.use.ExperimentStore."""

from collections.abc import Callable, Collection, Iterable

from podium.core.event import Event
from podium.core.rollouts import Progress, Rollout
from podium.delivery.analysis.evidence import Point
from podium.delivery.analysis.measures import is_analysed
from podium.delivery.analysis.observed import ArmSeen, Cell, Observed, observed_of, run_us
from podium.delivery.analysis.tally import Tally
from podium.delivery.experiments.segments import Place, SegmentTally, compiled, observed_by_place
from podium.delivery.experiments.tenants import TenantTally, observed_by_tenant

__all__ = ["MemoryExperimentStore"]


class MemoryExperimentStore:
    """Of experiments whose shares never change: one span, from the start of the run on."""

    def __init__(self, events: Callable[[], Iterable[Event]]) -> None:
        self._events = events

    async def observe(self, name: str, rollout: Rollout, progress: Progress) -> Observed:  # noqa: ARG002 - as asked
        """What was seen in the run."""
        tally = Tally()
        for event in self._of(name, progress):
            tally.add(event, run_us(progress))
        return observed_of(tally)

    async def observe_even(self, name: str, progress: Progress, arms: Collection[str]) -> Observed:
        """Of these arms."""
        tally = Tally()
        for event in self._of(name, progress):
            if event.arm in arms:
                tally.add(event, run_us(progress))
        return observed_of(tally)

    async def observe_whole(self, name: str, progress: Progress) -> Observed:
        """All arms."""
        return await self.observe_even(name, progress, {one.name for one in await self.arms_seen(name, progress)})

    async def arms_seen(self, name: str, progress: Progress) -> tuple[ArmSeen, ...]:
        """Each arm."""
        tally = Tally()
        for event in self._of(name, progress):
            tally.add(event, run_us(progress))
        return observed_of(tally).arms

    async def timeline(self, name: str, progress: Progress) -> tuple[Point, ...]:
        """Exchanges by minute; no measures."""
        counts: dict[tuple[int, str], int] = {}
        for event in self._of(name, progress):
            minute = event.started_unix_ns // 60_000_000_000 * 60
            counts[minute, event.arm] = counts.get((minute, event.arm), 0) + 1
        return tuple(
            Point(unix_s=minute, arm=arm, exchanges=count, measures={})
            for (minute, arm), count in sorted(counts.items())
        )

    async def recent(self, models: Collection[str], since_unix_s: float) -> tuple[Event, ...]:
        """All exchanges of these models since then."""
        since_ns = since_unix_s * 1e9
        return tuple(one for one in self._events() if one.model in models and one.started_unix_ns >= since_ns)

    async def tenants(
        self, name: str, rollout: Rollout, progress: Progress
    ) -> tuple[dict[str, dict[str, Observed]], str]:
        """What was seen of each tenant."""
        tally, span = TenantTally({}), run_us(progress)
        for event in self._of(name, progress):
            tally.add(event, span)
        cells = ((key.tenant, Cell(key.arm, "", key.cluster, tuple(row))) for key, row in tally.cells.items())
        arms = [arm.name for arm in rollout.arms[1:]]
        return {tenant: dict.fromkeys(arms, seen) for tenant, seen in observed_by_tenant(cells).items()}, ""

    async def segments(
        self, name: str, rollout: Rollout, progress: Progress
    ) -> tuple[dict[Place, dict[str, Observed]], str]:
        """Likewise of keys, tags and named segments."""
        named = rollout.experiment.segments if rollout.experiment is not None else ()
        tally, span = SegmentTally(TenantTally({}), {}, {name: compiled(named)}, {}), run_us(progress)
        for event in self._of(name, progress):
            tally.add(event, span)
        cells = (((key.kind, key.name), Cell(key.arm, "", key.cluster, tuple(row))) for key, row in tally.cells.items())
        arms = [arm.name for arm in rollout.arms[1:]]
        return {place: dict.fromkeys(arms, seen) for place, seen in observed_by_place(cells).items()}, ""

    def _of(self, name: str, progress: Progress) -> list[Event]:
        began_ns = progress.started_unix_s * 1e9
        return [
            one
            for one in self._events()
            if one.rollout == name and is_analysed(one) and one.started_unix_ns >= began_ns
        ]
