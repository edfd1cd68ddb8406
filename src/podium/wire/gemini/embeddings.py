"""Embeddings: OpenAI's request as one of Gemini's, and the answer back.

Several inputs go to `models/{model}:batchEmbedContents`; `:embedContent` takes one.
"""

import base64
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from podium.core.errors import InvalidRequest
from podium.core.reasons import Reason
from podium.wire.chat.requests import leave_out
from podium.wire.gemini.body import Part
from podium.wire.gemini.response import TokenCounts, usage_of

__all__ = ["EmbeddingMethod", "TranslatedEmbeddings", "translate_embeddings"]

EmbeddingMethod = Literal["batchEmbedContents", "embedContent"]
_MOST_INPUTS = 100  # "at most 100 requests can be in one batch"
_EXPRESSED = frozenset(("input", "dimensions", "encoding_format"))


@dataclass(frozen=True, slots=True)
class TranslatedEmbeddings:
    """One request in Gemini's form, and how to read what comes back."""

    body: bytes
    dropped: tuple[str, ...]  # request fields that Gemini cannot express and that were left out
    answer: Callable[[bytes], bytes]  # a whole answer -> OpenAI's; ValueError: it cannot be read


class _Request(msgspec.Struct):
    model: str
    input: str | list[str | int | list[int]]
    dimensions: int | None = None
    encoding_format: Literal["float", "base64"] | None = None


class _Content(msgspec.Struct):
    parts: list[Part]


class _Embed(msgspec.Struct, rename="camel", omit_defaults=True):
    model: str
    content: _Content
    output_dimensionality: int | None = None


class _Batch(msgspec.Struct):
    requests: list[_Embed]


class _Values(msgspec.Struct):
    values: list[float]


class _Answer(msgspec.Struct, rename="camel"):
    embedding: _Values | None = None  # of `embedContent`
    embeddings: list[_Values] | None = None  # of `batchEmbedContents`
    usage_metadata: TokenCounts | None = None


class _Embedding(msgspec.Struct):
    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class _Usage(msgspec.Struct):
    prompt_tokens: int
    total_tokens: int


class _Embeddings(msgspec.Struct):
    object: Literal["list"]
    data: list[_Embedding]
    model: str
    usage: _Usage | UnsetType


_decode_request = msgspec.json.Decoder(_Request).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_answer = msgspec.json.Decoder(_Answer).decode
_encode = msgspec.json.Encoder().encode


def translate_embeddings(
    body: bytes, *, unsupported: Literal["reject", "drop"], method: EmbeddingMethod = "batchEmbedContents"
) -> TranslatedEmbeddings:
    """The request for Gemini, and how to read what comes back.

    Vectors are Gemini's own: what is shorter than the model's full length has not the length 1 that OpenAI's have.
    InvalidRequest: tokens instead of text, or more inputs than the method takes.
    """
    request, present = _read(body)
    dropped = leave_out(present, _EXPRESSED, unsupported, protocol="gemini")
    texts = _texts(request.input)
    most = _MOST_INPUTS if method == "batchEmbedContents" else 1
    if not 0 < len(texts) <= most:
        raise InvalidRequest(f"The model's provider embeds 1 to {most} inputs at once.", parameter="input")
    model = request.model if request.model.startswith("models/") else f"models/{request.model}"
    wanted = [_Embed(model, _Content([Part(text=text)]), request.dimensions) for text in texts]
    return TranslatedEmbeddings(
        body=_encode(_Batch(wanted) if method == "batchEmbedContents" else wanted[0]),
        dropped=dropped,
        answer=partial(
            _translate_answer,
            model=request.model,
            inputs=len(texts),
            packed=request.encoding_format == "base64",
        ),
    )


def _read(body: bytes) -> tuple[_Request, frozenset[str]]:
    try:
        request, fields = _decode_request(body), _decode_fields(body)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        raise InvalidRequest(f"{message}.", parameter=path.strip("`.") or None) from None
    except (msgspec.DecodeError, RecursionError):
        raise InvalidRequest("The body is not valid JSON.", reason=Reason.INVALID_JSON) from None
    return request, frozenset(name for name, raw in fields.items() if bytes(raw) != b"null")


def _texts(given: str | list[str | int | list[int]]) -> list[str]:
    if isinstance(given, str):
        return [given]
    texts = [text for text in given if isinstance(text, str)]
    if len(texts) < len(given):
        raise InvalidRequest(
            "The model's provider embeds text, not tokens.", reason=Reason.UNSUPPORTED_PARAMETER, parameter="input"
        )
    return texts


def _translate_answer(body: bytes, *, model: str, inputs: int, packed: bool) -> bytes:
    try:
        answer = _decode_answer(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ValueError("not embeddings of Gemini") from error
    vectors = answer.embeddings or ([answer.embedding] if answer.embedding else [])
    if len(vectors) != inputs:
        raise ValueError("not as many embeddings as inputs")
    data = [
        _Embedding("embedding", index, _packed(vector.values) if packed else vector.values)
        for index, vector in enumerate(vectors)
    ]
    usage = usage_of(answer.usage_metadata)
    counted = _Usage(usage.input_tokens, usage.input_tokens) if usage is not None else UNSET
    return _encode(_Embeddings("list", data, model, counted))


def _packed(values: list[float]) -> str:
    """32-bit floats, little-endian, in base64. ValueError: one is too large for them."""
    try:
        return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
    except OverflowError as error:
        raise ValueError("not embeddings of Gemini") from error
