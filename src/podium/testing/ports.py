"""Loopback ports for servers of tests: none is given out twice in a run, nor by the kernel to somebody's connection.

A port that the kernel chooses may be another test's a moment after its server has ended; whoever still calls there
(a gateway whose provider is down) then calls a stranger. So ports come from below the kernel's own range, each
process of a parallel run has its own part of it, and walks through it from a random place.
"""

import os
import random
import socket
from collections.abc import Iterator

__all__ = ["free_port"]

_FIRST, _END = 15_000, 32_000  # Linux gives 32768 and up to connections (ip_local_port_range)


def free_port() -> int:
    """A port that nobody listens on at this moment, and that no other test of this run was given.

    RuntimeError: none is free.
    """
    for _ in range(_END - _FIRST):
        port = next(_walk)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise RuntimeError(f"every port from {_FIRST} to {_END - 1} is taken")


def _ports(worker: str, workers: int) -> Iterator[int]:
    """One worker's part, round and round; `worker` is pytest-xdist's name for it (gw0, gw1...)."""
    number = int(worker.removeprefix("gw")) % workers
    size = (_END - _FIRST) // workers
    at = random.SystemRandom().randrange(size)
    while True:
        at = (at + 1) % size
        yield _FIRST + number * size + at


_walk = _ports(os.environ.get("PYTEST_XDIST_WORKER", "gw0"), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
