"""The `podium` command. One module a command group; each command is thin."""

__all__ = ["main"]


def main() -> None:
    """Run the command line and leave the process with its exit code; never prints a traceback unasked."""
    from podium.cli._start import start  # noqa: PLC0415 - importing the package must stay cheap

    start()
