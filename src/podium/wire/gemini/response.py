"""What Gemini says: `GenerateContentResponse`, whole or one event of a stream."""

import msgspec

from podium.core.usage import Usage

__all__ = [
    "Candidate",
    "Logprobs",
    "Part",
    "Response",
    "TokenCounts",
    "call_arguments",
    "read_response",
    "usage_of",
]

_MOST_TOKENS = 10**12  # of one exchange; more is nonsense


class FunctionCall(msgspec.Struct):
    """A call. `args` is a JSON object; b"" when there are none."""

    name: str
    args: msgspec.Raw = msgspec.Raw()
    id: str | None = None


class Part(msgspec.Struct, rename="camel"):
    """A piece of an answer; kinds that OpenAI's chat has no place for (images, code runs) read as nothing."""

    text: str | None = None
    thought: bool | None = None
    function_call: FunctionCall | None = None
    thought_signature: str | None = None


class Content(msgspec.Struct):
    """What a candidate says."""

    parts: list[Part] | None = None


class Token(msgspec.Struct, rename="camel"):
    """One token and how likely it was."""

    token: str = ""
    log_probability: float = 0.0


class TopTokens(msgspec.Struct):
    """The likeliest tokens at one step."""

    candidates: list[Token] = []


class Logprobs(msgspec.Struct, rename="camel"):
    """Both lists have one entry a step."""

    chosen_candidates: list[Token] = []
    top_candidates: list[TopTokens] = []


class Candidate(msgspec.Struct, rename="camel"):
    """One of the answers."""

    content: Content | None = None
    finish_reason: str | None = None
    index: int = 0
    logprobs_result: Logprobs | None = None


class TokenCounts(msgspec.Struct, rename="camel"):
    """What was used so far. Vertex AI leaves all counts out but in the last event."""

    prompt_token_count: int | None = None
    cached_content_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None


class PromptFeedback(msgspec.Struct, rename="camel"):
    """Why a prompt got no answer."""

    block_reason: str | None = None


class Response(msgspec.Struct, rename="camel"):
    """`error` is b"" when there is none."""

    candidates: list[Candidate] | None = None
    usage_metadata: TokenCounts | None = None
    prompt_feedback: PromptFeedback | None = None
    model_version: str | None = None
    response_id: str | None = None
    error: msgspec.Raw = msgspec.Raw()

    @property
    def blocked(self) -> bool:
        """True when the prompt was refused."""
        return self.prompt_feedback is not None and self.prompt_feedback.block_reason is not None


_decode = msgspec.json.Decoder(Response).decode


def read_response(body: bytes) -> Response:
    """ValueError: the bytes are no answer of Gemini."""
    try:
        return _decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ValueError("not an answer of Gemini") from error


def call_arguments(call: FunctionCall) -> str:
    """The arguments as OpenAI's clients expect them: JSON in a string. ValueError: they are no JSON."""
    raw = bytes(call.args)
    if raw in {b"", b"null"}:
        return "{}"
    try:
        return msgspec.json.format(raw, indent=-1).decode()
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ValueError("not the arguments of a call") from error


def usage_of(counts: TokenCounts | None) -> Usage | None:
    """None when the counts say nothing, or nonsense."""
    if counts is None or counts.prompt_token_count is None:
        return None
    given = counts.prompt_token_count + (counts.tool_use_prompt_token_count or 0)
    reasoning = counts.thoughts_token_count or 0
    made = (counts.candidates_token_count or 0) + reasoning
    cached = counts.cached_content_token_count or 0
    if not (0 <= given <= _MOST_TOKENS and 0 <= reasoning <= made <= _MOST_TOKENS and cached >= 0):
        return None
    return Usage(
        input_tokens=given,
        cached_input_tokens=min(cached, given),
        output_tokens=made,
        reasoning_tokens=reasoning,
    )
