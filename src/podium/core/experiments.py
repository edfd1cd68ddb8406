"""What an operator fixes about an experiment before it starts: what is asked, how it is measured, when it ends."""

from typing import Annotated, Literal

from msgspec import Meta

from podium.core.measures import MetricName
from podium.core.spec import Count, Share, Strict

__all__ = ["Adaptive", "Experiment", "Method", "StopRule"]

Method = Literal["sequential", "fixed"]
StopRule = Literal["at_samples", "when_decided"]
_LONGEST_S = 366 * 86_400


class Adaptive(Strict, frozen=True, kw_only=True):
    """Arms get traffic as likely as they are the best one (Thompson sampling), within these bounds."""

    floor: Annotated[float, Meta(description="Share of the subjects that each arm keeps.", ge=0.01, le=0.5)] = 0.1
    every_s: Annotated[float, Meta(description="Shares change not sooner after a change.", ge=1, le=_LONGEST_S)] = 3600
    largest_step: Annotated[Share, Meta(description="Share of the subjects that one change moves at most.")] = 0.2
    minimum_samples: Annotated[Count, Meta(description="Exchanges of each arm before the first change.")] = 200


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

    def __post_init__(self) -> None:
        if not self.effect:
            raise ValueError("`effect` is not zero")
        if self.method == "fixed" and self.stop == "when_decided":
            raise ValueError("`fixed` intervals are valid at the planned sample only: `stop: at_samples`")
        if self.method == "fixed" and self.adaptive is not None:
            raise ValueError("`adaptive` looks again and again, so its method is `sequential`")
        if self.adaptive is not None and self.higher_is_better is None and self.primary.endswith("_tokens"):
            raise ValueError(f"`higher_is_better` says what is best of `{self.primary}`, for `adaptive`")
