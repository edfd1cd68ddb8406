"""Start a program that does not outlive its parent: `python parent.py PARENT_PID SIGNAL PROGRAM [ARGUMENT]...`.

The supervisor starts each child through this file. It arranges for the signal and becomes the program, so
that even a supervisor killed with -9 leaves nothing behind. Only the standard library is imported here; the
file runs by its path, without the package, to start fast.
"""

import ctypes
import os
import sys
import time

__all__ = ["become", "signal_when_parent_dies"]

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_POLL_S = 0.5


def become(parent_pid: int, signal_number: int, argv: list[str]) -> None:
    """Turn this process into the program `argv`, which gets `signal_number` when `parent_pid` dies. Never returns."""
    if sys.platform == "linux":
        signal_when_parent_dies(signal_number)
    else:
        _fork_watcher(parent_pid, signal_number)
    if os.getppid() != parent_pid:  # it died before all this
        os._exit(1)
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - the very purpose
    except OSError as error:
        sys.stderr.write(f"{argv[0]} cannot be started: {error.strerror}\n")
        os._exit(127)


def signal_when_parent_dies(signal_number: int) -> None:
    """Have the kernel send `signal_number` to this process when its parent dies; holds on through `exec`. Linux."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")


def _fork_watcher(parent_pid: int, signal_number: int) -> None:
    """Where the kernel does not do it: a small process that looks twice a second, and ends with this one."""
    program_pid = os.getpid()
    if os.fork() != 0:
        return
    while os.getppid() == program_pid:
        try:
            os.kill(parent_pid, 0)
        except ProcessLookupError:
            os.kill(program_pid, signal_number)
            break
        time.sleep(_POLL_S)
    os._exit(0)


if __name__ == "__main__":
    become(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
