"""Bytes to a file descriptor that may block, without ever blocking who hands them over.

A pipe whose reader is slow, a terminal that was paused, a full disk: a thread waits, the gateway does not. What does
not fit into the bound is dropped and counted.
"""

import os
import select
import threading
from collections import deque

__all__ = ["LineWriter"]


class LineWriter:
    """Owner of the thread that writes. The file descriptor stays open; it is the caller's."""

    def __init__(self, descriptor: int, *, max_pending_bytes: int) -> None:
        self._descriptor = descriptor
        self._max_pending_bytes = max_pending_bytes
        self._pending: deque[tuple[bytes, int]] = deque()
        self._pending_bytes = 0
        self._changed = threading.Condition()
        self._closing = False
        self._dropped_lines = 0
        self._thread = threading.Thread(target=self._run, name="line-writer", daemon=True)
        self._thread.start()

    @property
    def dropped_lines(self) -> int:
        """Lines that were not written since the start."""
        return self._dropped_lines

    def write(self, chunk: bytes, lines: int) -> None:
        """Hand over whole lines; drop them when too much is waiting. Never blocks."""
        with self._changed:
            if self._closing or self._pending_bytes + len(chunk) > self._max_pending_bytes:
                self._dropped_lines += lines
                return
            self._pending.append((chunk, lines))
            self._pending_bytes += len(chunk)
            self._changed.notify()

    def close(self, timeout_s: float) -> None:
        """Write what is waiting, for at most `timeout_s`; what is left then is dropped. Blocks."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout_s)
        with self._changed:
            self._dropped_lines += sum(lines for _, lines in self._pending)
            self._pending.clear()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._pending:
                    if self._closing:
                        return
                    self._changed.wait()
                chunk, lines = self._pending.popleft()
            written = _write_all(self._descriptor, chunk)
            with self._changed:
                self._pending_bytes -= len(chunk)
                if not written:
                    self._dropped_lines += lines


def _write_all(descriptor: int, chunk: bytes) -> bool:
    """False when the other end is gone, the disk is full, or the descriptor is not open."""
    rest = memoryview(chunk)
    try:
        while rest:
            rest = rest[_write_some(descriptor, rest) :]
    except OSError:
        return False
    return True


def _write_some(descriptor: int, chunk: memoryview) -> int:
    try:
        return os.write(descriptor, chunk)
    except BlockingIOError:  # somebody else made the descriptor non-blocking
        select.select([], [descriptor], [])
        return 0
