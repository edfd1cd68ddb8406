"""What a version is made of, beside its parameters and prompt: weights, adapters, tools; and what is noted about it.

Weights are named by the checksums of their files, never by where they came from: the same bytes are the same
weights, whichever mirror served them.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from podium.core.spec import Strict

__all__ = [
    "Adapter",
    "Stage",
    "Tool",
    "WeightFile",
    "Weights",
    "WeightsFormat",
    "digest_of_files",
    "is_worker_name",
    "load_digest",
    "worker_name",
]

_WORKER_NAME = re.compile(r".+@[0-9a-f]{12}\Z")
_NAMED_BY = 12  # hex digits in a worker's name, as in a version's

Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
FilePath = Annotated[
    str, Meta(max_length=255, pattern=r"^[A-Za-z0-9_][A-Za-z0-9._+-]*(/[A-Za-z0-9_][A-Za-z0-9._+-]*)*\Z")
]
"""Inside a model's folder: no step begins with a dot, so it leads nowhere else."""

WeightsFormat = Literal["gguf", "safetensors", "onnx"]
Stage = Literal["draft", "candidate", "live", "previous", "retired"]


class WeightFile(Strict, frozen=True, kw_only=True):
    """One file, by its checksum."""

    path: Annotated[FilePath, Meta(description="In the model's folder.")]
    sha256: Annotated[Sha256, Meta(description="Checksum of its bytes, in hex.")]
    size: Annotated[int, Meta(description="Bytes.", ge=0)]


class Weights(Strict, frozen=True, kw_only=True):
    """The files of a model. Only paths and checksums count for the version's digest."""

    source: Annotated[
        str,
        Meta(
            description="Where they can be fetched again: `pypi:name==version`, `hf:org/name@commit`, a URL or a path.",
            min_length=1,
            max_length=1024,
        ),
    ]
    format: Annotated[WeightsFormat, Meta(description="Of the files that hold the weights.")]
    main: Annotated[FilePath, Meta(description="The file that is loaded; of several parts the first.")]
    files: Annotated[tuple[WeightFile, ...], Meta(description="All of them.", min_length=1, max_length=1000)]

    def __post_init__(self) -> None:
        paths = [file.path for file in self.files]
        if len(set(paths)) != len(paths):
            raise ValueError("a path is there twice")
        if self.main not in paths:
            raise ValueError("`main` must be the path of one of the `files`")

    @property
    def digest(self) -> str:
        """64 hex digits that name these files."""
        return digest_of_files(self.files)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


class Adapter(Strict, frozen=True, kw_only=True):
    """A LoRA file that is loaded over the weights. Checksum and scale count for the version's digest."""

    source: Annotated[str, Meta(description="As of weights.", min_length=1, max_length=1024)]
    file: Annotated[WeightFile, Meta(description="The adapter: GGUF for our workers.")]
    scale: Annotated[float, Meta(description="How strongly it acts.", ge=-100, le=100)] = 1.0

    @property
    def weights(self) -> Weights:
        """The file as weights of one file, which the store keeps."""
        return Weights(source=self.source, format="gguf", main=self.file.path, files=(self.file,))


class Tool(Strict, frozen=True, kw_only=True):
    """A function that the model may ask for, as in OpenAI's `tools`."""

    name: Annotated[str, Meta(description="Of the function.", pattern=r"^[A-Za-z0-9_-]{1,64}\Z")]
    description: Annotated[str, Meta(description="For the model.", max_length=10_000)] = ""
    parameters: Annotated[dict[str, Any], Meta(description="JSON schema of its arguments.")] = msgspec.field(
        default_factory=dict
    )


def digest_of_files(files: Iterable[WeightFile]) -> str:
    """The SHA-256 of what `sha256sum` prints for the files, sorted by path: 64 hex digits."""
    lines = (f"{file.sha256}  {file.path}\n" for file in sorted(files, key=lambda file: file.path))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def load_digest(weights: Weights, adapters: Iterable[Adapter] = ()) -> str:
    """What a worker has in memory, as 64 hex digits: equal when one worker can serve both."""
    parts = [weights.digest, *(f"{adapter.file.sha256} {adapter.scale:g}" for adapter in adapters)]
    return hashlib.sha256("\n".join([*parts, weights.main]).encode()).hexdigest()


def worker_name(name: str, weights: Weights, adapters: Iterable[Adapter] = ()) -> str:
    """What a backend of our own workers calls these weights as its `model`: `name@digest`.

    Versions that differ in prompt or parameters only have one digest here, and share a worker.
    """
    return f"{name}@{load_digest(weights, adapters)[:_NAMED_BY]}"


def is_worker_name(model: str) -> bool:
    """Whether a backend's `model` may be one of these names."""
    return _WORKER_NAME.match(model) is not None
