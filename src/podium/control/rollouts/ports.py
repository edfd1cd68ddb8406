"""What the loop over rollouts needs from outside: who judges, who keeps the evidence, and what gateways tell."""

from typing import Protocol

import msgspec

from podium.control.rollouts.standing import Standing
from podium.core.experiments import ArmEnd
from podium.core.rollouts import ArmShare, Progress
from podium.delivery.analysis.evidence import Bundle
from podium.delivery.phases import Happening

__all__ = ["Analyst", "BadBackend", "EvidenceShelf", "Judgement", "RolloutGateways", "Trial", "Trip"]


class BadBackend(msgspec.Struct, frozen=True, kw_only=True):
    """One place of a version that answers worse than the others of it."""

    version: str
    backend: str  # provider/upstream model
    detail: str  # by how much, in a sentence


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """What the evidence says now."""

    verdict: str  # podium.delivery.analysis: success | failed | inconclusive | error
    reason: str
    detail: str
    happening: Happening | None = None  # what it means for the rollout; None: nothing that ends or holds it
    enough: bool = False  # the step's samples were seen, and nothing stands against the next one
    bad_backend: BadBackend | None = None
    body: bytes = b""  # the evidence as JSON
    shares: tuple[ArmShare, ...] = ()  # of an A/B test whose shares follow what is seen: other ones; empty: they stay
    shares_detail: str = ""
    ended: tuple[ArmEnd, ...] = ()  # of an experiment: arms that `shares` has no more
    after: Progress | None = None  # where the rollout stands once this is acted on; None: nothing is
    report: bytes = b""  # of an experiment, as it stands then: JSON; empty: none was made


class Analyst(Protocol):
    """Who judges. Both raise Unavailable while the database is away."""

    async def judge(self, standing: Standing, now_unix_s: float) -> Judgement:
        """What is known of the step that it is at."""

    async def keep(self, standing: Standing, judgement: Judgement, happening: str, now_unix_s: float) -> str:
        """Store what a decision was made on; its id, which is the same for the same evidence."""


class EvidenceShelf(Protocol):
    """What decisions were made on, kept for good. Both raise Unavailable while the database is away."""

    async def evidence(self, key: str) -> Bundle | None:
        """One bundle by its id."""

    async def evidence_of(self, name: str, *, limit: int = 50) -> tuple[tuple[str, float], ...]:
        """Ids and times of a rollout's bundles, newest first."""


class Trip(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway has taken an arm out by itself, because it failed many times in a row."""

    rollout: str
    salt: str  # of the run that it belongs to
    gateway: str
    detail: str
    arm: str = "candidate"


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one exchange with the candidate at one gateway."""

    gateway: str
    answered: bool | None  # None: the gateway itself was away
    detail: str = ""


class RolloutGateways(Protocol):
    """The gateways that are known here. Every call is bounded in time, and none of them raises."""

    async def trips(self) -> tuple[Trip, ...]:
        """What gateways have taken out."""

    async def try_candidate(self, standing: Standing, timeout_s: float) -> tuple[Trial, ...]:
        """One exchange with the candidate at each gateway; none: no gateway is known here."""
