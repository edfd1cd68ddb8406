"""Reading journal segments, also while another process writes them.

A reader must never skip a record that could still be read. What is not a good frame is therefore one of
two things: the tail of an open segment, which is left for later; or damage, which is reported as a gap
and behind which reading goes on.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from podium.core.errors import OperatorError
from podium.store.journal_format import (
    FORMAT_VERSION,
    FRAME_HEAD,
    HEADER_BYTES,
    MAX_RECORD_BYTES,
    Stop,
    find_frame,
    parse_header,
    scan_frames,
)
from podium.store.journal_segment import CLOSED_SUFFIX, OPEN_SUFFIX, lock_folder, sync_folder

__all__ = ["Gap", "Segment", "SegmentRead", "close_abandoned", "list_segments", "read_segment", "recover_segment"]

_CHUNK_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment as it was listed. `source` names it for good, through its closing too."""

    gateway: str
    stem: str
    path: Path
    closed: bool

    @property
    def source(self) -> str:
        """The name under which a ledger remembers how far it was read."""
        return f"{self.gateway}/{self.stem}"


@dataclass(frozen=True, slots=True)
class Gap:
    """Bytes that hold no readable record."""

    position: int
    length: int


@dataclass(frozen=True, slots=True)
class SegmentRead:
    """What one read found. `exhausted`: nothing more can be read now; of a closed segment, ever."""

    records: tuple[bytes, ...]
    position: int
    gaps: tuple[Gap, ...]
    closed: bool
    exhausted: bool

    @property
    def clean(self) -> bool:
        """No damage was met."""
        return not self.gaps


def list_segments(root: Path) -> tuple[Segment, ...]:
    """The segments of all gateways under `root`, oldest first for each gateway."""
    found = []
    for folder in _folders(root):
        for path in folder.iterdir():
            for suffix in (OPEN_SUFFIX, CLOSED_SUFFIX):
                if path.name.endswith(suffix):
                    stem = path.name.removesuffix(suffix)
                    found.append(Segment(folder.name, stem, path, closed=suffix == CLOSED_SUFFIX))
    return tuple(sorted(found, key=lambda segment: segment.source))


def _folders(root: Path) -> list[Path]:
    try:
        return [folder for folder in root.iterdir() if folder.is_dir()]
    except FileNotFoundError:
        return []


def read_segment(
    path: Path, position: int = 0, *, max_records: int = sys.maxsize, max_bytes: int = _CHUNK_BYTES
) -> SegmentRead:
    """Whole records from `position` (0, or where an earlier read ended) on, up to one of the limits.

    A segment that was closed since it was listed is found under its closed name. FileNotFoundError: it
    is gone. OperatorError: a newer Podium wrote it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        if not path.name.endswith(OPEN_SUFFIX):
            raise
        path = path.with_suffix("")
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # A file that is renamed right now may be read as open once more; that only puts judgement off.
        return _read(descriptor, path, position, max_records, max(max_bytes, MAX_RECORD_BYTES + FRAME_HEAD.size))
    finally:
        os.close(descriptor)


def _read(descriptor: int, path: Path, position: int, max_records: int, max_bytes: int) -> SegmentRead:
    closed = not path.name.endswith(OPEN_SUFFIX)
    if position < HEADER_BYTES:
        head = os.pread(descriptor, HEADER_BYTES, 0)
        header = parse_header(head)
        if header is None:
            if len(head) < HEADER_BYTES and not closed:
                return SegmentRead((), 0, (), closed, exhausted=True)
            return _behind_damage(descriptor, 0, (), closed=closed)
        if header.version > FORMAT_VERSION:
            raise OperatorError(
                f"the journal segment {path.name} has format {header.version}, above this Podium's {FORMAT_VERSION}",
                hint=f"{path} was written by a newer Podium: load it with that version",
            )
        position = HEADER_BYTES
    data = _pread_all(descriptor, max_bytes, position)
    scan = scan_frames(data, max_records=max_records)
    end = position + scan.end
    if scan.stop is Stop.END:
        return SegmentRead(scan.records, end, (), closed, exhausted=len(data) < max_bytes)
    if scan.stop is Stop.ENOUGH or (scan.stop is Stop.SHORT and len(data) == max_bytes):
        return SegmentRead(scan.records, end, (), closed, exhausted=False)
    return _behind_damage(descriptor, end, scan.records, closed=closed)


def _behind_damage(descriptor: int, end: int, records: tuple[bytes, ...], *, closed: bool) -> SegmentRead:
    """Judge what begins at `end`, which did not read as a frame: looks at all the rest, a second time."""
    size = os.fstat(descriptor).st_size
    rest = _pread_all(descriptor, max(size - end, 0), end)
    found = find_frame(rest)
    if found is not None:
        # 0: the writer was in the middle of it at the first look.
        gaps = (Gap(end, found),) if found else ()
        return SegmentRead(records, end + found, gaps, closed, exhausted=False)
    if closed and rest:
        return SegmentRead(records, end + len(rest), (Gap(end, len(rest)),), closed, exhausted=True)
    return SegmentRead(records, end, (), closed, exhausted=True)


def _pread_all(descriptor: int, count: int, position: int) -> bytes:
    data = os.pread(descriptor, count, position)
    while len(data) < count and (more := os.pread(descriptor, count - len(data), position + len(data))):
        data += more
    return data


def recover_segment(path: Path) -> int:
    """Close a segment that its writer left open; only for who holds the folder's lock.

    Cuts what lies behind the last good record (a batch that was never acknowledged), removes a segment
    without records, and never touches a good record. Returns how many bytes were cut.
    """
    position, records = 0, 0
    while True:
        read = read_segment(path, position)
        position, records = read.position, records + len(read.records)
        if read.exhausted:
            break
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        cut = os.fstat(descriptor).st_size - position
        if records:
            os.ftruncate(descriptor, position)
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if records:
        path.rename(path.with_suffix(""))
    else:
        path.unlink()
    return max(cut, 0)


def close_abandoned(folder: Path) -> bool:
    """Close what a gateway that is gone left open, so that it can be loaded and deleted.

    False when the gateway still runs (its folder is locked).
    """
    lock = lock_folder(folder)
    if lock is None:
        return False
    try:
        for path in sorted(folder.glob(f"*{OPEN_SUFFIX}")):
            recover_segment(path)
        sync_folder(folder)
    finally:
        os.close(lock)
    return True
