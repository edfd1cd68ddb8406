"""What an exchange tells of its calls: response headers for the caller, records for the event."""

from collections.abc import Sequence

from podium.core.event import AttemptRecord
from podium.core.exchange import Exchange
from podium.core.reasons import Reason
from podium.core.usage import Usage
from podium.economics.estimate import estimate_input_tokens
from podium.gateway.attempt import Attempt
from podium.gateway.landing import calls_told
from podium.gateway.ports import Headers

__all__ = ["answer_headers", "given_up", "trail_of"]


def answer_headers(attempt: Attempt, attempts: Sequence[Attempt], exchange: Exchange) -> Headers:
    """Version, backend, attempts and why; of several calls each one."""
    if len(attempts) == 1 and not exchange.fallbacks:
        return attempt.backend.heads[attempt.why]
    head = attempt.backend.head + calls_told(exchange, attempts, attempt)
    head += b"x-podium-choice: %b\r\n" % attempt.why.encode()
    if exchange.fallbacks:
        head += b"x-podium-model: %b\r\n" % attempt.model.encode()
    return head


def given_up(attempts: Sequence[Attempt], answered: Attempt | None) -> list[tuple[Attempt, Usage]]:
    """The calls beside the one that answered which worked for nothing, with what they used: at least their input."""
    return [
        (attempt, attempt.usage or Usage(input_tokens=estimate_input_tokens(len(attempt.body)), estimated=True))
        for attempt in attempts
        if attempt is not answered and attempt.worked and attempt.reason is Reason.CLIENT_GONE
    ]


def trail_of(exchange: Exchange, attempts: Sequence[Attempt], answered: Attempt | None) -> tuple[AttemptRecord, ...]:
    """A record of each call, when there were several. Tokens and cost are known once the exchange is settled."""
    if len(attempts) < 2:  # noqa: PLR2004 - the exchange itself is the record of its one call
        return ()
    lost = {id(attempt): usage for attempt, usage in given_up(attempts, answered)}
    records = []
    for attempt in attempts:
        usage = exchange.usage if attempt is answered else lost.get(id(attempt), Usage())
        price = attempt.backend.price
        records.append(
            AttemptRecord(
                model=attempt.model,
                backend=attempt.backend.upstream.label,
                kind=attempt.kind,
                why=attempt.why,
                reason=attempt.reason,
                upstream_status=attempt.upstream_status,
                started_ns=attempt.started_at_ns - exchange.started_at_ns,
                ended_ns=max(attempt.ended_at_ns - exchange.started_at_ns, 0),
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                cost_nanousd=0 if price is None else price.cost_nanousd(usage),
                provider=attempt.backend.upstream.provider,
            )
        )
    return tuple(records)
