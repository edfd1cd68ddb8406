"""A fixed answer, when the operator allows one and nothing else is left."""

from podium.core.errors import PodiumError
from podium.core.exchange import Exchange
from podium.core.reasons import Fault
from podium.gateway.faces import Face
from podium.gateway.landing import JSON, Outcome, calls_told, headers_of
from podium.gateway.pool import Pool
from podium.wire.fixed import FixedAnswer

__all__ = ["give_fixed_answer"]

_EVENT_STREAM = b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"


def give_fixed_answer(pool: Pool, error: PodiumError, exchange: Exchange, face: Face, outcome: Outcome) -> bool:
    """Leave the pool's fixed answer in the outcome; False when it has none, or the error is the caller's own.

    The exchange keeps the error's reason and fault: a fixed answer is no success.
    """
    resort = pool.failure.last_resort
    if resort is None or error.fault is Fault.CALLER or exchange.endpoint == "embeddings":
        return False
    fixed = FixedAnswer(
        id=exchange.id.hex(),
        model=exchange.model,
        created_unix_s=exchange.started_unix_ns // 1_000_000_000,
        text=resort.text,
        reason=str(error.reason),
    )
    exchange.status = 200
    exchange.reason = error.reason
    exchange.fault = error.fault
    degraded = b"x-podium-degraded: %b\r\n" % str(error.reason).encode()
    outcome.fixed = True
    told = headers_of(exchange) + calls_told(exchange, outcome.attempts) + degraded
    outcome.headers = (_EVENT_STREAM if exchange.stream else JSON) + told
    outcome.body = face.fixed_stream(fixed) + face.done if exchange.stream else face.fixed(fixed)
    outcome.bytes_out = len(outcome.body)
    return True
