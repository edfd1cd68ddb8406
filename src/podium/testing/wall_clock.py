"""A wall clock that tests put forward and back, for Python processes of their own and while these run.

The processes find a `sitecustomize` in their path, which replaces `time.time` and `time.time_ns` before anything else
is imported. Monotonic clocks stay as they are, as they do when a machine's clock is put right; code in other languages
sees the true time.
"""

import mmap
import os
import struct
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["WallClock"]

_FORM = struct.Struct("=q")  # nanoseconds
_REPLACEMENT = """
import mmap, pathlib, struct, time

with pathlib.Path(__file__).with_name("offset").open("rb") as file:
    offset = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)
true_ns = time.time_ns

def time_ns():
    return true_ns() + struct.unpack_from("=q", offset)[0]

time.time_ns = time_ns
time.time = lambda: time_ns() / 1e9
"""


class WallClock:
    """The clock of all processes that are started with `environment` while the block runs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> Self:
        self._folder.mkdir()
        (self._folder / "sitecustomize.py").write_text(_REPLACEMENT)
        (self._folder / "offset").write_bytes(_FORM.pack(0))
        with (self._folder / "offset").open("r+b") as file:
            self._offset = mmap.mmap(file.fileno(), _FORM.size)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._offset.close()

    @property
    def environment(self) -> dict[str, str]:
        """What the processes have to be started with."""
        inherited = os.environ.get("PYTHONPATH")
        return {"PYTHONPATH": os.pathsep.join([str(self._folder), *([inherited] if inherited else [])])}

    def put(self, ahead_s: float) -> None:
        """From now on it is so far ahead of the true time, or behind."""
        _FORM.pack_into(self._offset, 0, int(ahead_s * 1e9))
