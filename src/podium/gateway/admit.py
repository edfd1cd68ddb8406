"""Whether an exchange may use what it asks for: limits first, then budgets. What was taken stands in the outcome.

Everything is decided at once where this process decides alone; where gateways share what is counted, the store's answer
is waited for.
"""

from collections.abc import Awaitable
from functools import lru_cache

from podium.core.clock import Clock
from podium.core.errors import BudgetExhausted, RateLimited
from podium.core.exchange import Exchange
from podium.core.tags import parse_tags
from podium.economics.budgets import values as budgeting
from podium.economics.budgets.estimate import estimate_cost
from podium.economics.budgets.rules import Payer
from podium.economics.budgets.values import Cost
from podium.economics.estimate import estimate_input_tokens
from podium.gateway.faces import Request
from podium.gateway.landing import Outcome
from podium.gateway.ports import Budgets, Caller, Limits
from podium.gateway.settings import GatewaySettings
from podium.gateway.world import Principal, World
from podium.traffic.limiting import buckets as limiting
from podium.traffic.limiting.buckets import charge_of
from podium.traffic.limiting.limiter import Grant
from podium.traffic.limiting.policies import Dimensions

__all__ = ["Admitter"]


class Admitter:
    """Takes an exchange's share of limits and budgets before it costs anything, and corrects it at the end."""

    def __init__(self, limits: Limits, budgets: Budgets, settings: GatewaySettings, clock: Clock) -> None:
        self.limits = limits
        self.budgets = budgets
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
        if not buckets:
            return self._reserve(exchange, request, world, outcome) if world.budgets.budgets else None
        estimate = charge_of(estimate_input_tokens(exchange.bytes_in), self._output_tokens(exchange, request))
        taken = self.limits.acquire(buckets, estimate, now_ns)
        if isinstance(taken, Grant | limiting.Refusal):
            self._granted(taken, outcome)
        else:
            return self._go_on(taken, exchange, request, world, outcome)
        return self._reserve(exchange, request, world, outcome) if world.budgets.budgets else None

    async def _go_on(
        self,
        taken: Awaitable[Grant | limiting.Refusal],
        exchange: Exchange,
        request: Request,
        world: World,
        outcome: Outcome,
    ) -> None:
        self._granted(await taken, outcome)
        if world.budgets.budgets:
            reserved = self._reserve(exchange, request, world, outcome)
            if reserved is not None:
                await reserved
        exchange.admitted_at_ns = self._clock.monotonic_ns()

    def _granted(self, taken: Grant | limiting.Refusal, outcome: Outcome) -> None:
        if isinstance(taken, limiting.Refusal):
            outcome.refusal = taken
            raise RateLimited(taken.message, reason=taken.reason, retry_after_s=taken.retry_after_s)
        outcome.grant, outcome.limits = taken, self.limits

    def _reserve(self, exchange: Exchange, request: Request, world: World, outcome: Outcome) -> Awaitable[None] | None:
        tags = _tag_pairs(exchange.tags) if exchange.tags else ()
        payer = Payer(exchange.tenant, exchange.key_id, exchange.user, exchange.model, tags)
        charges = world.budgets.charges(payer, exchange.started_unix_ns)
        if not charges:
            return None
        answers = max(1, request.answers)
        limit = 0 if exchange.endpoint == "embeddings" else request.output_token_limit
        estimate = estimate_cost(
            world.dearest_price(exchange.model),
            estimate_input_tokens(exchange.bytes_in),
            output_limit=None if limit is None else limit // answers,
            assumed_output=self._settings.assumed_output_tokens,
            answers=answers,
        )
        now_ns = self._clock.monotonic_ns()
        reserved = self.budgets.reserve(exchange.id, charges, estimate, exchange.started_unix_ns, now_ns)
        if isinstance(reserved, budgeting.Reservation | budgeting.Refusal):
            _reserved(reserved, outcome)
            return None
        outcome.reserved = (
            True  # whether it is, is known when the store has answered; a release of nothing does nothing
        )
        return self._await_reservation(reserved, outcome)

    @staticmethod
    async def _await_reservation(
        reserved: Awaitable[budgeting.Reservation | budgeting.Refusal], outcome: Outcome
    ) -> None:
        _reserved(await reserved, outcome)

    def _output_tokens(self, exchange: Exchange, request: Request) -> int:
        if exchange.endpoint == "embeddings":
            return 0
        limit = request.output_token_limit
        return self._settings.assumed_output_tokens if limit is None else limit

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
            self.budgets.settle(exchange.id, Cost(exchange.cost_nanousd, usage.total_tokens))


@lru_cache(maxsize=4096)
def _tag_pairs(tags: str) -> tuple[tuple[str, str], ...]:
    return tuple(parse_tags(tags).items())


def _dimensions(exchange: Exchange, caller: Caller, principal: Principal) -> Dimensions:
    return Dimensions(exchange.key_id, exchange.user, exchange.tenant, exchange.model, caller.address, principal.tier)


def _reserved(reserved: budgeting.Reservation | budgeting.Refusal, outcome: Outcome) -> None:
    if isinstance(reserved, budgeting.Refusal):
        outcome.reserved = False
        raise BudgetExhausted(reserved.message, retry_after_s=reserved.retry_after_s)
    outcome.reserved = True
