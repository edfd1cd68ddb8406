"""safetensors: 8 bytes with the length of a JSON header, the header, the data without a gap.

https://huggingface.co/docs/safetensors/index#format; its library checks the same.
"""

from math import prod

import msgspec

from podium.engine.formats.reader import Broken, Buffer, Reader

__all__ = ["check_safetensors", "looks_like_safetensors"]

_MAX_HEADER = 100_000_000  # bytes; the library's own bound
_FACT_CHARACTERS = 200
_FACTS = ("format", "modelspec.architecture", "modelspec.title", "modelspec.license")
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "I16": 16, "U16": 16, "F16": 16,
    "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "C64": 64, "F64": 64, "I64": 64, "U64": 64, "F4": 4,
    "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip


class _Tensor(msgspec.Struct, frozen=True):
    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


_read_header = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_read_tensor = msgspec.json.Decoder(_Tensor).decode
_read_notes = msgspec.json.Decoder(dict[str, str]).decode


def looks_like_safetensors(start: bytes) -> bool:
    """Whether a file that begins with these bytes (10 or more) may be one."""
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= _MAX_HEADER


def check_safetensors(buffer: Buffer) -> dict[str, str]:
    """A few notes of the header; `Broken` when it is no whole safetensors file."""
    reader = Reader(buffer)
    length = reader.number(8)
    if length > _MAX_HEADER:
        raise Broken(f"a header of {length} bytes")
    text = reader.take(length)
    try:
        header = _read_header(text)
        notes = _read_notes(header.pop("__metadata__", msgspec.Raw(b"{}")))
        tensors = [_read_tensor(raw) for raw in header.values()]
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise Broken(f"its header cannot be read: {error}") from None
    at = 0
    for tensor in sorted(tensors, key=lambda one: one.data_offsets):
        begin, end = tensor.data_offsets
        if begin != at or end < begin:
            raise Broken(f"a tensor lies at {begin} to {end}, and the last one ends at {at}")
        if tensor.dtype not in _BITS or min(tensor.shape, default=0) < 0:
            raise Broken(f"a tensor of type {tensor.dtype[:20]!r}")
        if (end - begin) * 8 != prod(tensor.shape) * _BITS[tensor.dtype]:
            raise Broken("the size of a tensor is not that of its shape")
        at = end
    if at != reader.left:
        raise Broken(f"its tensors have {at} bytes, and {reader.left} follow the header")
    return {name: notes[name][:_FACT_CHARACTERS] for name in _FACTS if name in notes}
