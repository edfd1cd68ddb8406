"""A child process that does not outlive its parent."""

import ctypes
import os
import signal
import sys
import threading
import time

__all__ = ["die_with_parent"]

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_POLL_S = 1.0


def die_with_parent(parent_pid: int, signal_number: int = signal.SIGTERM) -> None:
    """From now on this process gets `signal_number` when the parent `parent_pid` dies, however it dies.

    On Linux the kernel does it, and it holds on through `exec`. Elsewhere a thread looks once a second, and
    `exec` ends it.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    else:
        threading.Thread(target=_watch, args=(parent_pid, signal_number), daemon=True, name="parent-watch").start()
    if os.getppid() != parent_pid:  # it died before this call
        os.kill(os.getpid(), signal_number)


def _watch(parent_pid: int, signal_number: int) -> None:
    while os.getppid() == parent_pid:
        time.sleep(_POLL_S)
    os.kill(os.getpid(), signal_number)
