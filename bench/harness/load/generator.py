"""What the load generators share: how they are told what to do, and how they tell what they saw.

In: one line of JSON on standard input, the job with its request. Out: `mark <word>` lines, at which the harness
reads the processor times, and `result <JSON>`.
"""

import gc
import sys
from collections.abc import Callable, Coroutine
from typing import TypeVar

import msgspec
import uvloop

__all__ = ["mark", "run_generator"]

JobT = TypeVar("JobT", bound=msgspec.Struct)


def mark(word: str) -> None:
    """Tell the harness where in the load we are."""
    print(f"mark {word}", flush=True)


def run_generator(job_type: type[JobT], work: Callable[[JobT], Coroutine[None, None, msgspec.Struct]]) -> None:
    """Do the job that standard input names and print its result."""
    job = msgspec.json.decode(sys.stdin.readline().encode(), type=job_type)
    gc.disable()  # a collection in the generator would look like a slow contestant; it lives for seconds
    result = uvloop.run(work(job))
    print(f"result {msgspec.json.encode(result).decode()}", flush=True)
