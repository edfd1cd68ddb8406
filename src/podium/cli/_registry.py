"""What the `models` commands share: the declared versions, the store of this machine, a version made of options."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from podium.core.errors import NotFound, OperatorError

if TYPE_CHECKING:
    from podium.cli._admin_client import AdminClient
    from podium.control.registry import VersionView
    from podium.core.registry import Tool
    from podium.core.resources import Resource, Version
    from podium.engine.package_fetch import Stage
    from podium.engine.settings import EngineSettings
    from podium.engine.weights_store import WeightsStore

__all__ = ["Declared", "Progress", "find_version", "open_store", "read_parameters", "read_tools"]

_MAX_TOOLS_BYTES = 4 << 20


class Declared:
    """What is declared at one revision."""

    def __init__(self, client: "AdminClient") -> None:
        from podium.control.documents import parse_values  # noqa: PLC0415 - only where used
        from podium.control.registry import version_views  # noqa: PLC0415

        listed = client.resources(None)
        documents = [{"kind": one.kind, "name": one.name, "spec": one.spec} for one in listed.resources]
        self.revision = listed.revision
        self.resources: dict[tuple[str, str], Resource] = {(one.kind, one.name): one for one in parse_values(documents)}
        self.views: list[VersionView] = version_views(self.resources.values())

    def version(self, name: str) -> "tuple[str, Version]":
        """The version of that name, or the only one that begins so; NotFound."""
        from podium.core.resources import Version  # noqa: PLC0415 - only where used

        found = find_version([view.name for view in self.views], name)
        spec = self.resources["Version", found].spec
        assert isinstance(spec, Version), "kinds and specs belong together"
        return found, spec

    def view(self, name: str) -> "VersionView":
        """The same, as people see it."""
        found = find_version([view.name for view in self.views], name)
        return next(view for view in self.views if view.name == found)

    def local_provider(self) -> str:
        """The provider that stands for our own workers; OperatorError when there is none."""
        for (kind, name), resource in self.resources.items():
            if kind == "Provider" and getattr(resource.spec, "protocol", "") == "local":
                return name
        raise OperatorError(
            "There is no Provider of protocol `local`, whose workers would serve these weights.",
            hint="Declare one, or name who serves them with --backend.",
        )


def find_version(names: Sequence[str], wanted: str) -> str:
    """The name that is meant: itself, or the beginning of only one, as the part before `@`."""
    if wanted in names:
        return wanted
    begun = [name for name in names if name.startswith(wanted)]
    if len(begun) == 1:
        return begun[0]
    hint = f"There are {', '.join(begun)}." if begun else "`podium models list` shows all."
    raise NotFound(f"There is no version {wanted!r}." if not begun else f"{wanted!r} is not clear.", hint=hint)


def open_store(settings: "EngineSettings", folder: Path, progress: "Progress") -> "WeightsStore":
    """The store of this machine."""
    from podium.engine.weights_store import WeightsStore  # noqa: PLC0415 - only where used

    return WeightsStore(folder, settings, progress.report)


def read_parameters(given: Sequence[str]) -> dict[str, Any]:
    """`name=value` pairs; a value is JSON where it can be, else text."""
    import msgspec  # noqa: PLC0415 - only where used

    parameters: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise OperatorError(f"{text!r} is no parameter.", hint="As in --parameter temperature=0.2")
        try:
            parameters[name] = msgspec.json.decode(value)
        except msgspec.DecodeError:
            parameters[name] = value
    return parameters


def read_tools(path: Path | None) -> "tuple[Tool, ...]":
    """The functions in a JSON file: a list of them, bare or as in OpenAI's `tools`."""
    import msgspec  # noqa: PLC0415 - only where used

    from podium.core.registry import Tool  # noqa: PLC0415

    if path is None:
        return ()
    try:
        data = path.read_bytes()
        if len(data) > _MAX_TOOLS_BYTES:
            raise OperatorError(f"{path} is larger than {_MAX_TOOLS_BYTES} bytes.")
        listed = msgspec.json.decode(data, type=list[dict[str, Any]])
        return msgspec.convert([one.get("function", one) for one in listed], tuple[Tool, ...])
    except OSError as error:
        raise OperatorError(f"{path} cannot be read: {error.strerror or error}.") from None
    except msgspec.MsgspecError as error:
        raise OperatorError(f"{path} holds no list of tools: {error}") from None


class Progress:
    """A bar on standard error while a model is fetched; nothing where nobody looks."""

    def __init__(self, name: str) -> None:
        from rich.console import Console  # noqa: PLC0415 - only where used
        from rich.progress import Progress as Bar  # noqa: PLC0415

        console = Console(stderr=True)
        self._bar = Bar(console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task(name, total=1.0)
        self._name = name
        self.report: Callable[[Stage, float], None] = self._report

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def _report(self, stage: "Stage", fraction: float) -> None:
        self._bar.update(self._task, description=f"{self._name}: {stage}", completed=fraction)
