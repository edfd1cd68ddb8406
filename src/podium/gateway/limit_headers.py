"""How a caller's limits stand, as header lines in the words of its dialect."""

from podium.core.exchange import Exchange
from podium.gateway.ports import Headers, Limits
from podium.traffic.limiting.buckets import Refusal
from podium.traffic.limiting.limiter import Grant
from podium.traffic.limiting.standing import anthropic_headers, openai_headers, retry_headers

__all__ = ["limit_headers", "refusal_headers"]


def limit_headers(exchange: Exchange, limits: Limits, grant: Grant, now_ns: int) -> Headers:
    """Of an admitted exchange; empty when neither requests nor tokens are limited."""
    standings = limits.standings(grant, now_ns)
    if exchange.endpoint == "messages":
        return anthropic_headers(standings, exchange.started_unix_ns)
    return openai_headers(standings)


def refusal_headers(exchange: Exchange, refusal: Refusal) -> Headers:
    """Of one that was not admitted; when to come again included."""
    if exchange.endpoint == "messages":
        return retry_headers(refusal) + anthropic_headers(refusal.standings, exchange.started_unix_ns)
    return retry_headers(refusal) + openai_headers(refusal.standings)
