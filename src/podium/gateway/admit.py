"""Whether an exchange may use what it asks for: limits first, then budgets. What was taken stands in the outcome.

Everything is decided at once where this process decides alone; where gateways share what is counted, the store's answer
is waited for.
"""

from collections.abc import Awaitable
from functools import lru_cache
from typing import NoReturn

from podium.core.clock import Clock
from podium.core.errors import BudgetExhausted, RateLimited
from podium.core.exchange import Exchange
from podium.core.tags import parse_tags
from podium.economics.budgets import values as budgeting
from podium.economics.budgets.estimate import estimate_cost
from podium.economics.budgets.values import Cost
from podium.economics.estimate import estimate_input_tokens
from podium.gateway.faces import Request
from podium.gateway.landing import Outcome
from podium.gateway.ports import Admission, Budgets, Caller, Limits
from podium.gateway.settings import GatewaySettings
from podium.gateway.world import Principal, World
from podium.traffic.limiting import buckets as limiting
from podium.traffic.limiting.buckets import charge_of
from podium.traffic.limiting.limiter import Grant
from podium.traffic.limiting.policies import Dimensions

__all__ = ["Admitter"]

_DECIDED = (Grant, limiting.Refusal)
_NO_COST = Cost(0, 0)
_new = tuple.__new__  # of a named tuple; its own takes three times as long


class Admitter:
    """Takes an exchange's share of limits and budgets before it costs anything, and corrects it at the end."""

    def __init__(
        self,
        limits: Limits,
        budgets: Budgets,
        settings: GatewaySettings,
        clock: Clock,
        together: Admission | None = None,
    ) -> None:
        """`together`: asks for both at once what has to be asked for."""
        self.limits = limits
        self.budgets = budgets
        self._together = together
        self._settings = settings
        self._clock = clock

    def admit(
        self, exchange: Exchange, caller: Caller, principal: Principal, request: Request, world: World, outcome: Outcome
    ) -> Awaitable[None] | None:
        """Take its share of every limit and budget, or none: RateLimited, BudgetExhausted. An awaitable: it waits."""
        now_ns = self._clock.monotonic_ns()
        exchange.admitted_at_ns = now_ns
        buckets = principal.buckets
        if buckets is None:
            buckets = world.limits.buckets(_dimensions(exchange, caller, principal))
        charges: tuple[budgeting.Charge, ...] = ()
        if world.budgets.budgets:
            tags = _tag_pairs(exchange.tags) if exchange.tags else ()
            payer = (exchange.tenant, exchange.key_id, exchange.user, exchange.model, tags)
            charges = world.budgets.charges(payer, exchange.started_unix_ns)
        if not (buckets or charges):
            return None
        input_tokens, answers = estimate_input_tokens(exchange.bytes_in), request.answers
        answer_tokens = self._most_answer_tokens(exchange, request)
        cost = _NO_COST
        if charges:
            cost = estimate_cost(world.dearest_price(exchange.model), input_tokens, answer_tokens, answers)
        if buckets:
            charge = charge_of(input_tokens, answer_tokens * answers)
            if charges and self._together is not None:
                asked = budgeting.Reservation(exchange.id, charges, cost, exchange.started_unix_ns)
                both = self._together.admit(buckets, charge, asked, now_ns)
                if both is not None:
                    return self._go_on_with_both(both, exchange, outcome)
            taken = self.limits.acquire(buckets, charge, now_ns)
            if type(taken) is Grant:  # nearly always
                outcome.grant, outcome.limits = taken, self.limits
            elif isinstance(taken, _DECIDED):
                self._granted(taken, outcome)
            else:
                return self._go_on(taken, exchange, charges, cost, outcome)
        return self._reserve(exchange, charges, cost, outcome, now_ns) if charges else None

    def _most_answer_tokens(self, exchange: Exchange, request: Request) -> int:
        """Of one answer."""
        if exchange.endpoint == "embeddings":
            return 0
        limit = request.answer_token_limit
        return self._settings.assumed_output_tokens if limit is None else limit

    async def _go_on(
        self,
        taken: Awaitable[Grant | limiting.Refusal],
        exchange: Exchange,
        charges: tuple[budgeting.Charge, ...],
        cost: Cost,
        outcome: Outcome,
    ) -> None:
        self._granted(await taken, outcome)
        if charges:
            reserved = self._reserve(exchange, charges, cost, outcome, self._clock.monotonic_ns())
            if reserved is not None:
                await reserved
        exchange.admitted_at_ns = self._clock.monotonic_ns()

    async def _go_on_with_both(
        self,
        both: Awaitable[tuple[Grant | limiting.Refusal, budgeting.Reservation | budgeting.Refusal | None]],
        exchange: Exchange,
        outcome: Outcome,
    ) -> None:
        taken, reserved = await both
        self._granted(taken, outcome)
        if isinstance(reserved, budgeting.Refusal):
            _refuse(reserved, outcome)
        outcome.reserved = True
        exchange.admitted_at_ns = self._clock.monotonic_ns()

    def _granted(self, taken: Grant | limiting.Refusal, outcome: Outcome) -> None:
        if isinstance(taken, limiting.Refusal):
            outcome.refusal = taken
            raise RateLimited(taken.message, reason=taken.reason, retry_after_s=taken.retry_after_s)
        outcome.grant, outcome.limits = taken, self.limits

    def _reserve(
        self,
        exchange: Exchange,
        charges: tuple[budgeting.Charge, ...],
        cost: Cost,
        outcome: Outcome,
        now_ns: int,
    ) -> Awaitable[None] | None:
        reserved = self.budgets.reserve(exchange.id, charges, cost, exchange.started_unix_ns, now_ns)
        outcome.reserved = True  # of a store perhaps: who goes meanwhile releases, and to release nothing does nothing
        if isinstance(reserved, budgeting.Reservation):
            return None
        if isinstance(reserved, budgeting.Refusal):
            _refuse(reserved, outcome)
        return _reservation(reserved, outcome)

    def end(self, exchange: Exchange, outcome: Outcome) -> None:
        """Correct what was taken to what was used; an exchange that no model worked for gets everything back."""
        grant = outcome.grant
        if grant is None and not outcome.reserved:
            return
        if outcome.cost_nothing:
            if grant is not None:
                self.limits.release(grant, self._clock.monotonic_ns())
            if outcome.reserved:
                self.budgets.release(exchange.id)
            return
        usage = exchange.usage
        if grant is not None:
            facts = charge_of(usage.input_tokens, usage.output_tokens)
            self.limits.settle(grant, facts, self._clock.monotonic_ns())
        if outcome.reserved:
            self.budgets.settle(exchange.id, _new(Cost, (exchange.cost_nanousd, usage.total_tokens)))


@lru_cache(maxsize=4096)
def _tag_pairs(tags: str) -> tuple[tuple[str, str], ...]:
    return tuple(parse_tags(tags).items())


def _dimensions(exchange: Exchange, caller: Caller, principal: Principal) -> Dimensions:
    return Dimensions(exchange.key_id, exchange.user, exchange.tenant, exchange.model, caller.address, principal.tier)


async def _reservation(reserved: Awaitable[budgeting.Reservation | budgeting.Refusal], outcome: Outcome) -> None:
    found = await reserved
    if isinstance(found, budgeting.Refusal):
        _refuse(found, outcome)


def _refuse(refusal: budgeting.Refusal, outcome: Outcome) -> NoReturn:
    outcome.reserved = False
    raise BudgetExhausted(refusal.message, retry_after_s=refusal.retry_after_s)
