"""The bytes of `POST /v1/embeddings` to values, and back. Shapes: the OpenAI API reference, "Embeddings". Pure."""

import base64
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

from podium.core.errors import InvalidRequest, PodiumError
from podium.core.reasons import Fault, Reason

if TYPE_CHECKING:
    from podium.engine.embedding_model import Vector

__all__ = ["EmbeddingRequest", "decode_request", "encode_error", "encode_models", "encode_response"]

_MAX_TEXTS = 2048  # as OpenAI


class EmbeddingRequest(msgspec.Struct, frozen=True):
    """What to embed, and how to send it."""

    texts: tuple[str, ...]
    encoding: Literal["float", "base64"]


class _Body(msgspec.Struct):
    input: str | list[str | int | list[int]]  # token ids are told apart to be refused with a good reason
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None


class _Embedding(msgspec.Struct, kw_only=True):
    object: str = "embedding"
    index: int
    embedding: list[float] | str


class _Usage(msgspec.Struct):
    prompt_tokens: int
    total_tokens: int


class _Response(msgspec.Struct, kw_only=True):
    object: str = "list"
    data: list[_Embedding]
    model: str
    usage: _Usage


_decode_body = msgspec.json.Decoder(_Body).decode
_encode = msgspec.json.Encoder().encode
_FIELD = re.compile(r"at `\$\.(\w+)|field `(\w+)`")


def decode_request(body: bytes, *, dimensions: int) -> EmbeddingRequest:
    """The request; `InvalidRequest` names the field that is wrong. `dimensions`: what the model has."""
    try:
        decoded = _decode_body(body)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"{error}.", parameter=_parameter(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}.", reason=Reason.INVALID_JSON) from error
    if decoded.dimensions not in {None, dimensions}:
        raise InvalidRequest(
            f"This model has {dimensions} dimensions; it does not support other values of `dimensions`.",
            parameter="dimensions",
        )
    return EmbeddingRequest(_texts(decoded.input), decoded.encoding_format or "float")


def encode_response(request: EmbeddingRequest, vectors: "Sequence[Vector]", *, model: str, tokens: int) -> bytes:
    """The answer; `vectors` has one array of float32 for each text."""
    data = [
        _Embedding(index=index, embedding=vector.tolist() if request.encoding == "float" else _base64(vector))
        for index, vector in enumerate(vectors)
    ]
    return _encode(_Response(data=data, model=model, usage=_Usage(tokens, tokens)))


def encode_models(model: str, created: int) -> bytes:
    """The answer of `GET /v1/models`."""
    entry = {"id": model, "object": "model", "created": created, "owned_by": "podium"}
    return _encode({"object": "list", "data": [entry]})


def encode_error(error: PodiumError) -> bytes:
    """OpenAI's error object."""
    kind = "invalid_request_error" if error.fault is Fault.CALLER else "server_error"
    shape = {"message": error.message, "type": kind, "param": error.parameter, "code": error.reason}
    return _encode({"error": shape})


def _parameter(error: msgspec.ValidationError) -> str | None:
    """The field that msgspec complains about."""
    match = _FIELD.search(str(error))
    return match and (match[1] or match[2])


def _texts(value: str | list[str | int | list[int]]) -> tuple[str, ...]:
    texts = (value,) if isinstance(value, str) else tuple(value)
    if not texts or "" in texts:
        raise InvalidRequest("`input` cannot be empty, nor have an empty string.", parameter="input")
    if len(texts) > _MAX_TEXTS:
        raise InvalidRequest(f"`input` has {len(texts)} texts; at most {_MAX_TEXTS} are allowed.", parameter="input")
    strings = tuple(text for text in texts if isinstance(text, str))
    if len(strings) != len(texts):
        raise InvalidRequest(
            "`input` has token ids. This model has a tokenizer of its own: send the text.", parameter="input"
        )
    return strings


def _base64(vector: "Vector") -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")
