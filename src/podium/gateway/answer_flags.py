"""What is noted of the answers that a rollout chose the version for, so that its arms can be compared."""

from podium.core.event import AnswerFlag
from podium.core.exchange import Exchange
from podium.gateway.answer_schemas import Fit, fits
from podium.wire.answer_facts import (
    AnswerFacts,
    asked_schema,
    asks_for_json,
    is_json,
    messages_facts,
    openai_facts,
    streamed_text,
)

__all__ = ["MAX_REASON", "note_stream", "note_whole"]

MAX_REASON = 64  # characters; longer ones are no upstream's words


async def note_whole(exchange: Exchange, request: bytes, answer: bytes) -> None:
    """Of a whole answer. `request`: as it went upstream."""
    if exchange.endpoint == "embeddings":
        return
    facts = messages_facts(answer) if exchange.endpoint == "messages" else openai_facts(answer)
    if facts is not None:
        await _note(exchange, facts, request if asks_for_json(request) else None)


async def note_stream(exchange: Exchange, request: bytes, facts: AnswerFacts, events: bytes | None) -> None:
    """Of a stream that came to its end. `events`: all of it, when JSON was asked for."""
    if events is not None:
        facts = AnswerFacts(facts.finish_reason, facts.empty, facts.refused, facts.calls, streamed_text(events))
    await _note(exchange, facts, None if events is None else request)


async def _note(exchange: Exchange, facts: AnswerFacts, asked: bytes | None) -> None:
    """`asked`: the request, when it wants JSON."""
    flags = exchange.answer_flags
    if facts.empty:
        flags |= AnswerFlag.EMPTY
    if facts.refused:
        flags |= AnswerFlag.REFUSED
    if asked is not None:
        flags |= AnswerFlag.FORMAT_ASKED
        if not (facts.refused or facts.calls or await _is_as_asked(asked, facts.text)):
            flags |= AnswerFlag.FORMAT_INVALID
    exchange.finish_reason = facts.finish_reason[:MAX_REASON]
    exchange.answer_flags = int(flags)


async def _is_as_asked(request: bytes, text: str) -> bool:
    """Whether it is JSON, and of the request's schema, as far as that can be told."""
    if not is_json(text):
        return False
    schema = asked_schema(request)
    return schema is None or await fits(schema, text) is not Fit.NO
