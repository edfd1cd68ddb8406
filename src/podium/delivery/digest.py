"""Names for versions that change with their content: `name@digest`."""

import hashlib
from typing import Any

import msgspec

from podium.core.registry import Tool
from podium.core.resources import Version

__all__ = ["same_version", "version_digest", "version_name"]

_DIGEST_LENGTH = 12  # 48 bits: one model would need some 20 million versions for two to meet by chance
_encode = msgspec.json.Encoder(
    order="sorted"
).encode  # keys sorted, defaults left out: the order of writing does not count


class _Identity(msgspec.Struct, omit_defaults=True):
    """What a version answers with. Where it runs and what is noted about it may change while it serves.

    Fields are only ever added, with a default: it is left out, and digests stay what they were.
    """

    models: list[str]  # names at the provider; none when the weights themselves are known
    parameters: dict[str, bool | int | float | str | None] = {}
    system_prompt: str = ""
    weights: str = ""  # digest of the files, and which of them is loaded
    adapters: list[tuple[str, float]] = []  # checksum and scale, in the order in which they act
    tools: list[Tool] = []
    guard: str = ""


def version_digest(spec: Version) -> str:
    """12 hex digits of the SHA-256 of what a version is; equal for equal ones, whatever way they were written."""
    return hashlib.sha256(_encode(_identity(spec))).hexdigest()[:_DIGEST_LENGTH]


def same_version(one: Version, other: Version) -> bool:
    """True when both answer with the same: model or weights, adapters, parameters, prompt, tools and guard."""
    return _encode(_identity(one)) == _encode(_identity(other))


def version_name(name: str, spec: Version) -> str:
    """`name@digest`."""
    return f"{name}@{version_digest(spec)}"


def _identity(spec: Version) -> _Identity:
    return _Identity(
        models=[] if spec.weights is not None else sorted({backend.model for backend in spec.backends}),
        parameters=_with_whole_numbers(spec.parameters),
        system_prompt=spec.system_prompt,
        weights="" if spec.weights is None else f"{spec.weights.digest}:{spec.weights.main}",
        adapters=[(adapter.file.sha256, float(adapter.scale)) for adapter in spec.adapters],
        tools=[msgspec.structs.replace(tool, parameters=_with_whole_numbers(tool.parameters)) for tool in spec.tools],
        guard=spec.guard,
    )


def _with_whole_numbers(value: Any) -> Any:
    """With whole floats as integers: YAML's `1` and `1.0` are the same temperature."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case dict():
            return {name: _with_whole_numbers(item) for name, item in value.items()}
        case list() | tuple():
            return [_with_whole_numbers(item) for item in value]
        case _:
            return value
