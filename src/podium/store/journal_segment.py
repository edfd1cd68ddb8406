"""Files of a journal folder: names, and the blocking work on one segment that is being written.

`<Unix nanoseconds>.journal.open` is written to; when it is complete it loses the `.open`. Names sort by
time. Whoever holds the lock on `.lock` owns the folder's `.open` files.
"""

import fcntl
import os
import time
from pathlib import Path

from podium.store.journal_format import HEADER_BYTES, segment_header

__all__ = ["CLOSED_SUFFIX", "OPEN_SUFFIX", "SegmentFile", "lock_folder", "next_stem", "sync_folder"]

CLOSED_SUFFIX = ".journal"
OPEN_SUFFIX = ".journal.open"
_LOCK_NAME = ".lock"


def lock_folder(folder: Path) -> int | None:
    """A descriptor that holds the folder's lock until it is closed; None when another process holds it."""
    descriptor = os.open(folder / _LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def sync_folder(folder: Path) -> None:
    """Bring creations, renames and removals in `folder` to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def next_stem(folder: Path) -> str:
    """A name that sorts behind all others in the folder, even when the wall clock went back."""
    newest = max((int(path.name[:20]) for path in folder.iterdir() if path.name[:20].isdecimal()), default=0)
    return f"{max(time.time_ns(), newest + 1):020d}"


class SegmentFile:
    """One segment that is being written. All methods block; OSError means what it says.

    `size` is the length up to which whole, accepted batches lie in the file.
    """

    __slots__ = ("_descriptor", "born_monotonic_s", "path", "size")

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor = descriptor
        self.path = path
        self.size = HEADER_BYTES
        self.born_monotonic_s = time.monotonic()

    @classmethod
    def create(cls, folder: Path) -> "SegmentFile":
        """A new segment, its header and its name on the disk."""
        path = folder / (next_stem(folder) + OPEN_SUFFIX)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            _write_all(descriptor, segment_header(time.time_ns()))
            os.fsync(descriptor)
            sync_folder(folder)
        except OSError:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise
        return cls(descriptor, path)

    @property
    def empty(self) -> bool:
        """No record is in it."""
        return self.size == HEADER_BYTES

    def write(self, data: bytes | bytearray) -> None:
        """Append all of `data`, or nothing: what was written of it before an error is cut off again."""
        try:
            _write_all(self._descriptor, data)
        except OSError:
            self.cut(self.size)
            raise
        self.size += len(data)

    def cut(self, size: int) -> None:
        """Shorten to `size`. A failure is left to `seal`, which cuts again before it closes."""
        self.size = size
        try:  # noqa: SIM105 - suppress() would be slower to read: the comment above is the point
            os.ftruncate(self._descriptor, size)
        except OSError:
            pass

    def sync(self) -> None:
        """Bring what was written to the disk."""
        os.fdatasync(self._descriptor)

    def seal(self) -> None:
        """Close it for good: on disk, under its closed name; removed when it is empty. Repeatable after OSError."""
        if self._descriptor < 0:
            return
        if os.fstat(self._descriptor).st_size != self.size:
            os.ftruncate(self._descriptor, self.size)
        os.fdatasync(self._descriptor)
        if self.empty:
            self.path.unlink(missing_ok=True)
        elif self.path.exists():
            self.path.rename(self.path.with_suffix(""))
        sync_folder(self.path.parent)
        self.close()

    def close(self) -> None:
        """Give the descriptor back; the file keeps its open name unless it was sealed."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _write_all(descriptor: int, data: bytes | bytearray) -> None:
    done = os.write(descriptor, data)
    while done < len(data):
        done += os.write(descriptor, memoryview(data)[done:])
