"""What a gateway has reserved ahead of budgets, and what it uses of their accounts: the parts of `budget_quotas`."""

import asyncio

from podium.economics.budgets.values import Charge, Reservation
from podium.store.redis.budget_words import SliceWords

__all__ = ["USE_NS", "Held", "Hot", "Slice", "words_of"]

USE_NS = 500_000_000


class Slice:
    """A reservation that exchanges are served from."""

    __slots__ = (
        "ahead",
        "aim",
        "charge",
        "dirty",
        "from_ns",
        "heard",
        "held",
        "hot",
        "id",
        "made_ns",
        "out",
        "rest",
        "retired",
        "running",
        "telling",
        "told_ns",
        "total",
        "unit",
        "until_ns",
        "usable_ns",
        "version",
    )

    def __init__(self, name: str, hot: "Hot", unix_ns: int, aim: int) -> None:
        charge = hot.charge
        self.id, self.hot, self.charge, self.unit, self.made_ns = name, hot, charge, hot.unit, unix_ns
        self.from_ns, self.until_ns = charge.start_ns, charge.end_ns  # of exchanges that it may serve, Unix time
        self.usable_ns = 0  # monotonic
        self.aim = aim  # what should be ahead
        self.ahead = 0  # for exchanges to come
        self.out = 0  # estimates of those that run
        self.held = 0  # by the store, at most
        self.running = 0
        self.total = 0  # what exchanges that have ended cost
        self.version = self.told_ns = 0
        self.heard = self.retired = self.rest = False
        self.dirty = True
        self.telling: asyncio.Task[None] | None = None

    def retire(self) -> None:
        """Serve no more exchanges."""
        self.retired, self.aim, self.dirty = True, 0, True
        if self.hot.slice is self:
            self.hot.slice = None

    def may_end(self) -> bool:
        """True when nothing runs in it and nothing is to come."""
        return not self.running and not self.aim


class Hot:
    """What this gateway uses of one account."""

    __slots__ = (
        "asks",
        "charge",
        "last_asks",
        "last_use",
        "parts",
        "rest_until_ns",
        "since_ns",
        "slice",
        "unit",
        "use",
    )

    def __init__(self, charge: Charge, now_ns: int) -> None:
        self.bind(charge)
        self.since_ns = now_ns
        self.use = self.asks = 0  # since then
        self.last_use = self.last_asks = 0  # in USE_S before
        self.slice: Slice | None = None  # that exchanges are served from
        self.parts: dict[Slice, None] = {}  # and those in which some still run
        self.rest_until_ns = 0

    def bind(self, charge: Charge) -> None:
        """Go on under this charge."""
        self.charge = charge
        self.unit = 0 if charge.rule.unit == "usd" else 1  # of a Cost

    def turn(self, now_ns: int) -> None:
        """Begin another stretch when this one is long enough."""
        elapsed_ns = now_ns - self.since_ns
        if elapsed_ns >= USE_NS:
            self.last_use = self.use * USE_NS // elapsed_ns
            self.last_asks = self.asks * USE_NS // elapsed_ns
            self.use = self.asks = 0
            self.since_ns = now_ns


class Held(Reservation):
    """A reservation out of slices."""

    slices: list[Slice]


def words_of(one: Slice) -> SliceWords:
    """What the store is told of a slice now; from here on no more than that is ahead in it."""
    one.ahead = min(one.ahead, one.aim)
    one.version += 1
    one.dirty = False
    last = one.may_end()
    if last:
        one.retire()
        one.dirty = False
    return SliceWords(
        id=one.id,
        version=one.version,
        made=one.made_ns // 1000,
        total=one.total,
        keep=one.out + one.ahead,
        ahead=one.ahead,
        more=max(0, one.aim - one.ahead),
        new=not one.heard,
        last=last,
    )
