"""The floors of the house: an import points to its own package or to a lower floor, never up, never to a peer."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"

FLOORS = (
    ("floor 0", "core"),
    ("floor 0, on top of core", "wire"),
    ("floor 1", "identity traffic guard delivery economics operations assurance governance"),
    ("floor 2", "gateway control"),
    ("floor 3", "web upstreams engine store telemetry"),
    ("the roof: config", "config config_environment config_file config_options config_values"),
    ("the roof: app", "app"),
    ("the roof: cli", "cli"),
    ("the roof: python -m podium", "__main__"),
    ("the roof: testing", "testing"),
)
RANKS = {package: rank for rank, (_, packages) in enumerate(FLOORS) for package in packages.split()}
CONFIG = {package for package, rank in RANKS.items() if FLOORS[rank][0] == "the roof: config"}


@dataclass(frozen=True)
class Import:
    """One import of one module by another."""

    path: Path
    line: int
    importer: str
    imported: str
    for_types: bool = False  # under `if TYPE_CHECKING`: read by the type checker, never run

    def __str__(self):
        return f"{self.path}:{self.line} imports {self.imported}"


def modules_in(source: Path) -> dict[str, Path]:
    """Dotted names of all modules and packages, and their files."""
    found = {}
    for path in sorted(source.rglob("*.py")):
        parts = path.relative_to(source).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_in(source: Path) -> list[Import]:
    """Every import of our own modules, those in functions and those for type checkers too."""
    modules = modules_in(source)
    return [
        Import(path.relative_to(source.parent), line, name, imported, for_types)
        for name, path in modules.items()
        for line, imported, for_types in imported_by(name, path, modules)
    ]


def imported_by(name: str, path: Path, modules: dict[str, Path]) -> Iterator[tuple[int, str, bool]]:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    tree = ast.parse(path.read_text())
    for_types = {id(inner) for node in ast.walk(tree) if _asks_for_types(node) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found = [_resolved(_base(node, package), alias.name, modules) for alias in node.names]
        else:
            continue
        for module in found:
            if module.partition(".")[0] == "podium":
                yield node.lineno, module, id(node) in for_types


def _asks_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def _base(node: ast.ImportFrom, package: str) -> str:
    """The package or module that names are taken from, relative dots resolved."""
    parts = package.split(".")
    above = parts[: len(parts) - node.level + 1] if node.level else []
    return ".".join([*above, *filter(None, [node.module])])


def _resolved(base: str, name: str, modules: dict[str, Path]) -> str:
    """The module that `from base import name` reads; "" for the root's version, which all may read."""
    submodule = f"{base}.{name}"
    if submodule == "podium.__version__":
        return ""
    return submodule if submodule in modules else base


def package_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def wrong(one: Import) -> str | None:
    """What is wrong with an import; None when nothing is."""
    importer, imported = package_of(one.importer), package_of(one.imported)
    if not importer:
        return f"{one}: the root imports nothing, so that `import podium` stays fast"
    if not imported:
        return f"{one}: nobody imports the root from inside, except `__version__`"
    unknown = {importer, imported} - RANKS.keys()
    if unknown:
        return f"{one}: {sorted(unknown)} has no floor; give it one in tests/test_floors.py and docs/architecture.md"
    if importer == imported or {importer, imported} <= CONFIG or RANKS[imported] < RANKS[importer]:
        return None
    direction = "sideways" if RANKS[imported] == RANKS[importer] else "up"
    return (
        f"{one}: that is {direction}, from {FLOORS[RANKS[importer]][0]} to {FLOORS[RANKS[imported]][0]}."
        " Declare the small Protocol that you need beside its caller, and let app.py bring the two together"
    )


def cycle_in(imports: list[Import]) -> list[str] | None:
    """Modules of which each imports the next and the last the first; None when there is no such ring.

    Types that know each other are no ring: nothing of that is left when the program runs.
    """
    graph: dict[str, set[str]] = {}
    for one in imports:
        if one.importer != one.imported and not one.for_types:
            graph.setdefault(one.importer, set()).add(one.imported)
    finished: set[str] = set()
    for start in sorted(graph):
        ring = _ring(start, graph, [], finished)
        if ring:
            return ring
    return None


def _ring(module: str, graph: dict[str, set[str]], path: list[str], finished: set[str]) -> list[str] | None:
    if module in path:
        return [*path[path.index(module) :], module]
    if module in finished:
        return None
    for imported in sorted(graph.get(module, ())):
        ring = _ring(imported, graph, [*path, module], finished)
        if ring:
            return ring
    finished.add(module)
    return None


def test_every_import_points_to_its_own_package_or_to_a_lower_floor():
    imports = imports_in(SOURCE)
    complaints = [complaint for one in imports if (complaint := wrong(one))]

    assert len(imports) > 100
    assert not complaints, "\n" + "\n".join(complaints)


def test_every_package_has_a_floor():
    packages = {package_of(module) for module in modules_in(SOURCE)} - {""}

    assert packages <= RANKS.keys(), f"give these a floor: {sorted(packages - RANKS.keys())}"


def test_no_modules_import_each_other_in_a_ring():
    ring = cycle_in(imports_in(SOURCE))

    assert ring is None, " -> ".join(ring)


def planted(folder: Path, files: dict[str, str]) -> list[Import]:
    """The imports of a small tree."""
    for name, text in ({"podium/__init__.py": "__version__ = '0'\n"} | files).items():
        path = folder / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        init = path.parent / "__init__.py"
        init.touch()
    return imports_in(folder / "src")


@pytest.mark.parametrize(
    ("importer", "statement", "word"),
    [
        ("core/money", "from podium.wire.sse import x", "up"),
        ("core/money", "import podium.telemetry.metrics", "up"),
        ("traffic/retry", "def f():\n    from podium.gateway import flight", "up"),
        (
            "traffic/retry",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from podium.guard.pii import x",
            "sideways",
        ),
        ("store/sql", "from podium.web import openai", "sideways"),
        ("store/sql", "from ..web import openai", "sideways"),
        ("gateway/flight", "from podium.control.ports import x", "sideways"),
        ("app", "from podium.testing.clock import x", "up"),
        ("config", "from podium.app import x", "up"),
        ("gateway/flight", "import podium", "root"),
        ("gateway/flight", "from podium import version_of_the_day", "root"),
        ("attic/box", "from podium.core import money", "no floor"),
        ("__init__", "from podium.core import money", "root imports nothing"),
    ],
)
def test_a_wrong_import_is_found(tmp_path, importer, statement, word):
    imports = planted(tmp_path, {f"podium/{importer}.py": statement + "\n"})

    assert [word in complaint for one in imports if (complaint := wrong(one))] == [True]


@pytest.mark.parametrize(
    ("importer", "statement"),
    [
        ("wire/sse", "from podium.core.errors import x"),
        ("store/sql", "from podium.control.ports import x"),
        ("store/sql", "from .settings import x"),
        ("cli/keys", "from podium.app import x"),
        ("config_file", "from podium.config_options import x"),
        ("telemetry/traces", "from podium import __version__"),
        ("testing/clock", "from podium.gateway.ports import x"),
        ("gateway/flight", "import podiumish, json"),
    ],
)
def test_a_right_import_is_left_alone(tmp_path, importer, statement):
    imports = planted(tmp_path, {f"podium/{importer}.py": statement + "\n"})

    assert [complaint for one in imports if (complaint := wrong(one))] == []


def test_a_ring_is_found(tmp_path):
    imports = planted(
        tmp_path,
        {
            "podium/core/a.py": "from podium.core.b import x\n",
            "podium/core/b.py": "def f():\n    from podium.core import c\n",
            "podium/core/c.py": "import podium.core.a\n",
            "podium/core/d.py": "import podium.core.a\n",
        },
    )

    assert cycle_in(imports) == ["podium.core.a", "podium.core.b", "podium.core.c", "podium.core.a"]


def test_types_that_know_each_other_are_no_ring(tmp_path):
    imports = planted(
        tmp_path,
        {
            "podium/core/a.py": "from podium.core.b import x\n",
            "podium/core/b.py": "import typing\nif typing.TYPE_CHECKING:\n    from podium.core.a import y\n",
        },
    )

    assert cycle_in(imports) is None
    assert len(imports) == 2
