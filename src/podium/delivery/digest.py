"""Names for versions that change with their content: `name@digest`."""

import hashlib

import msgspec

from podium.core.resources import Version

__all__ = ["same_version", "version_digest", "version_name"]

_DIGEST_LENGTH = 12  # 48 bits: one model would need some 20 million versions for two to meet by chance
_encode = msgspec.json.Encoder(
    order="sorted"
).encode  # keys sorted, defaults left out: the order of writing does not count


class _Identity(msgspec.Struct, omit_defaults=True):
    """What a version answers with. Where it runs (providers, weights, regions) may change while it serves."""

    models: list[str]
    parameters: dict[str, bool | int | float | str | None] = {}
    system_prompt: str = ""


def version_digest(spec: Version) -> str:
    """12 hex digits of the SHA-256 of what a version is; equal for equal ones, whatever way they were written."""
    return hashlib.sha256(_encode(_identity(spec))).hexdigest()[:_DIGEST_LENGTH]


def same_version(one: Version, other: Version) -> bool:
    """True when both answer with the same: model names, parameters and prompt, wherever they run."""
    return _encode(_identity(one)) == _encode(_identity(other))


def version_name(name: str, spec: Version) -> str:
    """`name@digest`."""
    return f"{name}@{version_digest(spec)}"


def _identity(spec: Version) -> _Identity:
    """With whole floats as integers: YAML's `1` and `1.0` are the same temperature."""
    numbers = {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in spec.parameters.items()
    }
    return _Identity(sorted({backend.model for backend in spec.backends}), numbers, spec.system_prompt)
