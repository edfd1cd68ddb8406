"""Flags in an exchange: what they are evaluated for, and those that the gateway itself goes by.

Nothing here costs an exchange anything while no such flag is declared.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from podium.core.errors import InvalidRequest
from podium.core.exchange import Exchange
from podium.core.flags import TARGETING_KEY
from podium.core.reasons import Reason
from podium.core.tags import parse_tags
from podium.delivery.flags.flagset import FlagSet
from podium.delivery.flags.values import Context
from podium.economics.estimate import estimate_input_tokens
from podium.gateway.flag_counts import FlagCounts
from podium.gateway.ports import Caller

if TYPE_CHECKING:
    from podium.gateway.world import Principal, World

__all__ = ["MAX_CONTEXT_LENGTH", "check_context_length", "exchange_context", "key_context", "takes_part"]

MAX_CONTEXT_LENGTH = "max_context_length"
_SESSION_HEADER = b"x-podium-session"
_MAX_SESSION = 256
_MOST_TAGS = 2048  # texts of tags that are kept as they were parsed


def key_context(principal: "Principal") -> dict[str, object]:
    """What the API key says of whoever holds it; no request can say otherwise."""
    entry = principal.entry
    told: dict[str, object] = {"tenant": entry.tenant, "key": entry.id}
    if principal.tier:
        told["tier"] = principal.tier
    if entry.tags:
        told |= _tags(entry.tags)
    return told


def exchange_context(exchange: Exchange, caller: Caller, principal: "Principal") -> Context:
    """What flags are evaluated for in an exchange, once it has its model.

    The targeting key is the exchange's subject: the user, else the session, else the key.
    """
    context = key_context(principal)
    session = caller.headers.get(_SESSION_HEADER)
    context[TARGETING_KEY] = exchange.user or (session and session.decode("latin-1")[:_MAX_SESSION]) or exchange.key_id
    context["model"] = exchange.model
    context["endpoint"] = exchange.endpoint
    if exchange.user:
        context["user"] = exchange.user
    if exchange.tags != principal.entry.tags:
        context |= _tags(exchange.tags)
    return context


def takes_part(
    flag: str, exchange: Exchange, caller: Caller, principal: "Principal", flags: FlagSet, counts: FlagCounts
) -> bool:
    """Whether a boolean flag lets an exchange into a rollout; not when it cannot be evaluated."""
    evaluation = flags.evaluate(flag, exchange_context(exchange, caller, principal), "boolean")
    counts.count(flag, evaluation, "gateway", exchange.started_unix_ns / 1e9)
    return evaluation.value is True


def check_context_length(
    exchange: Exchange, caller: Caller, principal: "Principal", world: "World", counts: FlagCounts
) -> None:
    """Refuse a request that is longer than the flag `max_context_length` says: InvalidRequest.

    Its tokens are estimated, as for limits. A flag that cannot be evaluated holds nothing up.
    """
    evaluation = world.flags.evaluate(MAX_CONTEXT_LENGTH, exchange_context(exchange, caller, principal), "number")
    counts.count(MAX_CONTEXT_LENGTH, evaluation, "gateway", exchange.started_unix_ns / 1e9)
    longest = evaluation.value
    tokens = estimate_input_tokens(exchange.bytes_in)
    if longest is not None and tokens > longest:
        raise InvalidRequest(
            f"The request has about {tokens} tokens, and at most {longest:g} are allowed here.",
            reason=Reason.CONTEXT_LENGTH_EXCEEDED,
            parameter=_INPUTS.get(exchange.endpoint, "messages"),
            hint=f"The operator's flag `{MAX_CONTEXT_LENGTH}` says how long requests may be.",
        )


_INPUTS = {"embeddings": "input", "completions": "prompt"}


@lru_cache(maxsize=_MOST_TAGS)
def _tags(tags: str) -> Mapping[str, object]:
    return {f"tag:{name}": value for name, value in parse_tags(tags).items()}
