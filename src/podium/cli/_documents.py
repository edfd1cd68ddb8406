"""Resource documents on this machine: reading files, naming kinds, showing changes."""

import sys
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from podium.cli._output import printable
from podium.core.errors import OperatorError

if TYPE_CHECKING:
    from podium.cli._admin_answers import ChangeView
    from podium.core.resources import Kind, Resource

__all__ = ["change_lines", "read_documents", "resolve_kind"]

_SUFFIXES = (".yaml", ".yml", ".json")
_LARGEST_BYTES = 16 << 20
_SIGNS = {"create": "+", "update": "~", "delete": "-"}


def read_documents(names: Iterable[str]) -> "tuple[Resource, ...]":
    """The resources in files, in all files of folders, or (`-`) on standard input.

    InvalidDocuments: everything that is wrong, with file, line and key path.
    """
    from podium.control.documents import parse_files  # noqa: PLC0415 - only where used

    found = parse_files([(name, text) for argument in names for name, text in _texts(argument)])
    if not found:
        raise OperatorError("There is no document in what -f names.", hint="A document has `kind`, `name` and `spec`.")
    return found


def _texts(argument: str) -> Iterator[tuple[str, bytes]]:
    if argument == "-":
        yield "standard input", sys.stdin.buffer.read(_LARGEST_BYTES + 1)
        return
    path = Path(argument)
    paths = sorted(one for one in path.rglob("*") if one.suffix in _SUFFIXES) if path.is_dir() else [path]
    if not paths:
        raise OperatorError(f"There is no {', '.join(_SUFFIXES)} file in the folder {path}.")
    for one in paths:
        try:
            yield str(one), one.read_bytes()
        except OSError as error:
            raise OperatorError(f"{one} cannot be read: {error.strerror or error}.") from None


def resolve_kind(word: str) -> "Kind":
    """The kind that somebody means by `model`, `models`, `Model`, `limit-policies`..."""
    from podium.core.resources import SPECS  # noqa: PLC0415 - only where used

    spoken = word.lower().replace("-", "").replace("_", "")
    names: dict[str, Kind] = {}
    for kind in SPECS:
        names[kind.lower()] = names[_plural(kind.lower())] = kind
    if spoken in names:
        return names[spoken]
    near = get_close_matches(spoken, names, n=1)
    hint = f"Did you mean {names[near[0]]}? " if near else ""
    raise OperatorError(f"There is no kind {word!r}.", hint=f"{hint}The kinds are {', '.join(SPECS)}.")


def _plural(kind: str) -> str:
    return f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"


def change_lines(changes: "Iterable[ChangeView]") -> Iterator[str]:
    """Changes for people: `+` created, `-` deleted, `~` changed with each field before and after."""
    for change in changes:
        yield f"{_SIGNS[change.action]} {change.kind}/{printable(change.name)}"
        if change.action == "update":
            for field in change.fields:
                yield f"    {field.path}: {_value(field.before)} -> {_value(field.after)}"
        elif change.after is not None:
            for name, value in change.after.items():
                yield f"    spec.{name}: {_value(value)}"


def _value(value: object) -> str:
    import msgspec  # noqa: PLC0415 - only where used

    return "(not set)" if value is None else printable(msgspec.json.encode(value).decode())
