"""The options that settings dataclasses declare: key, type, default, bounds and help, each written once there.

A package's settings are a frozen dataclass whose fields carry `field(metadata={"help": ..., "minimum": ...,
"maximum": ..., "choices": ..., "secret": ...})`; a field that is itself a dataclass is a sub-section.
"""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any, get_type_hints

from podium.config_values import Accepts

__all__ = ["KeyPath", "Option", "assemble", "options_of"]

KeyPath = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Option:
    """One setting."""

    path: KeyPath
    accepts: Accepts
    default: object
    help: str

    @property
    def key(self) -> str:
        """Its name in `podium.yaml`, e.g. `gateway.port`."""
        return ".".join(self.path)

    @property
    def variable(self) -> str:
        """Its name in the environment, e.g. `PODIUM_GATEWAY_PORT`."""
        return "PODIUM_" + "_".join(self.path).upper()


def options_of(section: type, path: KeyPath) -> Iterator[Option]:
    """All options of a settings dataclass, in the order in which they are declared."""
    forms = get_type_hints(section)
    for entry in fields(section):
        form, below = forms[entry.name], (*path, entry.name)
        if isinstance(form, type) and is_dataclass(form):
            yield from options_of(form, below)
            continue
        default = entry.default if entry.default_factory is MISSING else entry.default_factory()
        assert default is not MISSING, f"{'.'.join(below)} has no default"
        yield Option(below, _accepts(form, entry.metadata), default, str(entry.metadata.get("help", "")))


def assemble(section: type, path: KeyPath, values: Mapping[KeyPath, object]) -> Any:
    """The dataclass with `values` set and every other field at its default; its own checks may raise ValueError."""
    forms = get_type_hints(section)
    arguments: dict[str, object] = {}
    for entry in fields(section):
        form, below = forms[entry.name], (*path, entry.name)
        if isinstance(form, type) and is_dataclass(form):
            arguments[entry.name] = assemble(form, below, values)
        elif below in values:
            arguments[entry.name] = values[below]
    return section(**arguments)


def _accepts(form: Any, metadata: Mapping[str, Any]) -> Accepts:
    return Accepts(
        form,
        minimum=metadata.get("minimum"),
        maximum=metadata.get("maximum"),
        choices=tuple(metadata.get("choices", ())),
        secret=bool(metadata.get("secret", False)),
    )
