"""Answers that no model made, in every dialect: what an operator lets Podium say when nothing else is left.

Each has a member `podium` that marks it, so that a program can tell it from a model's answer.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

__all__ = ["FixedAnswer", "streamed", "whole"]

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class FixedAnswer:
    """What to say, and why no model does."""

    id: str
    model: str
    created_unix_s: int
    text: str
    reason: str

    @property
    def mark(self) -> dict[str, object]:
        """The member that tells it from a model's answer."""
        return {"degraded": True, "reason": self.reason}


def whole(endpoint: str, answer: FixedAnswer) -> bytes:
    """A whole answer of an endpoint; KeyError for embeddings, which cannot be made up."""
    return _encode({**_WHOLE[endpoint](answer), "podium": answer.mark})


def streamed(endpoint: str, answer: FixedAnswer) -> bytes:
    """The events of an answer but for the last one, which says that the stream is over."""
    return _STREAMED[endpoint](answer)


def _chat(answer: FixedAnswer) -> dict[str, object]:
    message = {"role": "assistant", "content": answer.text, "refusal": None}
    return _openai(answer, "chat.completion", {"message": message}) | {"usage": _OPENAI_USAGE}


def _completion(answer: FixedAnswer) -> dict[str, object]:
    return _openai(answer, "text_completion", {"text": answer.text}) | {"usage": _OPENAI_USAGE}


_OPENAI_USAGE = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


def _openai(
    answer: FixedAnswer, kind: str, said: Mapping[str, object], finish_reason: str | None = "stop"
) -> dict[str, object]:
    return {
        "id": f"{'cmpl' if kind == 'text_completion' else 'chatcmpl'}-{answer.id}",
        "object": kind,
        "created": answer.created_unix_s,
        "model": answer.model,
        "choices": [{"index": 0, **said, "logprobs": None, "finish_reason": finish_reason}],
    }


def _chat_events(answer: FixedAnswer) -> bytes:
    first = {"delta": {"role": "assistant", "content": answer.text}}
    return _data(_openai(answer, "chat.completion.chunk", first, None) | {"podium": answer.mark}) + _data(
        _openai(answer, "chat.completion.chunk", {"delta": {}})
    )


def _completion_events(answer: FixedAnswer) -> bytes:
    return _data(_completion(answer) | {"podium": answer.mark})


def _data(value: Mapping[str, object]) -> bytes:
    return b"data: " + _encode(value) + b"\n\n"


def _message(answer: FixedAnswer) -> dict[str, object]:
    return {
        "id": f"msg_{answer.id}",
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": [{"type": "text", "text": answer.text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 0, "output_tokens": 0},
    }


def _message_events(answer: FixedAnswer) -> bytes:
    start = _message(answer) | {"content": [], "stop_reason": None, "podium": answer.mark}
    return b"".join(
        _named(event)
        for event in (
            {"type": "message_start", "message": start},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": answer.text}},
            {"type": "content_block_stop", "index": 0},
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                "usage": {"output_tokens": 0},
            },
        )
    )


def _named(event: Mapping[str, object]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (str(event["type"]).encode(), _encode(event))


_WHOLE: dict[str, Callable[[FixedAnswer], Mapping[str, object]]] = {
    "chat.completions": _chat,
    "completions": _completion,
    "messages": _message,
}
_STREAMED: dict[str, Callable[[FixedAnswer], bytes]] = {
    "chat.completions": _chat_events,
    "completions": _completion_events,
    "messages": _message_events,
}
