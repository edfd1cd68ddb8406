"""What an operator declares about limits: who is counted together, whom it holds for, how much they may use."""

from ipaddress import ip_network
from typing import Annotated, Literal

from msgspec import Meta

from podium.core.spec import Strict

__all__ = ["DIMENSIONS", "Algorithm", "Dimension", "Limit", "LimitPolicy", "Measure", "Where"]

Dimension = Literal["key", "user", "tenant", "model", "ip", "tier"]
DIMENSIONS: tuple[Dimension, ...] = ("key", "user", "tenant", "model", "ip", "tier")

Measure = Literal["requests", "input_tokens", "output_tokens", "tokens", "concurrency"]
Algorithm = Literal["gcra", "sliding_window"]

_MAX_AMOUNT = 10**12
_MAX_WINDOW_S = 31 * 86_400

Amount = Annotated[int, Meta(ge=1, le=_MAX_AMOUNT)]
Pattern = Annotated[str, Meta(min_length=1, max_length=256)]
Patterns = Annotated[tuple[Pattern, ...], Meta(min_length=1, max_length=1000)]


class Limit(Strict, frozen=True, kw_only=True):
    """How much of one thing may be used in one window; or, for `concurrency`, at the same time."""

    what: Annotated[Measure, Meta(description="What is counted; `tokens` are input and output tokens together.")]
    amount: Annotated[Amount, Meta(description="How much of it may be used in each window.")]
    window_s: Annotated[
        int, Meta(description="Length of the window. Not for `concurrency`.", ge=1, le=_MAX_WINDOW_S)
    ] = 60
    algorithm: Annotated[
        Algorithm,
        Meta(
            description="`gcra`: room comes back evenly, and no window takes more than `amount` and `burst` together."
            " `sliding_window`: no window ever takes more than `amount`; room comes back when its use is a window old,"
            " up to a sixteenth of a window late."
        ),
    ] = "gcra"
    burst: Annotated[
        Amount | None, Meta(description="For `gcra`: how much may come at once. None: as much as `amount`.")
    ] = None

    def __post_init__(self) -> None:
        if self.what == "concurrency" and (self.burst is not None or self.algorithm != "gcra" or self.window_s != 60):  # noqa: PLR2004 - the default
            raise ValueError("`concurrency` has no `window_s`, `algorithm` or `burst`")
        if self.burst is not None and self.algorithm != "gcra":
            raise ValueError("`burst` is for algorithm `gcra`")


class Where(Strict, frozen=True, kw_only=True):
    """Which exchanges a policy holds for: those that match each dimension that is set, with any of its values."""

    key: Annotated[Patterns | None, Meta(description="Ids of keys; `*` matches any run of characters.")] = None
    user: Annotated[Patterns | None, Meta(description="What callers name as `user`; with `*`.")] = None
    tenant: Annotated[Patterns | None, Meta(description="Names of tenants; with `*`.")] = None
    model: Annotated[Patterns | None, Meta(description="Names of models; with `*`.")] = None
    ip: Annotated[Patterns | None, Meta(description="Addresses of callers, or networks such as `10.0.0.0/8`.")] = None
    tier: Annotated[Patterns | None, Meta(description="Tiers of keys or tenants; with `*`.")] = None

    def __post_init__(self) -> None:
        for address in self.ip or ():
            ip_network(address)


class LimitPolicy(Strict, frozen=True, kw_only=True):
    """How much each subject may use. Policies add up: an exchange takes from all that match, or from none."""

    per: Annotated[
        tuple[Dimension, ...],
        Meta(
            description="Each combination of these is counted by itself; empty: all together. Exchanges without a"
            " value, such as without a `user`, are counted together. IPv6 addresses are counted by /64 network.",
            max_length=len(DIMENSIONS),
        ),
    ] = ("tenant",)
    where: Annotated[Where, Meta(description="Which exchanges it holds for; empty: all.")] = Where()
    limits: Annotated[tuple[Limit, ...], Meta(description="All of these hold at once.", min_length=1, max_length=16)]
    priority: Annotated[
        int,
        Meta(
            description="Of several limits without room, the caller is told the highest; then the longest wait.",
            ge=0,
            le=100,
        ),
    ] = 0

    def __post_init__(self) -> None:
        if len(set(self.per)) != len(self.per):
            raise ValueError("`per` names a dimension twice")
        limits = [(limit.what, limit.window_s, limit.algorithm) for limit in self.limits]
        if len(set(limits)) != len(limits):
            raise ValueError("`limits` has the same `what`, `window_s` and `algorithm` twice")
