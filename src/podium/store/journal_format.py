"""The bytes of a journal segment. No I/O.

A segment is a header and then frames::

    header  magic 8 · format version 2 · zero 2 · created (Unix nanoseconds) 8 · CRC-32 of these 4
    frame   marker 4 · length of the record 4 · CRC-32 4 · record

Integers are little-endian. The CRC of a frame starts from the record's length, so that it covers both.
The marker holds bytes that never occur in UTF-8: no text that a caller sends can pose as a frame when a
reader looks for the next good one behind a damaged one.
"""

import struct
import sys
from dataclasses import dataclass
from enum import Enum
from zlib import crc32

__all__ = [
    "FORMAT_VERSION",
    "FRAME_HEAD",
    "HEADER_BYTES",
    "MARKER",
    "MAX_RECORD_BYTES",
    "Header",
    "Scan",
    "Stop",
    "find_frame",
    "frame",
    "parse_header",
    "scan_frames",
    "segment_header",
]

FORMAT_VERSION = 1
MAX_RECORD_BYTES = 1 << 20
MARKER = 0xFFF7C1FE
FRAME_HEAD = struct.Struct("<III")

_MAGIC = b"PODIUMJL"
_HEADER = struct.Struct("<8sHHQ")
_HEADER_CRC = struct.Struct("<I")
HEADER_BYTES = _HEADER.size + _HEADER_CRC.size
_MARKER_BYTES = MARKER.to_bytes(4, "little")


@dataclass(frozen=True, slots=True)
class Header:
    """What a segment says about itself."""

    version: int
    created_unix_ns: int


def segment_header(created_unix_ns: int) -> bytes:
    """The first bytes of a segment."""
    head = _HEADER.pack(_MAGIC, FORMAT_VERSION, 0, created_unix_ns)
    return head + _HEADER_CRC.pack(crc32(head))


def parse_header(data: bytes) -> Header | None:
    """The header at the start of `data`; None when it is cut or damaged. Judges no version."""
    if len(data) < HEADER_BYTES:
        return None
    magic, version, _, created_unix_ns = _HEADER.unpack_from(data)
    (crc,) = _HEADER_CRC.unpack_from(data, _HEADER.size)
    if magic != _MAGIC or crc != crc32(data[: _HEADER.size]):
        return None
    return Header(version, created_unix_ns)


def frame(record: bytes) -> bytes:
    """`record` as it stands in a segment."""
    length = len(record)
    return FRAME_HEAD.pack(MARKER, length, crc32(record, length)) + record


class Stop(Enum):
    """Why a scan ended where it did."""

    END = "nothing is left"
    SHORT = "what is left looks like the start of a frame"
    DAMAGED = "what is left starts with something else"
    ENOUGH = "the asked number of records was reached"


@dataclass(frozen=True, slots=True)
class Scan:
    """Good frames in a row. `end` is the offset behind the last of them."""

    records: tuple[bytes, ...]
    end: int
    stop: Stop


def scan_frames(data: bytes, offset: int = 0, *, max_records: int = sys.maxsize) -> Scan:
    """Read frames from `offset` on, up to the first one that is not whole and good."""
    records: list[bytes] = []
    size = len(data)
    while offset < size:
        if len(records) >= max_records:
            return Scan(tuple(records), offset, Stop.ENOUGH)
        start = offset + FRAME_HEAD.size
        if start > size:
            cut_marker = data[offset : offset + 4]
            stop = Stop.SHORT if _MARKER_BYTES.startswith(cut_marker) else Stop.DAMAGED
            return Scan(tuple(records), offset, stop)
        marker, length, crc = FRAME_HEAD.unpack_from(data, offset)
        if marker != MARKER or length > MAX_RECORD_BYTES:
            return Scan(tuple(records), offset, Stop.DAMAGED)
        end = start + length
        if end > size:
            return Scan(tuple(records), offset, Stop.SHORT)
        record = data[start:end]
        if crc32(record, length) != crc:
            return Scan(tuple(records), offset, Stop.DAMAGED)
        records.append(record)
        offset = end
    return Scan(tuple(records), offset, Stop.END)


def find_frame(data: bytes, offset: int = 0) -> int | None:
    """Offset of the first whole, good frame at or behind `offset`; None when there is none."""
    while (offset := data.find(_MARKER_BYTES, offset)) >= 0:
        start = offset + FRAME_HEAD.size
        if start <= len(data):
            _, length, crc = FRAME_HEAD.unpack_from(data, offset)
            end = start + length
            if length <= MAX_RECORD_BYTES and end <= len(data) and crc32(data[start:end], length) == crc:
                return offset
        offset += 1
    return None
