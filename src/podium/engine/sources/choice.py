"""Which files of a source are the model. Pure: names in, names out.

Taken are the weights, in one safe format, and texts beside them that describe them. Whatever else is there (pickles,
code, pictures) is left where it is.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

import msgspec

from podium.core.errors import OperatorError
from podium.core.registry import FilePath, WeightsFormat
from podium.engine.formats.recognise import SAFE_SUFFIXES
from podium.engine.formats.refusal import RefusedFile, Why
from podium.engine.formats.unsafe import refusal_by_name

__all__ = ["Chosen", "choose", "with_files_beside"]

_BESIDE = re.compile(
    r"[\w.-]+\.(?:json|txt|jinja)\Z|(?:LICEN[CS]E|NOTICE)(?:\.(?:md|txt))?\Z", re.IGNORECASE | re.ASCII
)
_PART = re.compile(r"(.*)-(\d{5})-of-(\d{5})(\.[a-z]+)\Z")
_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Chosen:
    """Names inside of the source."""

    format: WeightsFormat
    main: str  # of several parts the first
    weights: tuple[str, ...]  # the main one among them
    beside: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        """Everything to fetch."""
        return (*self.weights, *self.beside)


def choose(names: Iterable[str], pattern: str = "") -> Chosen:
    """The files to take; `pattern` chooses among several models. `OperatorError`: there is none, or more than one."""
    known = sorted(name for name in names if _is_path(name))
    safe = [name for name in known if _suffix(name) in SAFE_SUFFIXES]
    weights = [name for name in safe if not pattern or _matches(name, pattern)]
    if not weights:
        raise _nothing_to_take(known, safe, pattern)
    models = {_model_of(name) for name in weights}
    if len(models) > 1:
        listed = ", ".join(weights[:_SHOWN]) + (", ..." if len(weights) > _SHOWN else "")
        raise OperatorError(f"There are several models: {listed}.", hint="Choose one with --file.")
    folder = PurePosixPath(weights[0]).parent
    beside = [name for name in known if _BESIDE.match(PurePosixPath(name).name) and _is_around(name, folder)]
    return Chosen(SAFE_SUFFIXES[_suffix(weights[0])], weights[0], tuple(weights), tuple(beside))


def with_files_beside(chosen: Chosen, data: Iterable[str]) -> Chosen:
    """As `chosen`, with the files that hold the data of an ONNX model; they are named relative to it."""
    folder = PurePosixPath(chosen.main).parent
    more = [str(folder / name) for name in data]
    return Chosen(
        chosen.format, chosen.main, (*chosen.weights, *(one for one in more if one not in chosen.all)), chosen.beside
    )


def _nothing_to_take(known: list[str], safe: list[str], pattern: str) -> OperatorError:
    if safe:
        return OperatorError(f"No model file matches {pattern!r}; there are {', '.join(safe[:_SHOWN])}.")
    for name in known:
        if (refused := refusal_by_name(name)) and refused[0] is Why.PICKLE:
            return RefusedFile(name, *refused, hint="Look for the same model as safetensors or GGUF.")
    return OperatorError("There is no GGUF, safetensors or ONNX file in it.")


def _model_of(name: str) -> tuple[str, ...]:
    """What the files of one model share: parts are numbered."""
    if match := _PART.match(name):
        return (match[1], match[3], match[4])
    return (name,)


def _is_path(name: str) -> bool:
    try:
        msgspec.convert(name, FilePath)
    except msgspec.ValidationError:
        return False
    return True


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(PurePosixPath(name).name, pattern)


def _is_around(name: str, folder: PurePosixPath) -> bool:
    """In the folder of the weights, or at the top, where tokenizers and licences lie."""
    return PurePosixPath(name).parent in (folder, PurePosixPath())
