"""Names for versions that change with their content: `name@digest`."""

import hashlib

import msgspec

from podium.core.resources import Version

__all__ = ["version_digest", "version_name"]

_DIGEST_LENGTH = 12  # 48 bits: one model would need some 20 million versions for two to meet by chance
_encode = msgspec.json.Encoder(
    order="sorted"
).encode  # keys sorted, defaults left out: the order of writing does not count


def version_digest(spec: Version) -> str:
    """12 hex digits of the SHA-256 of the spec; equal for equal specs, whatever way they were written."""
    return hashlib.sha256(_encode(_plain_numbers(spec))).hexdigest()[:_DIGEST_LENGTH]


def version_name(name: str, spec: Version) -> str:
    """`name@digest`."""
    return f"{name}@{version_digest(spec)}"


def _plain_numbers(spec: Version) -> Version:
    """The spec with whole floats as integers: YAML's `1` and `1.0` are the same temperature."""
    numbers = {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in spec.parameters.items()
    }
    return msgspec.structs.replace(spec, parameters=numbers)
