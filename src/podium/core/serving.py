"""How a model's calls are spread over backends, and what happens when one fails: parts of the Model and Provider specs.

The defaults are those of the policies on floor 1, which say where they come from.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from podium.core.spec import Count, Name, Seconds, Share, Strict

__all__ = [
    "Balancing",
    "CircuitBreaker",
    "Concurrency",
    "Ejection",
    "FailureHandling",
    "Fallback",
    "HealthCheck",
    "Hedging",
    "LastResort",
    "Priority",
    "PriorityRule",
    "Queueing",
    "Retries",
    "Strategy",
]

Strategy = Literal[
    "round_robin",
    "weighted_round_robin",
    "least_in_flight",
    "response_time",
    "lowest_cost",
    "prefix_affinity",
    "session_affinity",
]
Milliseconds = Annotated[float, Meta(gt=0, le=3_600_000)]


class Balancing(Strict, frozen=True, kw_only=True):
    """Which of a version's backends takes a call."""

    strategy: Annotated[Strategy, Meta(description="How to choose among those that can take it.")] = "round_robin"
    regions: Annotated[
        tuple[str, ...], Meta(description="Regions in order of preference, nearest first; the others come after them.")
    ] = ()
    residency: Annotated[
        tuple[str, ...],
        Meta(description="Regions that may see a request; never another one, whatever fails. Empty: any."),
    ] = ()


class Retries(Strict, frozen=True, kw_only=True):
    """Further calls for one exchange, always before the first byte of an answer."""

    attempts: Annotated[int, Meta(description="Calls for one exchange, the first one too.", ge=1, le=10)] = 2
    budget_share: Annotated[
        float, Meta(description="Retries as a share of the model's exchanges in the last 10 s.", ge=0, le=1)
    ] = 0.2
    budget_per_s: Annotated[float, Meta(description="Retries in a second that are allowed besides.", ge=0)] = 1.0
    backoff_s: Annotated[Seconds, Meta(description="Longest wait before the first retry; doubles.")] = 0.025
    max_backoff_s: Annotated[Seconds, Meta(description="Longest wait before any.")] = 0.25

    def __post_init__(self) -> None:
        if self.backoff_s > self.max_backoff_s:
            raise ValueError("`backoff_s` is at most `max_backoff_s`")


class CircuitBreaker(Strict, frozen=True, kw_only=True):
    """When calls to a backend stop, for how long, and what brings them back."""

    window_s: Annotated[float, Meta(description="Time over which rates are counted.", ge=0.01, le=86_400)] = (
        30.0  # as BreakerPolicy has it: less is no window
    )
    minimum_calls: Annotated[Count, Meta(description="Fewer in the window say nothing about rates.")] = 10
    failure_rate: Annotated[Share, Meta(description="Opens at this share of failed calls.")] = 0.5
    slow_call_ms: Annotated[
        Milliseconds | None, Meta(description="A call with a later first content is slow; None: none is.")
    ] = None
    slow_call_rate: Annotated[Share, Meta(description="Opens at this share of slow calls.")] = 1.0
    consecutive_failures: Annotated[
        Count | None, Meta(description="Opens at so many failures in a row; None: does not.")
    ] = 5
    open_s: Annotated[Seconds, Meta(description="How long it stays open at first; doubles.")] = 5.0
    max_open_s: Annotated[Seconds, Meta(description="How long at most.")] = 300.0
    probes: Annotated[Count, Meta(description="Calls at once that try it afterwards.")] = 1
    probe_successes: Annotated[Count, Meta(description="Of those, how many close it.")] = 2

    def __post_init__(self) -> None:
        if self.open_s > self.max_open_s:
            raise ValueError("`open_s` is at most `max_open_s`")


class Ejection(Strict, frozen=True, kw_only=True):
    """When a backend is left out for being worse than the others of its pool."""

    max_share: Annotated[
        float, Meta(description="Of the pool; one backend always stays. 0: never eject.", ge=0, lt=1)
    ] = 0.5


class Hedging(Strict, frozen=True, kw_only=True):
    """A second call when the first one is unusually slow; the first content wins, both are paid."""

    percentile: Annotated[
        float, Meta(description="Of the model's time to first content: the delay of the second call.", gt=0, lt=1)
    ] = 0.95
    minimum_delay_s: Annotated[float, Meta(description="Not sooner.", ge=0, le=3600)] = 0.05
    maximum_delay_s: Annotated[Seconds, Meta(description="Not later.")] = 10.0
    max_share: Annotated[Share, Meta(description="Second calls as a share of the exchanges.")] = 0.05
    minimum_samples: Annotated[Count, Meta(description="Exchanges that must have been seen before.")] = 50

    def __post_init__(self) -> None:
        if self.minimum_delay_s > self.maximum_delay_s:
            raise ValueError("`minimum_delay_s` is at most `maximum_delay_s`")


FallbackOn = Literal["down", "rate_limited", "context_too_long", "content_refused", "timeout"]


class Fallback(Strict, frozen=True, kw_only=True):
    """Another model that answers when this one cannot."""

    model: Annotated[Name, Meta(description="Name of a Model.")]
    on: Annotated[tuple[FallbackOn, ...], Meta(description="Causes for which it does.", min_length=1)] = (
        "down",
        "rate_limited",
        "timeout",
    )
    parameters: Annotated[
        dict[str, bool | int | float | str | None] | None,
        Meta(description="Request fields that are set for it; null removes one."),
    ] = None


class LastResort(Strict, frozen=True, kw_only=True):
    """A fixed answer when nothing else is left. It is marked as such, in a header and in the body."""

    text: Annotated[str, Meta(description="What the answer says.", min_length=1, max_length=10_000)]


class FailureHandling(Strict, frozen=True, kw_only=True):
    """What happens when a backend of the model fails."""

    retries: Annotated[Retries, Meta(description="Trying again, elsewhere if possible.")] = Retries()
    breaker: Annotated[CircuitBreaker | None, Meta(description="Leaving a failing backend alone; null: never.")] = (
        CircuitBreaker()
    )
    ejection: Annotated[Ejection | None, Meta(description="Leaving out the worst ones of the pool; null: never.")] = (
        None
    )
    hedging: Annotated[Hedging | None, Meta(description="A second call for slow ones; null: none.")] = None
    fallbacks: Annotated[tuple[Fallback, ...], Meta(description="Other models, in this order.", max_length=16)] = ()
    max_fallbacks: Annotated[
        int, Meta(description="Models that one exchange may go on to, fallbacks of fallbacks included.", ge=1, le=8)
    ] = 5
    last_resort: Annotated[LastResort | None, Meta(description="A fixed answer; null: an error.")] = None


class HealthCheck(Strict, frozen=True, kw_only=True):
    """Asking a provider regularly whether it lives; GET, any status below 500 but 408 and 429 passes."""

    path: Annotated[str, Meta(description="Below `base_url`'s host, e.g. `/health`.", pattern=r"^/[!-~]*\Z")]
    interval_s: Annotated[Seconds, Meta(description="Between two checks.")] = 10.0
    timeout_s: Annotated[Seconds, Meta(description="For one.")] = 5.0
    unhealthy_after: Annotated[Count, Meta(description="Failures in a row.")] = 3
    healthy_after: Annotated[Count, Meta(description="Successes in a row.")] = 2


Priority = Literal["critical", "standard", "batch"]  # the highest first: podium.traffic.queueing.fair_queue.Priority
Patterns = Annotated[
    tuple[Annotated[str, Meta(min_length=1, max_length=256)], ...], Meta(min_length=1, max_length=1000)
]


class Concurrency(Strict, frozen=True, kw_only=True):
    """How many calls at once each backend of the model bears, per gateway; found out from its answers."""

    algorithm: Annotated[
        Literal["gradient", "aimd"],
        Meta(
            description="`gradient`: by the time to the first content, compared with that without load. `aimd`: one"
            " more at a time until calls time out, are refused, or are slower than `slow_ms`."
        ),
    ] = "gradient"
    minimum: Annotated[Count, Meta(description="Never fewer.")] = 1
    maximum: Annotated[Count, Meta(description="Never more.")] = 200
    initial: Annotated[Count, Meta(description="Until something is known.")] = 8
    slow_ms: Annotated[
        Milliseconds | None, Meta(description="For `aimd`: a mean time to the first content above this is too much.")
    ] = None

    def __post_init__(self) -> None:
        if not self.minimum <= self.initial <= self.maximum:
            raise ValueError("`minimum`, `initial`, `maximum` must rise")
        if self.slow_ms is not None and self.algorithm != "aimd":
            raise ValueError("`slow_ms` is for algorithm `aimd`")


class PriorityRule(Strict, frozen=True, kw_only=True):
    """Who may use which class. Who matches all patterns is meant."""

    tenants: Annotated[Patterns, Meta(description="Names of tenants; `*` matches any run of characters.")] = ("*",)
    keys: Annotated[Patterns, Meta(description="Ids of keys; with `*`.")] = ("*",)
    tiers: Annotated[Patterns, Meta(description="Tiers of keys, else of their tenants; with `*`.")] = ("*",)
    highest: Annotated[
        Priority, Meta(description="The highest class that they may ask for; with `batch` it is their only one.")
    ]


class Queueing(Strict, frozen=True, kw_only=True):
    """How many exchanges of the model run at once, and who waits how long when all places are taken; per gateway."""

    places: Annotated[
        Count | None, Meta(description="Exchanges at once; None: as many calls as `concurrency` allows.")
    ] = None
    concurrency: Annotated[
        Concurrency | None, Meta(description="A limit for each backend that finds itself; null: none.")
    ] = None
    max_entries: Annotated[Count, Meta(description="Exchanges that may wait.")] = 1000
    max_per_tenant: Annotated[Count | None, Meta(description="Of those, how many of one tenant; None: all.")] = None
    max_wait_s: Annotated[Seconds, Meta(description="How long one may wait, whatever its deadline.")] = 10.0
    shed_batch_at: Annotated[
        Share,
        Meta(description="Class `batch` is refused when all that waits would take this share of `max_wait_s`."),
    ] = 0.5
    weights: Annotated[
        dict[str, Annotated[int, Meta(ge=1, le=1000)]],
        Meta(description="Shares of tenants by their names, within a class. Who is not named has 1."),
    ] = msgspec.field(default_factory=dict)
    priorities: Annotated[
        tuple[PriorityRule, ...],
        Meta(
            description="Who may ask for which class by `x-podium-priority`: the first rule that matches counts."
            " Who matches none may use `standard` and `batch`. Who asks for nothing gets `standard`, if allowed.",
            max_length=100,
        ),
    ] = ()

    def __post_init__(self) -> None:
        if self.places is None and self.concurrency is None:
            raise ValueError("set `places` or `concurrency`")
        if self.max_per_tenant is not None and self.max_per_tenant > self.max_entries:
            raise ValueError("`max_per_tenant` is at most `max_entries`")
