"""What is noted of the answers that a rollout chose the version for, so that its arms can be compared."""

from podium.core.event import AnswerFlag
from podium.core.exchange import Exchange
from podium.wire.answer_facts import AnswerFacts, asks_for_json, is_json, messages_facts, openai_facts, streamed_text

__all__ = ["MAX_REASON", "note_stream", "note_whole"]

MAX_REASON = 64  # characters; longer ones are no upstream's words


def note_whole(exchange: Exchange, request: bytes, answer: bytes) -> None:
    """Of a whole answer. `request`: as it went upstream."""
    if exchange.endpoint == "embeddings":
        return
    facts = messages_facts(answer) if exchange.endpoint == "messages" else openai_facts(answer)
    if facts is not None:
        _note(exchange, facts, asked=asks_for_json(request))


def note_stream(exchange: Exchange, facts: AnswerFacts, events: bytes | None) -> None:
    """Of a stream that came to its end. `events`: all of it, when JSON was asked for."""
    if events is not None:
        facts = AnswerFacts(facts.finish_reason, facts.empty, facts.refused, facts.calls, streamed_text(events))
    _note(exchange, facts, asked=events is not None)


def _note(exchange: Exchange, facts: AnswerFacts, *, asked: bool) -> None:
    flags = exchange.answer_flags
    if facts.empty:
        flags |= AnswerFlag.EMPTY
    if facts.refused:
        flags |= AnswerFlag.REFUSED
    if asked:
        flags |= AnswerFlag.FORMAT_ASKED
        if not (facts.refused or facts.calls or is_json(facts.text)):
            flags |= AnswerFlag.FORMAT_INVALID
    exchange.finish_reason = facts.finish_reason[:MAX_REASON]
    exchange.answer_flags = int(flags)
