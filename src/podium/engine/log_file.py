"""A child's output, in a file of bounded size."""

import os
from pathlib import Path
from typing import BinaryIO

__all__ = ["LogFile"]

_TAIL_BYTES = 8192
_COMPLAINT = "podium: "


class LogFile:
    """Appended to by the child itself; its supervisor copies and cuts it, so that the child never knows."""

    def __init__(self, path: Path, max_bytes: int, kept: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._kept = kept

    def open(self) -> BinaryIO:
        """For the child's standard output and error."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return self._path.open("ab", buffering=0)

    def rotate_if_large(self) -> None:
        """Keep the newest rotated files. What the child writes between copying and cutting is lost."""
        if not self._path.exists() or self._path.stat().st_size < self._max_bytes:
            return
        for number in range(self._kept - 1, 0, -1):
            older = self._numbered(number)
            if older.exists():
                older.replace(self._numbered(number + 1))
        if self._kept:
            self._numbered(1).write_bytes(self._path.read_bytes())
        os.truncate(self._path, 0)

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    def last_complaint(self) -> str:
        """The last sentence that the child's command line said about itself; "" when it said none."""
        try:
            with self._path.open("rb") as file:
                file.seek(max(0, self._path.stat().st_size - _TAIL_BYTES))
                lines = file.read().decode("utf-8", "replace").splitlines()
        except OSError:
            return ""
        said = [line.removeprefix(_COMPLAINT) for line in lines if line.startswith(_COMPLAINT)]
        return said[-1] if said else ""
