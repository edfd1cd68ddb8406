"""YAML and JSON text as built-in values, with the line of each.

Stricter than YAML: the types are those of JSON (YAML 1.2 core schema, so `yes` and `2024-01-01` are
strings), a repeated key is an error, and size, depth and what aliases expand to are bounded.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from podium.control.problems import InvalidDocuments, Problem

__all__ = ["MAX_TEXT_BYTES", "Path", "Text", "path_text", "read_json", "read_text", "write_text"]

MAX_TEXT_BYTES = 2 << 20
_MAX_DEPTH = 32
_MAX_NODES = 100_000  # after alias expansion
_MAX_SCALAR_NUMBER = 64  # characters; above it, Python's own conversion is quadratic

Path = tuple[str | int, ...]

_TAG = "tag:yaml.org,2002:"
_INT = re.compile(r"[-+]?[0-9]+\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_WORDS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_RESOLVERS = (
    ("null", re.compile(r"(~|null|Null|NULL|)\Z"), ["~", "n", "N", ""]),
    ("bool", re.compile(r"(true|True|TRUE|false|False|FALSE)\Z"), list("tTfF")),
    ("int", _INT, list("-+0123456789")),
    ("float", _FLOAT, list("-+.0123456789")),
)


def _with_core_schema(base: Any, resolvers: dict[str, object]) -> Any:
    """The PyYAML loader or dumper class `base`, knowing `resolvers` and the scalars of the YAML 1.2 core schema."""
    derived: Any = type(f"CoreSchema{base.__name__}", (base,), {"yaml_implicit_resolvers": resolvers})
    for tag, pattern, first in _RESOLVERS:
        derived.add_implicit_resolver(_TAG + tag, pattern, first)
    return derived


# The C implementations where PyYAML was built with them.
_Loader = _with_core_schema(getattr(yaml, "CSafeLoader", yaml.SafeLoader), {})
_SafeDumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
# What YAML 1.1 reads as anything but a string is put in quotes too: the text may meet another reader.
_Dumper = _with_core_schema(
    _SafeDumper, {first: [*rules] for first, rules in _SafeDumper.yaml_implicit_resolvers.items()}
)
_Dumper.ignore_aliases = lambda *_: True


@dataclass(frozen=True, slots=True)
class Text:
    """The documents of one text and the line on which each value starts."""

    documents: tuple[object, ...]
    lines: dict[tuple[int, Path], int] = field(default_factory=dict)

    def line(self, document: int, path: Path) -> int:
        """The line of a value, or of the nearest value around it; 0: not known."""
        while (document, path) not in self.lines:
            if not path:
                return 0
            path = path[:-1]
        return self.lines[document, path]


def read_json(text: bytes) -> object:
    """The value of a JSON text within the same bounds; InvalidDocuments: it is none, or says a key twice."""
    decoded = _decode(text, "")
    try:
        value = json.loads(decoded, object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise InvalidDocuments([Problem(message=f"not valid JSON: {error.msg}", line=error.lineno)]) from None
    except ValueError as error:
        raise InvalidDocuments([Problem(message=f"not valid JSON: {error}")]) from None
    except RecursionError:
        raise InvalidDocuments([Problem(message=f"nested more than {_MAX_DEPTH} levels deep")]) from None
    _Reader("").check(value, 0, ())
    return value


def path_text(path: Path) -> str:
    """A key path as people write it: `spec.backends[0].provider`."""
    shown = ""
    for part in path:
        shown += f"[{part}]" if isinstance(part, int) else f".{part}" if shown else part
    return shown


def read_text(text: str | bytes, *, file: str = "") -> Text:
    """The values of a YAML or JSON text; InvalidDocuments names file and line of what is wrong."""
    decoded = _decode(text, file)
    if decoded.lstrip()[:1] in ("{", "["):
        try:
            value = json.loads(decoded, object_pairs_hook=_unique, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            pass  # flow-style YAML, or wrong; YAML says where
        else:
            return _with_json_values(value, decoded, file)
    return _read_yaml(decoded, file)


def write_text(documents: Iterable[object]) -> str:
    """Values as YAML documents that `read_text` reads as the same values."""
    text = yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, allow_unicode=True, explicit_start=True, width=120)
    return str(text)


def _decode(text: str | bytes, file: str) -> str:
    if len(text) > MAX_TEXT_BYTES:
        raise InvalidDocuments([Problem(message=f"the text is larger than {MAX_TEXT_BYTES} bytes", file=file)])
    if isinstance(text, str):
        return text
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text[: error.start].count(b"\n") + 1
        raise InvalidDocuments([Problem(message="the text is not UTF-8", file=file, line=line)]) from None


def _with_json_values(value: object, text: str, file: str) -> Text:
    # YAML reads nearly all JSON, but not all (`1e5` and surrogate pairs were never alike): it gives the lines only.
    reader = _Reader(file)
    reader.check(value, 0, ())
    try:
        return Text((value,), _read_yaml(text, file).lines)
    except InvalidDocuments:
        return Text((value,))


def _read_yaml(text: str, file: str) -> Text:
    reader = _Reader(file)
    try:
        _check_depth(text, file)
        documents = tuple(
            reader.document(number, node) for number, node in enumerate(yaml.compose_all(text, Loader=_Loader))
        )
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = f"not valid YAML: {error.problem or error.context}"
        raise InvalidDocuments([Problem(message=message, file=file, line=mark.line + 1 if mark else 0)]) from None
    except yaml.YAMLError as error:
        raise InvalidDocuments([Problem(message=f"not valid YAML: {error}", file=file)]) from None
    return Text(documents, reader.lines)


def _check_depth(text: str, file: str) -> None:
    """Bound nesting before anything recurses into it."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _MAX_DEPTH:
                line = event.start_mark.line + 1 if event.start_mark else 0
                message = f"nested more than {_MAX_DEPTH} levels deep"
                raise InvalidDocuments([Problem(message=message, file=file, line=line)])
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


class _Reader:
    """Turns nodes into values and remembers their lines."""

    def __init__(self, file: str) -> None:
        self.lines: dict[tuple[int, Path], int] = {}
        self._file = file
        self._nodes = 0

    def document(self, number: int, node: yaml.Node) -> object:
        return self._value(number, node, ())

    def _value(self, document: int, node: yaml.Node, path: Path) -> object:
        self.lines[document, path] = node.start_mark.line + 1 if node.start_mark else 0
        self._count(document, path)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(document, node, path)
        if isinstance(node, yaml.SequenceNode):
            self._only(node, "seq", document, path)
            return [self._value(document, item, (*path, index)) for index, item in enumerate(node.value)]
        self._only(node, "map", document, path)
        return dict(self._pairs(document, node, path))

    def _pairs(self, document: int, node: yaml.Node, path: Path) -> Iterator[tuple[str, object]]:
        seen: set[str] = set()
        for key_node, value_node in node.value:
            key = key_node.value
            if not isinstance(key_node, yaml.ScalarNode) or not isinstance(key, str):
                raise self._wrong("a key must be a string", document, path, key_node)
            self._text(key, document, path, key_node)
            if key in seen:
                raise self._wrong(f"the key `{key}` is there twice", document, path, key_node)
            seen.add(key)
            yield key, self._value(document, value_node, (*path, key))

    def _scalar(self, document: int, node: yaml.ScalarNode, path: Path) -> object:
        text = node.value
        match node.tag.removeprefix(_TAG):
            case "str":
                self._text(text, document, path, node)
                return text
            case "null":
                return None
            case "bool" if text in _WORDS:
                return _WORDS[text]
            case "int" if _INT.match(text) and len(text) <= _MAX_SCALAR_NUMBER:
                return self._number(int(text), document, path)
            case "float" if _FLOAT.match(text) and len(text) <= _MAX_SCALAR_NUMBER:
                return self._number(float(text), document, path)
        raise self._wrong(f"cannot be read as `{node.tag}`", document, path, node)

    def _only(self, node: yaml.Node, tag: str, document: int, path: Path) -> None:
        if node.tag != _TAG + tag:
            raise self._wrong(f"the tag `{node.tag}` is not known", document, path, node)

    def check(self, value: object, document: int, path: Path) -> None:
        """Hold a value that JSON gave against the same bounds."""
        self._count(document, path)
        if isinstance(value, str):
            self._text(value, document, path)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            self._number(value, document, path)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                self.check(item, document, (*path, index))
        elif isinstance(value, dict):
            for key, item in value.items():
                self._text(key, document, path)
                self.check(item, document, (*path, key))

    def _count(self, document: int, path: Path) -> None:
        self._nodes += 1
        if self._nodes > _MAX_NODES:
            raise self._wrong(f"more than {_MAX_NODES} values, with aliases expanded", document, path[:1])
        if len(path) > _MAX_DEPTH:
            raise self._wrong(f"nested more than {_MAX_DEPTH} levels deep", document, path[:1])

    def _number(self, value: float, document: int, path: Path) -> int | float:
        if isinstance(value, int):
            if not -(1 << 63) <= value < 1 << 63:
                raise self._wrong("a whole number beyond 64 bits", document, path)
        elif not math.isfinite(value):
            raise self._wrong("a number beyond all bounds", document, path)
        return value

    def _text(self, text: str, document: int, path: Path, node: yaml.Node | None = None) -> None:
        # Neither has a place in a database's text, nor in an HTTP header.
        if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            raise self._wrong("a string with a NUL or half a surrogate pair", document, path, node)

    def _wrong(self, message: str, document: int, path: Path, node: yaml.Node | None = None) -> InvalidDocuments:
        line = node.start_mark.line + 1 if node is not None and node.start_mark else self.lines.get((document, path), 0)
        return InvalidDocuments([Problem(message=message, path=path_text(path), file=self._file, line=line)])


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values: dict[str, object] = {}
    for key, value in pairs:
        if key in values:
            raise ValueError(f"the key `{key[:100]}` is there twice")  # of documents YAML finds it again, with its line
        values[key] = value
    return values


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")
