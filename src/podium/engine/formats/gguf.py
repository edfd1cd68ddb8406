"""GGUF: magic, version, counts, metadata, tensor descriptions, aligned data.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Only the description is read. Every length is checked
against what is left of the file before anything is read or made of it.
"""

from math import prod

from podium.engine.formats.reader import Broken, Buffer, Reader

__all__ = ["MAGIC", "check_gguf"]

MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_MAX_ENTRIES, _MAX_TENSORS, _MAX_ITEMS, _MAX_NAME, _MAX_DIMENSIONS = 100_000, 1_000_000, 4_000_000, 65_535, 8
_MAX_ALIGNMENT = 1 << 20
_STRING, _ARRAY, _UINT32 = 8, 9, 4
_WIDTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # bytes of a value by its type
_SMALLEST_TENSOR = 8 + 4 + 4 + 8  # bytes of a description: length of the name, dimensions, type, offset
_SMALLEST_ENTRY = 8 + 4 + 1
_FACTS = {"general.architecture", "general.name", "general.license", "general.type"}
_FACT_CHARACTERS = 200

# Values in a block and bytes of a block, by type of tensor; `gguf.constants.GGML_QUANT_SIZES`.
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 40),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 16: (256, 66),
    17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136),
    24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54),
    35: (256, 66), 39: (32, 17), 40: (64, 36), 41: (128, 18),
}  # fmt: skip


def check_gguf(buffer: Buffer) -> dict[str, str]:
    """A few facts of the metadata; `Broken` when it is no whole GGUF file."""
    reader = Reader(buffer)
    if reader.take(4) != MAGIC:
        raise Broken("it does not begin as GGUF")
    version = reader.number(4)
    if version not in _VERSIONS:
        raise Broken(f"GGUF of version {version} is not known (big-endian, or too old)")
    tensors, entries = reader.number(8), reader.number(8)
    if tensors > min(_MAX_TENSORS, reader.left // _SMALLEST_TENSOR):
        raise Broken(f"it promises {tensors} tensors")
    if entries > min(_MAX_ENTRIES, reader.left // _SMALLEST_ENTRY):
        raise Broken(f"it promises {entries} metadata entries")
    facts, alignment = _metadata(reader, entries)
    _tensors(reader, tensors, alignment)
    return facts


def _metadata(reader: Reader, entries: int) -> tuple[dict[str, str], int]:
    facts: dict[str, str] = {}
    alignment = 32
    for _ in range(entries):
        key = reader.take(_length(reader, _MAX_NAME)).decode("utf-8", "replace")
        kind = reader.number(4)
        if key in _FACTS and kind == _STRING:
            facts[key] = reader.take(_length(reader)).decode("utf-8", "replace")[:_FACT_CHARACTERS]
        elif key == "general.alignment" and kind == _UINT32:
            alignment = reader.number(4)
        else:
            _skip_value(reader, kind)
    if alignment == 0 or alignment > _MAX_ALIGNMENT or alignment & (alignment - 1):
        raise Broken(f"{alignment} is no alignment")
    return facts, alignment


def _skip_value(reader: Reader, kind: int) -> None:
    if kind == _STRING:
        reader.skip(_length(reader))
    elif kind == _ARRAY:
        item, count = reader.number(4), reader.number(8)
        if item in _WIDTHS:
            reader.skip(count * _WIDTHS[item])
        elif item == _STRING:
            if count > min(_MAX_ITEMS, reader.left // 8):
                raise Broken(f"it promises a list of {count} texts")
            for _ in range(count):
                reader.skip(_length(reader))
        else:
            raise Broken(f"there are no lists of type {item}")
    elif kind in _WIDTHS:
        reader.skip(_WIDTHS[kind])
    else:
        raise Broken(f"there are no values of type {kind}")


def _length(reader: Reader, most: int | None = None) -> int:
    length = reader.number(8)
    if most is not None and length > most:
        raise Broken(f"a name of {length} bytes")
    return length


def _tensors(reader: Reader, count: int, alignment: int) -> None:
    ends: list[int | None] = []
    for _ in range(count):
        reader.skip(_length(reader, _MAX_NAME))
        dimensions = reader.number(4)
        if dimensions > _MAX_DIMENSIONS:
            raise Broken(f"a tensor of {dimensions} dimensions")
        values = prod(reader.number(8) for _ in range(dimensions))
        block = _BLOCKS.get(reader.number(4))
        offset = reader.number(8)
        if offset % alignment:
            raise Broken(f"a tensor begins at {offset}, which is not aligned")
        ends.append(None if block is None else offset + -(-values // block[0]) * block[1])
        if offset > reader.end:
            raise Broken(f"a tensor begins at {offset}, beyond the end")
    start = -(-reader.at // alignment) * alignment
    size = max(0, reader.end - start)
    known = [end for end in ends if end is not None]
    needed = max(known, default=0)
    if needed > size:
        raise Broken(f"it is cut off: tensors need {needed} bytes, and {size} are there")
    # Bytes behind the last tensor could be anything; only its padding belongs to the format.
    if len(known) == len(ends) and size - needed >= alignment:
        raise Broken(f"{size - needed} bytes follow the last tensor")
