"""Tiny model files of each safe format, built byte by byte, so that tests can also build broken and hostile ones."""

import json
import struct
from collections.abc import Mapping
from typing import Any

__all__ = ["protobuf_field", "tiny_gguf", "tiny_onnx", "tiny_onnx_tensor", "tiny_safetensors"]

_ALIGNMENT = 32
_STRING, _ARRAY, _F32 = 8, 9, 6


def tiny_gguf(name: str = "Tiny", *, architecture: str = "llama", licence: str = "MIT") -> bytes:
    """A GGUF file with a few facts, lists and two tensors. llama.cpp reads it, and misses what a model needs."""
    tokens = b"".join(map(_gguf_text, ("a", "b", "ccc")))
    entries = [
        _gguf_text("general.architecture") + struct.pack("<I", _STRING) + _gguf_text(architecture),
        _gguf_text("general.name") + struct.pack("<I", _STRING) + _gguf_text(name),
        _gguf_text("general.license") + struct.pack("<I", _STRING) + _gguf_text(licence),
        _gguf_text("tokenizer.ggml.tokens") + struct.pack("<IIQ", _ARRAY, _STRING, 3) + tokens,
        _gguf_text("tokenizer.ggml.scores") + struct.pack("<IIQ", _ARRAY, _F32, 2) + bytes(8),
    ]
    tensors = [  # name, dimensions, type (F32, Q8_0), offset
        _gguf_text("one") + struct.pack("<IQQIQ", 2, 32, 4, 0, 0),
        _gguf_text("two") + struct.pack("<IQIQ", 1, 32, 8, 512),
    ]
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(entries)) + b"".join(entries + tensors)
    return _padded(head) + bytes(512) + _padded(bytes(34))


def tiny_safetensors(
    tensors: Mapping[str, Mapping[str, Any]] | None = None, data: bytes = bytes(24), **metadata: str
) -> bytes:
    """A safetensors file: of two tensors, unless told otherwise."""
    described: Mapping[str, Mapping[str, Any]] = tensors or {
        "a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
        "b": {"dtype": "F16", "shape": [4], "data_offsets": [16, 24]},
    }
    text = json.dumps({**({"__metadata__": metadata} if metadata else {}), **described}).encode()
    return struct.pack("<Q", len(text)) + text + data


def tiny_onnx(*tensors: bytes, graph: bytes = b"") -> bytes:
    """An ONNX model with these tensors (else one of its own) and no nodes; `graph`: further fields of its graph."""
    inside = b"".join(protobuf_field(5, one) for one in tensors or (tiny_onnx_tensor(),)) + graph
    body = protobuf_field(7, protobuf_field(2, b"g") + inside)
    return protobuf_field(1, 10) + protobuf_field(2, b"by hand") + body + protobuf_field(8, protobuf_field(2, 17))


def tiny_onnx_tensor(location: str | None = None) -> bytes:
    """A tensor with its data inside, or in the file `location`."""
    if location is None:
        return protobuf_field(2, 1) + protobuf_field(8, b"w") + protobuf_field(9, bytes(16))
    where = protobuf_field(1, b"location") + protobuf_field(2, location.encode())
    return protobuf_field(8, b"w") + protobuf_field(13, where) + protobuf_field(14, 1)


def protobuf_field(number: int, value: int | bytes) -> bytes:
    """One field of a protobuf message: a number, or bytes."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:  # noqa: PLR2004 - seven bits a byte
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _gguf_text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _ALIGNMENT)
