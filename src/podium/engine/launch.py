"""`python -m podium.engine.launch PARENT_PID COMMAND …`: become COMMAND, which ends when the parent does."""

import os
import sys

from podium.engine.parent import die_with_parent

__all__ = ["launch_arguments"]


def launch_arguments(argv: tuple[str, ...]) -> list[str]:
    """What to start so that `argv` runs as a child of this process and does not outlive it."""
    return [sys.executable, "-m", "podium.engine.launch", str(os.getpid()), *argv]


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - what the parent asked for
