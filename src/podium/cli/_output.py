"""What commands print: tables and sentences for people, JSON for programs, complaints on standard error."""

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import typer

from podium.core.errors import PodiumError

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["complain", "note", "print_json", "print_table", "printable", "say"]

_WIDE = 10_000  # columns of a table that is piped into another program: nothing is cut off


def printable(text: str, *, lines: bool = False) -> str:
    """Text from elsewhere without control characters, so that it cannot steer the terminal."""
    kept = "\n\t" if lines else ""
    return "".join(
        character if character.isprintable() or character in kept else _escaped(character) for character in text
    )


def print_json(value: object) -> None:
    """One JSON document, and nothing else, on standard output."""
    import msgspec  # noqa: PLC0415 - only where used

    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str, title: str = "") -> None:
    """A table for people; numbers stand to the right. `empty` is said instead when there is no row."""
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415 - only where used
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    lines = [tuple(row) for row in rows]
    if not lines:
        say(empty)
        return
    table = Table(box=SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False, show_edge=False)
    for index, column in enumerate(columns):
        right = all(isinstance(line[index], int | float) for line in lines)
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for line in lines:
        table.add_row(*(Text(_cell(value)) for value in line))
    _console().print(table)


def say(text: str) -> None:
    """A sentence on standard output."""
    typer.echo(text)


def note(text: str) -> None:
    """A sentence beside the result, on standard error."""
    typer.echo(text, err=True)


def complain(error: PodiumError) -> None:
    """The error as `podium: ...`, each of its sentences on a line of its own, then `hint: ...`."""
    for sentence in error.message.splitlines():
        note(f"podium: {printable(sentence)}")
    if error.hint:
        note(f"hint: {printable(error.hint)}")


def _console() -> "Console":
    from rich.console import Console  # noqa: PLC0415 - only where used

    width: dict[str, Any] = {} if sys.stdout.isatty() else {"width": _WIDE}
    return Console(file=sys.stdout, highlight=False, **width)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return printable(str(value), lines=True)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
