"""The log file of a child, bounded in size.

A child writes to the file itself, in append mode: its output costs the supervisor nothing, never blocks on
it, and outlives it. Rotation therefore copies the file and cuts it (as logrotate's `copytruncate`); what is
written in the instant between the two is lost.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

__all__ = ["LogRotation", "open_log", "printed_since", "rotate"]


@dataclass(frozen=True, slots=True)
class LogRotation:
    """Bounds of the log files."""

    file_bytes: int = 10_000_000
    files_kept: int = 3  # rotated ones; 0 cuts without a copy


def open_log(path: Path) -> int:
    """A descriptor to append to `path`, readable by the owner only. The caller closes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def rotate(path: Path, rotation: LogRotation) -> bool:
    """Move the content of a full file to `<path>.1`, older ones to `.2` and so on; whether it was full."""
    try:
        if path.stat().st_size < rotation.file_bytes:
            return False
    except FileNotFoundError:
        return False
    for number in range(rotation.files_kept - 1, 0, -1):
        older = _numbered(path, number)
        if older.exists():
            older.replace(_numbered(path, number + 1))
    if rotation.files_kept:
        shutil.copy(path, _numbered(path, 1))
    os.truncate(path, 0)
    return True


def printed_since(path: Path, offset: int, *, lines: int = 4, limit: int = 64_000) -> str:
    """The last plain lines written after `offset`; JSON log lines are left out. Empty when there are none."""
    try:
        with path.open("rb") as stream:
            end = stream.seek(0, os.SEEK_END)
            stream.seek(max(offset if offset <= end else 0, end - limit))
            text = stream.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    plain = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("{")]
    return "\n".join(plain[-lines:])


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")
