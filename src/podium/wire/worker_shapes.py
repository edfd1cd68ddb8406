"""What our workers answer, as far as it is read or changed: chunks of streams, and whole answers."""

import msgspec
from msgspec import UNSET, Raw, UnsetType

from podium.wire.openai import encode_json

__all__ = [
    "NULL",
    "CallDelta",
    "CalledFunction",
    "Choice",
    "Delta",
    "Envelope",
    "TokenCounts",
    "TokenDetails",
    "decode_envelope",
    "envelope_event",
]

NULL = Raw(b"null")


class CalledFunction(msgspec.Struct, omit_defaults=True):
    """The function of a call; of a later piece only more arguments."""

    arguments: str
    name: str | UnsetType = UNSET


class CallDelta(msgspec.Struct, omit_defaults=True):
    """A call, or a piece of one."""

    index: int | UnsetType = UNSET
    id: str | UnsetType = UNSET
    type: str | UnsetType = UNSET
    function: CalledFunction | UnsetType = UNSET


class Delta(msgspec.Struct):
    """A message, or a piece of one."""

    role: str | UnsetType = UNSET
    content: str | UnsetType | None = UNSET
    reasoning_content: str | UnsetType | None = UNSET
    tool_calls: list[CallDelta] | UnsetType = UNSET


class Choice(msgspec.Struct):
    """One choice of a chunk or of a whole answer; which fields are set tells which."""

    index: int
    delta: Delta | UnsetType = UNSET
    message: Delta | UnsetType = UNSET
    text: str | UnsetType = UNSET
    logprobs: Raw | UnsetType = UNSET
    finish_reason: str | None = None


class TokenDetails(msgspec.Struct):
    """How many tokens of a prompt were computed before."""

    cached_tokens: int = 0


class TokenCounts(msgspec.Struct):
    """Usage."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    prompt_tokens_details: TokenDetails = msgspec.field(default_factory=TokenDetails)


class Envelope(msgspec.Struct):
    """A chunk or a whole answer."""

    id: str = ""
    object: str = ""
    created: int = 0
    model: str = ""
    system_fingerprint: str | UnsetType = UNSET
    choices: list[Choice] = []
    usage: TokenCounts | UnsetType | None = UNSET
    error: Raw | UnsetType = UNSET


decode_envelope = msgspec.json.Decoder(Envelope).decode


def envelope_event(envelope: Envelope) -> bytes:
    """The event of a chunk."""
    return b"data: " + encode_json(envelope) + b"\n\n"
