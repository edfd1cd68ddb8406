"""Documents (`kind`, `name`, `spec`) as typed resources, and back."""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, get_args

import msgspec

from podium.control.problems import InvalidDocuments, Problem
from podium.control.specs import Key, Values, resource_from_values, values_of
from podium.control.yaml_nodes import Path, Text, path_text, read_text, write_text
from podium.core.resources import SPECS, Kind, Resource
from podium.core.spec import Name

__all__ = ["check_name", "document_of", "kind_of", "parse_documents", "parse_files", "parse_values", "yaml_text"]

_MAX_DOCUMENTS = 10_000
_FIELDS = ("kind", "name", "spec")
_AT = re.compile(r" - at `(key in )?\$(.*)`\Z")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")


def parse_documents(text: str | bytes, *, file: str = "") -> tuple[Resource, ...]:
    """The resources of one YAML text (documents apart by `---`) or JSON text (an object or an array of them).

    InvalidDocuments: with file, line and key path of each thing that is wrong.
    """
    return parse_files([(file, text)])


def parse_files(files: Iterable[tuple[str, str | bytes]]) -> tuple[Resource, ...]:
    """As `parse_documents`, for several (name, text) pairs that belong together."""
    parser = _Parser()
    for file, text in files:
        try:
            parser.add(read_text(text, file=file), file)
        except InvalidDocuments as error:
            parser.problems.extend(error.problems)
    return parser.result()


def parse_values(documents: Sequence[object]) -> tuple[Resource, ...]:
    """As `parse_documents`, for values that are decoded already."""
    parser = _Parser()
    parser.add(Text(tuple(documents)), "")
    return parser.result()


def document_of(resource: Resource) -> Values:
    """The document that declares `resource`."""
    return {"kind": resource.kind, "name": resource.name, "spec": values_of(resource.spec)}


def yaml_text(resources: Iterable[Resource]) -> str:
    """Documents that `parse_documents` reads as the same resources."""
    return write_text(document_of(resource) for resource in resources)


def kind_of(text: str) -> Kind | None:
    """The kind of that name; None when there is none."""
    return text if text in SPECS else None


def check_name(name: str) -> str:
    """What is wrong with a resource's name; "" when nothing is."""
    try:
        msgspec.convert(name, Name)
    except msgspec.ValidationError:
        return "a name has 1 to 128 letters, digits and `._:/@-`, and starts with a letter or digit"
    if any(part in ("", ".", "..") for part in name.split("/")):
        return "between the slashes of a name there must be something, and not `.` or `..`"
    return ""


class _Parser:
    """Collects resources and problems over all texts."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._resources: dict[Key, Resource] = {}
        self._places: dict[Key, str] = {}

    def result(self) -> tuple[Resource, ...]:
        if self.problems:
            raise InvalidDocuments(self.problems)
        return tuple(self._resources.values())

    def add(self, text: Text, file: str) -> None:
        for number, value in enumerate(text.documents):
            if value is None:  # an empty document, as a trailing `---` leaves it
                continue
            if isinstance(value, list):
                for index, item in enumerate(value):
                    self._add_document(item, _Place(text, file, number, (index,)))
            else:
                self._add_document(value, _Place(text, file, number, ()))
        if len(self._resources) > _MAX_DOCUMENTS:
            raise InvalidDocuments([Problem(message=f"more than {_MAX_DOCUMENTS} documents", file=file)])

    def _add_document(self, value: object, place: "_Place") -> None:
        if not isinstance(value, dict):
            self.problems.append(place.problem("a document is an object with `kind`, `name` and `spec`"))
            return
        kind, name = value.get("kind"), value.get("name")
        place.kind = kind if isinstance(kind, str) else ""
        place.name = name if isinstance(name, str) else ""
        found = list(_wrong_envelope(value, place))
        spec = value.get("spec", {})
        known = kind_of(place.kind)
        if known is not None and isinstance(spec, dict):
            found.extend(_wrong_spec(known, spec, place))
        self.problems.extend(found)
        if found or known is None:
            return
        key = (known, place.name)
        if key in self._resources:
            self.problems.append(place.problem(f"is declared twice; first {self._places[key]}"))
            return
        self._resources[key] = resource_from_values(known, place.name, spec)
        self._places[key] = place.shown


class _Place:
    """Where a document is, for its problems."""

    def __init__(self, text: Text, file: str, document: int, path: Path) -> None:
        self.kind = ""
        self.name = ""
        self._text = text
        self._file = file
        self._document = document
        self._path = path

    @property
    def shown(self) -> str:
        line = self._text.line(self._document, self._path)
        if line:
            return f"at {self._file}:{line}" if self._file else f"on line {line}"
        return f"in {self._file}" if self._file else "before"

    def problem(self, message: str, *path: str | int) -> Problem:
        line = self._text.line(self._document, self._path + path)
        shown = path_text(path if path or not self._path else self._path)
        return Problem(message=message, kind=self.kind, name=self.name, path=shown, file=self._file, line=line)


def _wrong_envelope(value: Values, place: _Place) -> Iterable[Problem]:
    for field in value:
        if field not in _FIELDS:
            yield place.problem(_unknown(field, _FIELDS), field)
    if "kind" not in value:
        yield place.problem(f"`kind` is missing; one of {', '.join(get_args(Kind))}")
    elif kind_of(place.kind) is None:
        near = get_close_matches(place.kind, get_args(Kind), 1)
        hint = f"did you mean `{near[0]}`?" if near else f"one of {', '.join(get_args(Kind))}"
        yield place.problem(f"there is no such kind; {hint}", "kind")
    if not isinstance(value.get("name"), str):
        problem = "`name` must be a string; put it in quotes" if "name" in value else "`name` is missing"
        yield place.problem(problem, *(("name",) if "name" in value else ()))
    elif wrong := check_name(place.name):
        yield place.problem(wrong, "name")
    if not isinstance(value.get("spec", {}), dict):
        yield place.problem("`spec` must be an object", "spec")


def _wrong_spec(kind: Kind, spec: Values, place: _Place) -> list[Problem]:
    """What is wrong field by field; what is wrong with the whole only when each field by itself is right."""
    fields = {field.encode_name: field for field in msgspec.structs.fields(SPECS[kind])}
    found = [place.problem(_unknown(key, fields), "spec", key) for key in spec if key not in fields]
    found += [
        place.problem(f"`{name}` is missing", "spec") for name, field in fields.items() if _is_missing(field, spec)
    ]
    hints = _field_types(kind)
    for name in fields.keys() & spec.keys():
        try:
            msgspec.convert(spec[name], hints[name])
        except msgspec.ValidationError as error:
            message, path = _read_error(str(error))
            found.append(place.problem(message, "spec", name, *path))
    if not found:
        try:
            resource_from_values(kind, place.name, spec)
        except msgspec.ValidationError as error:
            message, path = _read_error(str(error))
            found.append(place.problem(message, "spec", *path))
    return sorted(found, key=lambda problem: (problem.line, problem.path))


def _is_missing(field: msgspec.structs.FieldInfo, spec: Values) -> bool:
    return field.required and field.encode_name not in spec


def _field_types(kind: Kind) -> dict[str, Any]:
    from typing import get_type_hints  # noqa: PLC0415 - only for wrong documents

    hints = get_type_hints(SPECS[kind], include_extras=True)
    return {name: Annotated[hint, msgspec.Meta()] for name, hint in hints.items()}


def _unknown(key: str, known: Iterable[str]) -> str:
    near = get_close_matches(key, list(known), 1)
    return f"there is no `{key}` here" + (f"; did you mean `{near[0]}`?" if near else "")


def _read_error(text: str) -> tuple[str, Path]:
    """Message and key path of a msgspec.ValidationError."""
    match = _AT.search(text)
    message = text[: match.start()] if match else text
    if message.startswith("Expected `str") and ("got `int`" in message or "got `float`" in message):
        message += " (put it in quotes)"
    path: list[str | int] = []
    for name, index in _STEP.findall(match[2] if match else ""):
        if index == "...":
            break  # some value of an object: msgspec does not say which
        path.append(int(index) if index else name)
    return message, tuple(path)
