"""What an operator fixes about an experiment before it starts: what is asked, how it is measured, when it ends.

And what becomes of its arms meanwhile, as it is noted where its rollout stands.
"""

from typing import Annotated, Literal

from msgspec import Meta

from podium.core.limits import Patterns
from podium.core.measures import MetricName
from podium.core.spec import Count, Name, Share, Strict

__all__ = ["Adaptive", "ArmEnd", "ArmEndReason", "Experiment", "Method", "NamedSegment", "SharesChange", "StopRule"]

Method = Literal["sequential", "fixed"]
StopRule = Literal["at_samples", "when_decided"]
ArmEndReason = Literal["metric_failed", "burst"]
_LONGEST_S = 366 * 86_400


class Adaptive(Strict, frozen=True, kw_only=True):
    """Arms get traffic as likely as they are the best one (Thompson sampling), within these bounds."""

    floor: Annotated[float, Meta(description="Share of the subjects that each arm keeps.", ge=0.01, le=0.5)] = 0.1
    every_s: Annotated[float, Meta(description="Shares change not sooner after a change.", ge=1, le=_LONGEST_S)] = 3600
    largest_step: Annotated[Share, Meta(description="Share of the subjects that one change moves at most.")] = 0.2
    minimum_samples: Annotated[Count, Meta(description="Exchanges of each arm before the first change.")] = 200


class NamedSegment(Strict, frozen=True, kw_only=True):
    """A part of those who take part, shown by itself: who matches each dimension that is set, with any value."""

    name: Annotated[Name, Meta(description="For people and reports.")]
    tenants: Annotated[Patterns | None, Meta(description="Names of tenants; `*` matches any run of characters.")] = None
    keys: Annotated[Patterns | None, Meta(description="Ids of keys; with `*`.")] = None
    users: Annotated[Patterns | None, Meta(description="What callers name as `user`; with `*`.")] = None
    tiers: Annotated[Patterns | None, Meta(description="Tiers of keys, else of their tenants (plans); with `*`.")] = (
        None
    )
    tags: Annotated[Patterns | None, Meta(description="Tags of exchanges, as `name=value`; with `*`.")] = None


class Experiment(Strict, frozen=True, kw_only=True):
    """The design of an experiment. It is frozen when the experiment starts, with everything else of the rollout.

    The first arm is what the others are compared to. Guardrails are the rollout's `analysis.metrics`.
    """

    hypothesis: Annotated[str, Meta(description="What is believed, in a sentence.", min_length=1, max_length=2000)]
    primary: Annotated[MetricName, Meta(description="The measure that decides.")]
    higher_is_better: Annotated[
        bool | None, Meta(description="Of the primary measure; null: as usual for it. Say it for tokens.")
    ] = None
    effect: Annotated[
        float,
        Meta(
            description="The smallest effect that matters: a share of the first arm's (-0.1: a tenth less), of rates"
            " and scores the difference itself (0.01: a point)."
        ),
    ]
    samples: Annotated[
        int,
        Meta(
            description="Exchanges that the smallest arm is to have; `podium experiment plan` says how many it takes.",
            ge=1,
            le=1_000_000_000,
        ),
    ]
    alpha: Annotated[float, Meta(description="The chance that chance alone is taken for an effect.", gt=0, lt=0.5)] = (
        0.05
    )
    power: Annotated[float, Meta(description="The chance that such an effect is seen.", gt=0.5, lt=1)] = 0.8
    method: Annotated[
        Method,
        Meta(
            description="`sequential`: intervals that are valid however often one looks. `fixed`: narrower ones, valid"
            " at the planned sample and not before."
        ),
    ] = "sequential"
    stop: Annotated[
        StopRule,
        Meta(
            description="`at_samples`: at the planned sample. `when_decided`: as soon as the primary measure of each"
            " arm is told apart from the first one's, too; for `sequential` only."
        ),
    ] = "at_samples"
    at_most_s: Annotated[float, Meta(description="The end, whatever was seen by then.", ge=1, le=_LONGEST_S)] = (
        31 * 86_400.0
    )
    adaptive: Annotated[Adaptive | None, Meta(description="Shares that follow what is seen; null: fixed ones.")] = None
    segments: Annotated[
        tuple[NamedSegment, ...],
        Meta(description="Parts that reports show besides tenants, tiers, keys and tags.", max_length=20),
    ] = ()

    def __post_init__(self) -> None:
        if not self.effect:
            raise ValueError("`effect` is not zero")
        if len({one.name for one in self.segments}) < len(self.segments):
            raise ValueError("two `segments` have the same name")
        if self.method == "fixed" and self.stop == "when_decided":
            raise ValueError("`fixed` intervals are valid at the planned sample only: `stop: at_samples`")
        if self.method == "fixed" and self.adaptive is not None:
            raise ValueError("`adaptive` looks again and again, so its method is `sequential`")
        if self.adaptive is not None and self.higher_is_better is None and self.primary.endswith("_tokens"):
            raise ValueError(f"`higher_is_better` says what is best of `{self.primary}`, for `adaptive`")


class ArmEnd(Strict, frozen=True, kw_only=True):
    """An arm that ended before its experiment did, and why. Bounds that there are none of are null."""

    arm: Annotated[str, Meta(description="Its name.")]
    unix_s: Annotated[float, Meta(description="When; from then on the others have its subjects.")] = 0.0
    reason: Annotated[ArmEndReason, Meta(description="A guardrail failed, or gateways saw it fail again and again.")]
    detail: Annotated[str, Meta(description="The same in a sentence.", max_length=2000)] = ""
    measure: Annotated[str, Meta(description="The guardrail; empty: none.")] = ""
    scale: Annotated[
        Literal["relative", "absolute"],
        Meta(description="`relative`: the figures below are shares of the first arm's."),
    ] = "absolute"
    effect: Annotated[float | None, Meta(description="How far the arm was from the first one.")] = None
    lower: Annotated[float | None, Meta(description="Of the interval of the effect.")] = None
    upper: Annotated[float | None, Meta(description="Likewise.")] = None
    tolerance: Annotated[float, Meta(description="Worse by more than this was a failure.")] = 0.0


class SharesChange(Strict, frozen=True, kw_only=True):
    """That arms have had other shares of the subjects since some time."""

    unix_s: Annotated[float, Meta(description="Since when.")]
    shares: Annotated[dict[str, int], Meta(description="Buckets of each arm, of those that have any.")]
