"""What experiments need from outside."""

from collections.abc import Collection, Mapping
from typing import Protocol

from podium.core.event import Event
from podium.core.rollouts import Progress, Rollout
from podium.delivery.analysis.evidence import Point
from podium.delivery.analysis.observed import ArmSeen, Observed
from podium.delivery.experiments.segments import Place

__all__ = ["ExperimentStore"]


class ExperimentStore(Protocol):
    """What is kept of experiments; podium.store.sql.experiment_store matches it. Unavailable: the database is away."""

    async def observe(self, name: str, rollout: Rollout, progress: Progress) -> Observed:
        """What was seen in the run; evened over its shares where they change."""

    async def observe_even(self, name: str, progress: Progress, arms: Collection[str]) -> Observed:
        """Of these arms, in the spans in which each had exchanges."""

    async def observe_whole(self, name: str, progress: Progress) -> Observed:
        """All spans of the run, added up as they are."""

    async def arms_seen(self, name: str, progress: Progress) -> tuple[ArmSeen, ...]:
        """Each arm in each span of the run."""

    async def timeline(self, name: str, progress: Progress) -> tuple[Point, ...]:
        """Its course."""

    async def recent(self, models: Collection[str], since_unix_s: float) -> tuple[Event, ...]:
        """The newest exchanges since then of models of these names; a bounded number."""

    async def tenants(
        self, name: str, rollout: Rollout, progress: Progress
    ) -> tuple[Mapping[str, Mapping[str, Observed]], str]:
        """What was seen of each tenant, as a report reads it by arm; and what is missing there, in a sentence."""

    async def segments(
        self, name: str, rollout: Rollout, progress: Progress
    ) -> tuple[Mapping[Place, Mapping[str, Observed]], str]:
        """Likewise of keys, tags and named segments."""
