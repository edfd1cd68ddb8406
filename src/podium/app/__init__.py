"""Builds every process from its settings: the one place where all floors meet.

Each function runs one process until SIGTERM or SIGINT and returns its exit code. Parts load only where they run.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from podium.config import Settings

__all__ = ["run_control", "run_gateway", "run_up", "run_worker"]


def run_up(settings: "Settings") -> int:
    """Run everything on this machine: control, gateway, workers."""
    from podium.app.up import run  # noqa: PLC0415 - see above

    return run(settings)


def run_gateway(settings: "Settings") -> int:
    """Run one gateway."""
    from podium.app.gateway import run  # noqa: PLC0415 - see above

    return run(settings)


def run_control(settings: "Settings") -> int:
    """Run one control process."""
    from podium.app.control import run  # noqa: PLC0415 - see above

    return run(settings)


def run_worker(settings: "Settings", model: str, port: int) -> int:
    """Run one model."""
    from podium.app.worker import run  # noqa: PLC0415 - see above

    return run(settings, model, port)
