"""The registry as people see it: each version with its descent, its files and what uses it. Pure."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from podium.control.specs import Key
from podium.control.validation import references
from podium.core.registry import Stage, WeightFile
from podium.core.resources import Resource, Version
from podium.delivery.digest import version_digest

__all__ = ["FileView", "VersionView", "version_views"]

_MAX_DESCENT = 100


class FileView(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a version."""

    path: str
    sha256: str
    size: int
    source: str


class VersionView(msgspec.Struct, frozen=True, kw_only=True):
    """A version, and what the declared state says about it."""

    name: str
    digest: str
    stage: Stage  # follows from what uses it, else as declared
    used_by: tuple[str, ...]  # `Model/chat (spec.version)`
    descent: tuple[str, ...]  # parent, its parent, and so on
    children: tuple[str, ...]
    backends: tuple[str, ...]  # provider/model
    format: str  # "" without weights of its own
    size: int  # bytes of all files, adapters too
    source: str
    files: tuple[FileView, ...]
    adapters: tuple[FileView, ...]
    licence: str
    data_sources: tuple[str, ...]
    notes: str
    pinned: bool


class _Use(NamedTuple):
    kind: str
    name: str
    path: str  # where it says so


def version_views(resources: Iterable[Resource]) -> list[VersionView]:
    """All versions among the resources, by name."""
    declared = tuple(resources)
    versions = {one.name: one.spec for one in declared if isinstance(one.spec, Version)}
    uses: dict[Key, list[_Use]] = {}
    for one in declared:
        if not isinstance(one.spec, Version):
            for path, target in references(one):
                uses.setdefault(target, []).append(_Use(one.kind, one.name, path))
    return [_view(name, versions, uses.get(("Version", name), [])) for name in sorted(versions)]


def _view(name: str, versions: Mapping[str, Version], uses: list[_Use]) -> VersionView:
    spec = versions[name]
    weights = spec.weights
    files = () if weights is None else tuple(_file(one, weights.source) for one in weights.files)
    adapters = tuple(_file(one.file, one.source) for one in spec.adapters)
    return VersionView(
        name=name,
        digest=version_digest(spec),
        stage=_stage(spec, uses),
        used_by=tuple(f"{use.kind}/{use.name} ({use.path})" for use in uses),
        descent=_descent(name, versions),
        children=tuple(sorted(one for one, other in versions.items() if other.parent == name)),
        backends=tuple(f"{one.provider}/{one.model}" for one in spec.backends),
        format="" if weights is None else weights.format,
        size=sum(one.size for one in (*files, *adapters)),
        source="" if weights is None else weights.source,
        files=files,
        adapters=adapters,
        licence=spec.licence,
        data_sources=spec.data_sources,
        notes=spec.notes,
        pinned=spec.pinned,
    )


def _stage(spec: Version, uses: list[_Use]) -> Stage:
    """`live`: a Model serves it; `previous`: a Rollout has moved the Model away from it; `candidate`: one tries it."""
    if any(use.kind == "Model" for use in uses):
        return "live"
    if spec.stage == "retired":
        return "retired"
    if any(use.kind == "Progress" and use.path == "spec.before" for use in uses):
        return "previous"
    return "candidate" if uses and spec.stage == "draft" else spec.stage


def _descent(name: str, versions: Mapping[str, Version]) -> tuple[str, ...]:
    found: list[str] = []
    parent = versions[name].parent
    while parent is not None and parent not in found and len(found) < _MAX_DESCENT:
        found.append(parent)
        parent = versions[parent].parent if parent in versions else None
    return tuple(found)


def _file(file: WeightFile, source: str) -> FileView:
    return FileView(path=file.path, sha256=file.sha256, size=file.size, source=source)
