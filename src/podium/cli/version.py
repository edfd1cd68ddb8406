"""`version`."""

import platform

import typer

from podium import __version__
from podium.cli._command import add
from podium.cli._options import AsJson
from podium.cli._output import print_json, say

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    add(app, "version", version, "podium version", "podium version --json")


def version(*, as_json: AsJson = False) -> None:
    """Print the version of Podium."""
    if as_json:
        print_json({"podium": __version__, "python": platform.python_version(), "platform": platform.platform()})
    else:
        say(f"podium {__version__} (Python {platform.python_version()})")
