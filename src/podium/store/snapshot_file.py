"""The published snapshot on disk, so that a gateway serves on without its control plane or its database."""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from podium.core.errors import OperatorError
from podium.core.snapshot import Snapshot
from podium.store.snapshot_seal import HEAD_BYTES, opened, proved_revision, sealed, sealed_revision

__all__ = ["SnapshotStamp", "keep_newer", "read_revision", "read_snapshot", "snapshot_stamp", "write_snapshot"]

SnapshotStamp = tuple[int, int, int]


def write_snapshot(path: Path, key: bytes, snapshot: Snapshot) -> SnapshotStamp:
    """Put `snapshot` in the place of `path` at once, mode 0600; a reader sees the old one or the new one. Its stamp.

    OperatorError: it cannot be written.
    """
    with _told(path):
        return _replace(path, sealed(snapshot, key))


def keep_newer(path: Path, data: bytes) -> bool:
    """Put sealed bytes in the place of `path` unless what is there is newer; of several processes the newest wins.

    OperatorError: it cannot be written.
    """
    with _told(path), path.with_name(f"{path.name}.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # held for one write
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            if sealed_revision(file.read(HEAD_BYTES)) >= sealed_revision(data):
                return False
        _replace(path, data)
        return True


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OperatorError(
            f"the snapshot {path} cannot be written: {error.strerror or error}",
            hint="make the data folder writable, or free space",
        ) from error


def _replace(path: Path, data: bytes) -> SnapshotStamp:
    descriptor, name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".tmp", dir=path.parent)  # mode 0600
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            stamp = _stamp_of(os.fstat(file.fileno()))
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return stamp


def read_snapshot(path: Path, key: bytes) -> Snapshot:
    """The snapshot in `path`. FileNotFoundError: there is none. OperatorError: it is not ours, or damaged."""
    return opened(_bytes_of(path), key, f"the snapshot {path}")


def read_revision(path: Path, key: bytes) -> int:
    """The revision of the snapshot in `path`; errors as of `read_snapshot`."""
    return proved_revision(_bytes_of(path), key, f"the snapshot {path}")


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise OperatorError(f"the snapshot {path} cannot be read: {error.strerror or error}") from error


def snapshot_stamp(path: Path) -> SnapshotStamp | None:
    """Changes with each publication, at the price of one stat; None when there is no file."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return _stamp_of(stat)


def _stamp_of(stat: os.stat_result) -> SnapshotStamp:
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
