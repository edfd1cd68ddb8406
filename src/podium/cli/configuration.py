"""`check-config`."""

import typer

from podium.cli._command import add
from podium.cli._options import AsJson, Listening
from podium.cli._output import print_json, print_table, say

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    add(app, "check-config", check_config, "podium check-config", "podium check-config --config podium.yaml --json")


def check_config(place: Listening, *, as_json: AsJson = False) -> None:
    """Check the configuration and show what is set, and where. Starts nothing.

    Exit code 78 and every problem with its file, line and key when it is wrong.
    """
    configuration = place.configuration()
    shown = configuration.described()
    if as_json:
        file = None if configuration.file is None else str(configuration.file)
        print_json({"file": file, "data_dir": str(configuration.settings.data.path), "settings": shown})
        return
    say(f"Configuration is right. Data folder: {configuration.settings.data.path}")
    rows = [(key, str(one["value"]), one["origin"]) for key, one in shown.items() if one["origin"] != "default"]
    print_table(("setting", "value", "from"), rows, empty="Every setting has its default.")
