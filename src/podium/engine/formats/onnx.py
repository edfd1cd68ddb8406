"""ONNX: a protobuf message without a magic number.

https://github.com/onnx/onnx/blob/main/onnx/onnx.proto. The whole tree of messages is walked by a table of the fields
that lead to tensors; data is skipped. Tensors may keep their data in other files, whose names are returned.
"""

from podium.engine.formats.reader import Broken, Buffer, Reader

__all__ = ["check_onnx", "looks_like_onnx"]

_MODEL, _GRAPH, _NODE, _ATTRIBUTE, _TENSOR, _SPARSE, _FUNCTION, _TRAINING, _ENTRY, _OPSET = range(10)
# Of each message: the numbers of the fields that hold messages of interest.
_CHILDREN = {
    _MODEL: {7: _GRAPH, 8: _OPSET, 20: _TRAINING, 25: _FUNCTION},
    _GRAPH: {1: _NODE, 5: _TENSOR, 15: _SPARSE},
    _NODE: {5: _ATTRIBUTE},
    _ATTRIBUTE: {5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH, 22: _SPARSE, 23: _SPARSE},
    _TENSOR: {13: _ENTRY},
    _SPARSE: {1: _TENSOR, 2: _TENSOR},
    _FUNCTION: {7: _NODE, 11: _ATTRIBUTE},
    _TRAINING: {1: _GRAPH, 2: _GRAPH},
    _ENTRY: {},
    _OPSET: {},
}
_MODEL_FIELDS = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26})
_IR_VERSION, _GRAPH_FIELD, _OPSET_FIELD = 1, 7, 8
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_DEPTH = 40
_MAX_MESSAGES = 5_000_000
_MAX_TEXT = 4096


def looks_like_onnx(start: bytes) -> bool:
    """Whether a file that begins so may be one: the number of its IR version comes first, and is small."""
    return start[:1] == b"\x08" and 0 < start[1] < 64  # noqa: PLR2004 - today it is 13


def check_onnx(buffer: Buffer) -> tuple[str, ...]:
    """The names of the files in which its tensors lie; `Broken` when it is no whole ONNX model."""
    walk = _Walk()
    seen = walk.message(Reader(buffer), _MODEL, 0)
    if missing := {_IR_VERSION, _GRAPH_FIELD, _OPSET_FIELD} - seen:
        raise Broken(f"no ONNX model is without the fields {sorted(missing)}")
    if unknown := seen - _MODEL_FIELDS:
        raise Broken(f"no ONNX model has the fields {sorted(unknown)[:5]}")
    return tuple(sorted(walk.locations))


class _Walk:
    """One walk over a model; counts what it meets."""

    def __init__(self) -> None:
        self.locations: set[str] = set()
        self._messages = 0

    def message(self, reader: Reader, kind: int, depth: int) -> set[int]:
        """Walk one message; the numbers of its fields."""
        self._messages += 1
        if depth > _MAX_DEPTH or self._messages > _MAX_MESSAGES:
            raise Broken("it is nested too deep, or has too many parts")
        children, seen = _CHILDREN[kind], set[int]()
        while reader.left:
            tag = reader.varint()
            number, wire = tag >> 3, tag & 7
            seen.add(number)
            if wire == _BYTES:
                inner = reader.inside(reader.varint())
                child = children.get(number)
                if child == _ENTRY:
                    self._entry(inner)
                elif child is not None:
                    self.message(inner, child, depth + 1)
            elif number in children:
                raise Broken(f"field {number} at byte {reader.at} has another form")
            else:
                _skip_plain(reader, wire)
        return seen

    def _entry(self, reader: Reader) -> None:
        """A key and a value of a tensor's external data."""
        texts = {1: b"", 2: b""}
        while reader.left:
            tag = reader.varint()
            if tag & 7 != _BYTES:
                raise Broken("a pair that is none")
            length = reader.varint()
            if length > _MAX_TEXT:
                raise Broken(f"the name of a file has {length} bytes")
            texts[tag >> 3] = reader.take(length)
        if texts[1] == b"location":
            self.locations.add(texts[2].decode("utf-8", "replace"))


def _skip_plain(reader: Reader, wire: int) -> None:
    if wire == _VARINT:
        reader.varint()
    elif wire == _FIXED64:
        reader.skip(8)
    elif wire == _FIXED32:
        reader.skip(4)
    else:
        raise Broken(f"wire type {wire} at byte {reader.at}")
