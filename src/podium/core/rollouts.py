"""What an operator declares about moving a model's traffic between versions, and where that stands.

`Rollout` is the plan. `Progress` is its state: the control plane writes it, one revision a step, and gateways serve by
it.
"""

from typing import Annotated, Literal

from msgspec import Meta

from podium.core.experiments import ArmEnd, Experiment, SharesChange
from podium.core.limits import Patterns
from podium.core.measures import MetricName
from podium.core.spec import Count, Name, Seconds, Share, Strict

__all__ = [
    "ACTIVE_PHASES",
    "BUCKETS",
    "Analysis",
    "Approval",
    "Arm",
    "ArmShare",
    "FreezeWindow",
    "Metric",
    "MetricName",
    "Phase",
    "Progress",
    "Rollout",
    "RolloutStrategy",
    "Segment",
    "Step",
    "SubjectKind",
]

BUCKETS = 10_000  # a hundredth of a percent each

RolloutStrategy = Literal["canary", "blue_green", "shadow", "ab"]
SubjectKind = Literal["user", "session", "key"]
Percent = Annotated[float, Meta(ge=0, le=100)]
Unset = Literal["hold", "return", "go_on"]
_Quantile = Annotated[float, Meta(ge=0.5, lt=1)]
_NO_DIRECTION = ("input_tokens", "output_tokens")
_TIMES = ("ttft_ms", "duration_ms")


class Segment(Strict, frozen=True, kw_only=True):
    """Whose exchanges are meant: those that match each dimension that is set, with any of its values."""

    tenants: Annotated[Patterns | None, Meta(description="Names of tenants; `*` matches any run of characters.")] = None
    keys: Annotated[Patterns | None, Meta(description="Ids of keys; with `*`.")] = None
    users: Annotated[Patterns | None, Meta(description="What callers name as `user`; with `*`.")] = None
    tiers: Annotated[Patterns | None, Meta(description="Tiers of keys, else of their tenants (plans); with `*`.")] = (
        None
    )
    tags: Annotated[Patterns | None, Meta(description="Tags of exchanges, as `name=value`; with `*`.")] = None


class Step(Strict, frozen=True, kw_only=True):
    """How many get the candidate, and what has to be seen before the next step."""

    percent: Annotated[Percent, Meta(description="Subjects that get the candidate, of those who are meant.")]
    where: Annotated[Segment | None, Meta(description="Only these, at this step; null: everybody.")] = None
    minimum_s: Annotated[float, Meta(description="Not sooner.", ge=0, le=31 * 86_400)] = 60.0
    minimum_samples: Annotated[Count, Meta(description="Exchanges of the candidate at this step; not with fewer.")] = 50
    pause: Annotated[bool, Meta(description="Wait for `podium rollout promote` when all of this was seen.")] = False


class Metric(Strict, frozen=True, kw_only=True):
    """A measure that is watched, and how much worse the candidate may be than the baseline."""

    name: Annotated[MetricName, Meta(description="What is measured.")]
    tolerance: Annotated[
        float,
        Meta(description="Worse by more than this is a failure: a share of the baseline's, unless `absolute`.", ge=0),
    ] = 0.0
    absolute: Annotated[
        bool, Meta(description="The tolerance is in the measure's own unit; for rates 0.01 is a point.")
    ] = False
    higher_is_better: Annotated[
        bool | None, Meta(description="None: as usual for this measure. For tokens say it, or neither direction fails.")
    ] = None
    role: Annotated[
        Literal["guardrail", "goal", "info"],
        Meta(description="`guardrail`: worse means return. `goal`: has to be no worse before the end. `info`: shown."),
    ] = "guardrail"
    limit: Annotated[
        float | None,
        Meta(
            description="A candidate that is surely worse than this is a failure at every step, whatever the baseline"
            " does and whatever `role` is. In the measure's own unit; of times to the first content and durations the"
            " typical one (geometric mean) in milliseconds. Null: none."
        ),
    ] = None
    limit_quantile: Annotated[
        _Quantile | None,
        Meta(
            description="Of times to the first content and durations: the `limit` is not of the typical one, but of"
            " what this share of exchanges takes at most; 0.95 is the 95th percentile."
        ),
    ] = None

    def __post_init__(self) -> None:
        if self.limit is not None and self.name in _NO_DIRECTION and self.higher_is_better is None:
            raise ValueError("a `limit` of tokens needs `higher_is_better`: is it the most or the least?")
        if self.limit is not None and self.limit <= 0 and self.name in _TIMES:
            raise ValueError("a `limit` of times is more than 0")
        if self.limit_quantile is not None and (self.limit is None or self.name not in _TIMES or self.higher_is_better):
            raise ValueError("a `limit_quantile` is of the `limit` of ttft_ms or duration_ms, of which less is better")


class Analysis(Strict, frozen=True, kw_only=True):
    """How the candidate is judged against the baseline, which serves the old version beside it at the same size."""

    metrics: Annotated[tuple[Metric, ...], Meta(description="What is watched.", max_length=30)] = (
        Metric(name="error_rate", tolerance=0.005, absolute=True),
        Metric(name="empty_rate", tolerance=0.01, absolute=True),
        Metric(name="ttft_ms", tolerance=0.1),
    )
    false_return_rate: Annotated[
        float,
        Meta(
            description="Share of good candidates that may be returned, all metrics and looks together. Limits, and the"
            " watch of a step without a baseline, have a fifth of it to themselves besides.",
            gt=0,
            lt=0.5,
        ),
    ] = 0.05
    minimum_subjects: Annotated[Count, Meta(description="In each arm, before a metric is judged.")] = 20
    target_samples: Annotated[
        Count, Meta(description="Exchanges an arm at which the intervals are to be narrowest.")
    ] = 5000
    no_data_after_s: Annotated[
        Seconds, Meta(description="So long without an exchange of the candidate is no data.")
    ] = 600.0
    no_data: Annotated[Unset, Meta(description="What happens then.")] = "hold"
    inconclusive_after_s: Annotated[
        Seconds, Meta(description="At one step; `goal` metrics that are not decided then are inconclusive.")
    ] = 86_400.0
    inconclusive: Annotated[Unset, Meta(description="What happens then.")] = "hold"
    sample_ratio_mismatch: Annotated[
        Unset, Meta(description="What happens when arms get other shares than they should.")
    ] = "hold"
    burst_errors: Annotated[
        Count, Meta(description="The gateway itself takes the candidate out at so many failures in a row.")
    ] = 10
    burst_error_rate: Annotated[
        Share, Meta(description="Or at this share of failures among its last 50 exchanges.")
    ] = 0.5
    judge_model: Annotated[
        Name | None, Meta(description="A Model that compares answers of both versions; null: none does.")
    ] = None
    judge_share: Annotated[Share, Meta(description="Of the candidate's exchanges, that are judged.")] = 0.05


class Arm(Strict, frozen=True, kw_only=True):
    """One of the versions of an A/B test."""

    name: Annotated[Name, Meta(description="For people and reports.")]
    version: Annotated[Name, Meta(description="Name of a Version.")]
    weight: Annotated[int, Meta(description="Its share of the exchanges that take part.", ge=0, le=10_000)] = 1


class FreezeWindow(Strict, frozen=True, kw_only=True):
    """A stretch of the week in which nothing moves forward. Returning is always possible. UTC."""

    days: Annotated[
        tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...], Meta(description="Which.", min_length=1)
    ]
    start: Annotated[str, Meta(description="`HH:MM`.", pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]\Z")] = "00:00"
    end: Annotated[
        str,
        Meta(
            description="`HH:MM`, exclusive; `24:00`: the day's end.",
            pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)\Z",
        ),
    ] = "24:00"

    def __post_init__(self) -> None:
        if self.start >= self.end:
            raise ValueError("`start` must be before `end`; name two windows for a night")


class Approval(Strict, frozen=True, kw_only=True):
    """Who has to agree before traffic moves."""

    before: Annotated[
        tuple[Literal["start", "step", "promote"], ...], Meta(description="What waits for approvals.", min_length=1)
    ] = ("promote",)
    approvals: Annotated[int, Meta(description="People besides who asked for it (four eyes: 1).", ge=1, le=10)] = 1


class Rollout(Strict, frozen=True, kw_only=True):
    """A plan for moving a model's traffic from the version that it has to another one, judged at each step."""

    model: Annotated[Name, Meta(description="Name of a Model; one rollout of it runs at a time.")]
    strategy: Annotated[
        RolloutStrategy,
        Meta(
            description="`canary`: by steps. `blue_green`: tested, then all at once. `shadow`: mirrored, never shown."
            " `ab`: several versions side by side, none of them promoted by itself."
        ),
    ] = "canary"
    candidate: Annotated[Name | None, Meta(description="Name of the Version to bring; not for `ab`.")] = None
    arms: Annotated[tuple[Arm, ...], Meta(description="For `ab`.", max_length=16)] = ()
    steps: Annotated[
        tuple[Step, ...],
        Meta(
            description="For `canary`: rising; the last is 100. For `shadow` and `ab` the one share that takes part.",
            max_length=100,
        ),
    ] = (Step(percent=5), Step(percent=25), Step(percent=75), Step(percent=100))
    where: Annotated[Segment | None, Meta(description="Only these exchanges, at all steps; null: all.")] = None
    flag: Annotated[
        Name | None,
        Meta(
            description="A boolean Flag such as `enable_new_model`: only exchanges that it gives `true` take part,"
            " at all steps; null: all."
        ),
    ] = None
    sticky_by: Annotated[
        tuple[SubjectKind, ...],
        Meta(description="Who keeps their version: the first of these that an exchange has.", min_length=1),
    ] = ("user", "session", "key")
    analysis: Annotated[
        Analysis | None, Meta(description="How it is judged; null: only failures in a burst count.")
    ] = Analysis()
    experiment: Annotated[
        Experiment | None, Meta(description="For `ab`: what is asked, and when it is answered; null: nothing is.")
    ] = None
    approval: Annotated[Approval | None, Meta(description="Who has to agree; null: nobody.")] = None
    freeze: Annotated[tuple[FreezeWindow, ...], Meta(description="When nothing moves forward.", max_length=50)] = ()
    keep_warm_s: Annotated[
        Seconds, Meta(description="How long the old version stays ready for the way back, after the end.")
    ] = 3600.0

    def __post_init__(self) -> None:
        if self.strategy == "ab":
            if self.candidate is not None or len(self.arms) < 2:  # noqa: PLR2004
                raise ValueError("`ab` has two `arms` or more, and no `candidate`")
            if len({arm.name for arm in self.arms}) < len(self.arms):
                raise ValueError("two `arms` have the same name")
            if not any(arm.weight for arm in self.arms):
                raise ValueError("no arm has a `weight`")
            self._check_experiment()
        elif self.experiment is not None:
            raise ValueError("an `experiment` has the strategy `ab`")
        elif self.candidate is None or self.arms:
            raise ValueError(f"`{self.strategy}` has a `candidate`, and no `arms`")
        if self.strategy == "canary":
            percents = [step.percent for step in self.steps if step.where is None]
            last = self.steps[-1] if self.steps else Step(percent=0)
            if percents != sorted(percents) or last.percent != 100 or last.where is not None:  # noqa: PLR2004
                raise ValueError("`steps` must rise, and the last is `percent: 100` for everybody")

    def _check_experiment(self) -> None:
        design = self.experiment
        if design is None:
            return
        if any(not arm.weight for arm in self.arms):
            raise ValueError("each arm of an experiment has a `weight`")
        if self.analysis is None:
            raise ValueError("an experiment has an `analysis`, which holds its guardrails")
        if len(self.steps) == 1 and self.steps[0].minimum_s >= design.at_most_s:
            raise ValueError("`minimum_s` of its step is shorter than the experiment's `at_most_s`")
        if design.adaptive is not None and design.adaptive.floor * len(self.arms) > 1:
            raise ValueError("the `floor` of all arms together is more than everything")


Phase = Literal[
    "pending",  # declared, not started
    "preparing",  # the candidate is loaded and tried
    "running",  # at a step
    "paused",  # by an operator, or because it waits for one
    "promoted",  # the candidate is the model's version
    "returned",  # by itself: the old version serves alone
    "aborted",  # by an operator: likewise
    "failed",  # the candidate never came up
]

ACTIVE_PHASES: frozenset[Phase] = frozenset({"preparing", "running", "paused"})  # begun and not ended


class ArmShare(Strict, frozen=True, kw_only=True):
    """A stretch of buckets of subjects that an arm has; it may have several."""

    name: Annotated[str, Meta(description="`candidate`, `baseline`, or an arm's name.")]
    version: Annotated[Name, Meta(description="Name of a Version.")]
    first: Annotated[int, Meta(description="First bucket.", ge=0, le=BUCKETS)]
    count: Annotated[int, Meta(description="How many.", ge=0, le=BUCKETS)]


class Progress(Strict, frozen=True, kw_only=True):
    """Where a rollout stands. Written by the control plane, one revision a step; `apply` of it is refused."""

    phase: Annotated[Phase, Meta(description="What is going on.")]
    before: Annotated[Name, Meta(description="The Version that the model had; the way back.")]
    salt: Annotated[str, Meta(description="Makes the buckets of this rollout its own.", max_length=64)]
    step: Annotated[int, Meta(description="Index in `steps`.", ge=0)] = 0
    arms: Annotated[tuple[ArmShare, ...], Meta(description="Who has which buckets; the rest has `before`.")] = ()
    mirrored: Annotated[bool, Meta(description="The candidate's arm is mirrored to, and never answers.")] = False
    started_unix_s: Annotated[float, Meta(description="When it was started.")] = 0.0
    step_unix_s: Annotated[float, Meta(description="When this step began.")] = 0.0
    changed_unix_s: Annotated[float, Meta(description="When this was written.")] = 0.0
    reason: Annotated[str, Meta(description="Why it is here: a word of podium.delivery.phases.")] = ""
    detail: Annotated[str, Meta(description="The same in a sentence.", max_length=2000)] = ""
    asked_by: Annotated[str, Meta(description="Who asked for what waits for approvals; empty: nothing waits.")] = ""
    approved_by: Annotated[tuple[str, ...], Meta(description="Who approved it so far.", max_length=10)] = ()
    winner: Annotated[str, Meta(description="The arm of an A/B test that is, or is to be, promoted.")] = ""
    design: Annotated[str, Meta(description="Of an experiment: digest of its design as it was started.")] = ""
    evidence: Annotated[str, Meta(description="Id of the evidence that was kept with the last decision.")] = ""
    changes: Annotated[
        tuple[SharesChange, ...], Meta(description="Of an experiment: the changes of its arms' shares in this run.")
    ] = ()
    ended: Annotated[tuple[ArmEnd, ...], Meta(description="Of an experiment: arms that ended before it did.")] = ()
