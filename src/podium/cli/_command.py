"""How a function becomes a command.

A parameter whose type is a dataclass of options (see `_options`) is spread: each of its fields becomes an option of
the command, and the function gets the dataclass. An error of Podium's tree becomes one sentence and an exit code.
"""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from typing import Any, get_type_hints

import typer

from podium.cli._output import complain
from podium.core.errors import PodiumError

__all__ = ["FAILED", "INTERRUPTED", "MISCONFIGURED", "USAGE", "add", "examples", "group"]

FAILED = 1
USAGE = 2
MISCONFIGURED = 78  # EX_CONFIG of sysexits.h
INTERRUPTED = 130


def group(help_text: str, *, add_completion: bool = False) -> typer.Typer:
    """An application or a group of commands; help is plain text, so that it needs no further import."""
    app = typer.Typer(
        help=help_text,
        add_completion=add_completion,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        no_args_is_help=True,
    )
    app.callback()(_nothing)  # a callback keeps it a group, also with one command
    return app


def _nothing() -> None:
    pass


def examples(*lines: str) -> str:
    """The end of a command's help."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def add(app: typer.Typer, name: str, function: Callable[..., None], *example_lines: str) -> None:
    """Make `function` the command `name`; its docstring is the help."""
    first_line = (inspect.getdoc(function) or "").partition("\n")[0]
    app.command(name, epilog=examples(*example_lines), short_help=first_line)(_reporting(_spread(function)))


def _spread(function: Callable[..., None]) -> Callable[..., None]:
    """The same function with its option groups taken apart."""
    hints = get_type_hints(function, include_extras=True)
    signature = inspect.signature(function)
    groups = {name: hint for name, hint in hints.items() if isinstance(hint, type) and is_dataclass(hint)}
    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        if parameter.name in groups:
            parameters.extend(_parameters(groups[parameter.name]))
        else:
            parameters.append(parameter.replace(annotation=hints[parameter.name], kind=inspect.Parameter.KEYWORD_ONLY))

    @wraps(function)
    def spread(**given: Any) -> None:
        built = {
            name: form(**{entry.name: given.pop(entry.name) for entry in fields(form)}) for name, form in groups.items()
        }
        function(**given, **built)

    spread.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    spread.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return spread


def _parameters(options: type) -> list[inspect.Parameter]:
    hints = get_type_hints(options, include_extras=True)
    return [
        inspect.Parameter(
            entry.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if entry.default is MISSING else entry.default,
            annotation=hints[entry.name],
        )
        for entry in fields(options)
    ]


def _reporting(function: Callable[..., None]) -> Callable[..., None]:
    """The same function; a PodiumError leaves the command with its exit code after one sentence on stderr."""

    @wraps(function)
    def reporting(**given: Any) -> None:
        try:
            function(**given)
        except PodiumError as error:
            complain(error)
            raise typer.Exit(getattr(error, "exit_code", FAILED)) from None

    return reporting
