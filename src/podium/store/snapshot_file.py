"""The published snapshot on disk, so that a gateway serves on without its control plane.

    magic 8 · format version 2 · HMAC-SHA256 of version and body 32 · body (msgpack)

The HMAC tells damage and foreign files from our own: a snapshot decides who may call what.
"""

import contextlib
import hmac
import os
import tempfile
from pathlib import Path

import msgspec

from podium.core.errors import OperatorError
from podium.core.snapshot import Snapshot, decode_snapshot, encode_snapshot

__all__ = ["FORMAT_VERSION", "SnapshotStamp", "read_snapshot", "snapshot_stamp", "write_snapshot"]

FORMAT_VERSION = 1
_MAGIC = b"PODIUMSN"
_SEAL_BYTES = 32
_BODY = len(_MAGIC) + 2 + _SEAL_BYTES

SnapshotStamp = tuple[int, int, int]


def write_snapshot(path: Path, key: bytes, snapshot: Snapshot) -> None:
    """Put `snapshot` in the place of `path` at once, mode 0600; a reader sees the old one or the new one.

    OperatorError: it cannot be written.
    """
    version = FORMAT_VERSION.to_bytes(2, "little")
    body = encode_snapshot(snapshot)
    data = _MAGIC + version + _seal(key, version, body) + body
    try:
        _replace(path, data)
    except OSError as error:
        raise OperatorError(
            f"the snapshot {path} cannot be written: {error.strerror or error}",
            hint="make the data folder writable, or free space",
        ) from error


def _replace(path: Path, data: bytes) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".tmp", dir=path.parent)  # mode 0600
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
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


def read_snapshot(path: Path, key: bytes) -> Snapshot:
    """The snapshot in `path`. FileNotFoundError: there is none. OperatorError: it is not ours, or damaged."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise OperatorError(f"the snapshot {path} cannot be read: {error.strerror or error}") from error
    if not data.startswith(_MAGIC) or len(data) < _BODY:
        raise _unusable(path, "is not a snapshot, or was cut")
    version = data[len(_MAGIC) : len(_MAGIC) + 2]
    number = int.from_bytes(version, "little")
    if number > FORMAT_VERSION:
        raise OperatorError(
            f"the snapshot {path} has format {number}, above this Podium's {FORMAT_VERSION}",
            hint="it was published by a newer Podium: upgrade this process too",
        )
    seal, body = data[_BODY - _SEAL_BYTES : _BODY], data[_BODY:]
    if not hmac.compare_digest(seal, _seal(key, version, body)):
        raise _unusable(path, "is damaged, or was sealed with another secret.key")
    try:
        return decode_snapshot(body)
    except msgspec.DecodeError as error:
        raise _unusable(path, f"does not fit this Podium ({error})") from error


def _unusable(path: Path, why: str) -> OperatorError:
    return OperatorError(
        f"the snapshot {path} {why}",
        hint="start the control process: it publishes a new one; delete the file if it does not",
    )


def _seal(key: bytes, version: bytes, body: bytes) -> bytes:
    return hmac.digest(key, version + body, "sha256")


def snapshot_stamp(path: Path) -> SnapshotStamp | None:
    """Changes with each publication, at the price of one stat; None when there is no file."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
