"""`podium.yaml` into values that know their line. Strict: a key that is unknown or set twice is a problem."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from yaml.constructor import ConstructorError, SafeConstructor
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from podium.config_options import KeyPath, Option
from podium.config_values import closest

__all__ = ["Given", "read_file"]

_LARGEST_BYTES = 1 << 20
_NULL_TAG = "tag:yaml.org,2002:null"
_MERGE_TAG = "tag:yaml.org,2002:merge"


@dataclass(frozen=True, slots=True)
class Given:
    """A raw value and where it stands, e.g. `podium.yaml:7`."""

    raw: object
    origin: str


def read_file(
    path: Path, options: Mapping[KeyPath, Option], removed: Mapping[str, str]
) -> tuple[dict[KeyPath, Given], list[str]]:
    """What the file sets, and every problem that it has; a file that is not YAML sets nothing."""
    try:
        root = _compose(path)
    except _Unreadable as error:
        return {}, [str(error)]
    if root is None:
        return {}, []
    walk = _Walk(str(path), options, removed, {}, [])
    walk.mapping(root, ())
    return walk.given, walk.problems


class _Unreadable(Exception):
    """The file as a whole cannot be used."""


def _compose(path: Path) -> Node | None:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise _Unreadable(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(content) > _LARGEST_BYTES:
        raise _Unreadable(f"{path}: larger than {_LARGEST_BYTES >> 20} MiB")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _Unreadable(f"{path}:{line}: not UTF-8 text") from None
    try:
        return yaml.compose(text, yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise _Unreadable(f"{path}:{line}: not YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise _Unreadable(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise _Unreadable(f"{path}: nested too deeply") from None


@dataclass(slots=True)
class _Walk:
    """One pass over the node tree; collects values and problems."""

    file: str
    options: Mapping[KeyPath, Option]
    removed: Mapping[str, str]
    given: dict[KeyPath, Given]
    problems: list[str]

    def mapping(self, node: Node, path: KeyPath) -> None:
        """A section: its keys are options or sections."""
        if isinstance(node, ScalarNode) and node.tag == _NULL_TAG:
            return  # a section whose lines are all commented out
        if not isinstance(node, MappingNode):
            self._problem(node, path, "expected a section with `key: value` lines")
            return
        self._report_duplicates(node, path)
        for key_node, value_node in node.value:
            self._entry(key_node, value_node, path)

    def _entry(self, key_node: Node, value_node: Node, path: KeyPath) -> None:
        if not isinstance(key_node, ScalarNode) or key_node.tag == _MERGE_TAG:
            self._problem(key_node, path, "expected a plain name as key")
            return
        below = (*path, str(key_node.value))
        if below in self.options:
            self._value(value_node, below, self._where(key_node))
        elif self._is_section(below):
            self.mapping(value_node, below)
        elif ".".join(below) in self.removed:
            self._problem(key_node, below, f"is no longer a setting: {self.removed['.'.join(below)]}")
        else:
            self._problem(key_node, below, "unknown key" + closest(".".join(below), self._known(path)))

    def _value(self, node: Node, path: KeyPath, origin: str) -> None:
        for inner in _mappings(node):
            self._report_duplicates(inner, path)
        try:
            raw = SafeConstructor().construct_document(node)
        except (ConstructorError, ValueError, RecursionError) as error:
            problem = error.problem if isinstance(error, ConstructorError) else str(error)
            self._problem(node, path, f"cannot be read: {problem}")
        else:
            self.given[path] = Given(raw, origin)

    def _report_duplicates(self, node: MappingNode, path: KeyPath) -> None:
        first: dict[str, Node] = {}
        for key_node, _ in node.value:
            if not isinstance(key_node, ScalarNode):
                continue
            name = str(key_node.value)
            if name in first:
                line = first[name].start_mark.line + 1
                self._problem(key_node, (*path, name), f"set twice, first in line {line}")
            first.setdefault(name, key_node)

    def _is_section(self, path: KeyPath) -> bool:
        return any(known[: len(path)] == path for known in self.options)

    def _known(self, path: KeyPath) -> list[str]:
        return sorted({".".join(known[: len(path) + 1]) for known in self.options if known[: len(path)] == path})

    def _where(self, node: Node) -> str:
        return f"{self.file}:{node.start_mark.line + 1}"

    def _problem(self, node: Node, path: KeyPath, text: str) -> None:
        self.problems.append(": ".join(part for part in (self._where(node), ".".join(path), text) if part))


def _mappings(node: Node) -> Iterator[MappingNode]:
    """The mappings inside a value, each once however often it is aliased."""
    seen: set[int] = set()
    waiting = [node]
    while waiting:
        current = waiting.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        if isinstance(current, MappingNode):
            yield current
            waiting.extend(value for _, value in current.value)
        elif isinstance(current, SequenceNode):
            waiting.extend(current.value)
