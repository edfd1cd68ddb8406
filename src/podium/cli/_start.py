"""The command line as a whole: the list of its commands, and the last resort for errors."""

import os
import sys
from importlib import import_module

import typer

from podium.cli._command import FAILED, group
from podium.cli._output import complain
from podium.core.errors import InternalError

__all__ = ["COMMANDS", "application", "start"]

# Which module of this package has which commands, in the order of the help.
COMMANDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("processes", ("up", "gateway", "control", "worker")),
    ("resources", ("apply", "diff", "get", "delete", "export")),
    ("revisions", ("history", "undo")),
    ("rollout", ("rollout",)),
    ("experiment", ("experiment",)),
    ("keys", ("keys",)),
    ("usage", ("usage",)),
    ("exchanges", ("exchanges",)),
    ("feedback", ("feedback",)),
    ("limits", ("limits",)),
    ("flags", ("flags",)),
    ("budget", ("budget",)),
    ("models", ("models",)),
    ("chat", ("chat",)),
    ("doctor", ("doctor",)),
    ("configuration", ("check-config",)),
    ("version", ("version",)),
)


def application(wanted: str | None = None) -> typer.Typer:
    """The `podium` command. With the name of a command, only the module that has it is imported."""
    app = group("Podium: language models with identity, limits, exact accounting and evidence.", add_completion=True)
    chosen = [module for module, names in COMMANDS if wanted in names] or [module for module, _ in COMMANDS]
    for module in chosen:
        import_module(f"podium.cli.{module}").register(app)
    return app


def start() -> None:
    """Run it. An error that nobody expected is one sentence too; PODIUM_TRACEBACK=1 shows where it was."""
    try:
        application(sys.argv[1] if len(sys.argv) > 1 else None)(prog_name="podium")
    except Exception as error:  # noqa: BLE001 - the process boundary: what follows is the exit
        if os.environ.get("PODIUM_TRACEBACK") == "1":
            sys.excepthook(type(error), error, error.__traceback__)
        sentence = " ".join(f"an unexpected error: {type(error).__name__}: {error}".split())
        complain(InternalError(sentence, hint="PODIUM_TRACEBACK=1 shows where it happened; please report it"))
        sys.exit(FAILED)
