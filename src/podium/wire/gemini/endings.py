"""Why an answer ended, in OpenAI's words. Reference: `Candidate.FinishReason`."""

from podium.core.errors import UpstreamError
from podium.wire.chat.writer import FinishReason

__all__ = ["ending"]

_ENDINGS: dict[str, FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
}
# The model broke down; OpenAI has no word for it, and "stop" would pass the rest off as an answer.
_FAILURES = frozenset(
    (
        "OTHER",
        "MALFORMED_FUNCTION_CALL",
        "MALFORMED_RESPONSE",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "IMAGE_OTHER",
        "NO_IMAGE",
    )
)
_UNSIGNED = "MISSING_THOUGHT_SIGNATURE"
_BAD_REQUEST = 400


def ending(reason: str, *, has_calls: bool) -> FinishReason:
    """OpenAI's reason. UpstreamError: the answer is not one that can be used."""
    known = _ENDINGS.get(reason)
    if known is not None:
        return "tool_calls" if has_calls and known == "stop" else known
    if reason == _UNSIGNED:
        error = UpstreamError(
            "A tool call in the messages lacks its thought signature.",
            hint="The caller has to send the tool calls back as it got them, with `extra_content`.",
        )
        error.upstream_status = _BAD_REQUEST
        raise error
    word = reason if reason in _FAILURES else "for a reason that is not known"
    raise UpstreamError(f"The model broke off its answer: {word}.")
