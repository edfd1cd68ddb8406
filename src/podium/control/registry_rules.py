"""What must hold for versions in the registry. Pure: two states in, problems out, as in `validation`."""

from collections.abc import Callable, Iterable, Iterator

from podium.control.problems import Problem
from podium.control.specs import Key, State
from podium.core.registry import worker_name
from podium.core.resources import Provider, Resource, Version
from podium.core.rollouts import ACTIVE_PHASES, Progress, Rollout

__all__ = ["references_of_version", "retired_in_use", "wrong_versions"]

References = Callable[[Resource], Iterable[tuple[str, Key]]]


def references_of_version(version: Version) -> Iterator[tuple[str, Key]]:
    """The key path of each reference, and what it names."""
    if version.parent is not None:
        yield "spec.parent", ("Version", version.parent)
    for index, backend in enumerate(version.backends):
        yield f"spec.backends[{index}].provider", ("Provider", backend.provider)


def wrong_versions(before: State, after: State) -> Iterator[Problem]:
    """What is wrong with versions that are new or changed."""
    for key, resource in after.items():
        if not isinstance(resource.spec, Version) or before.get(key) is resource:
            continue
        if resource.spec.guard:
            yield _problem(resource, "there are no guard policies yet; leave it out", "spec.guard")
        if _descends_from_itself(resource, after):
            yield _problem(resource, "the version would descend from itself", "spec.parent")
        yield from _wrong_names_of_workers(resource, resource.spec, after)


def retired_in_use(before: State, after: State, references: References) -> Iterator[Problem]:
    """Retired versions that something goes on using or begins to use; children and rollouts that are over do not."""
    retired = {key for key, resource in after.items() if _retired(resource)}
    if not retired:
        return
    for key, resource in after.items():
        if isinstance(resource.spec, Version) or _is_over(resource, after):
            continue
        for path, target in references(resource):
            if target not in retired:
                continue
            if not _retired(before.get(target)):
                message = f"cannot be retired: {resource.kind}/{resource.name} uses it ({path})"
                yield Problem(message=message, kind=target[0], name=target[1], path="spec.stage", conflict=True)
            elif before.get(key) is not resource:
                yield _problem(resource, f"Version `{target[1]}` is retired", path, conflict=True)


def _is_over(resource: Resource, state: State) -> bool:
    """Whether it is a rollout that has come to its end."""
    if not isinstance(resource.spec, Rollout | Progress):
        return False
    progress = state.get(("Progress", resource.name))
    phase = progress.spec.phase if progress is not None and isinstance(progress.spec, Progress) else "pending"
    return phase != "pending" and phase not in ACTIVE_PHASES


def _retired(resource: Resource | None) -> bool:
    return resource is not None and isinstance(resource.spec, Version) and resource.spec.stage == "retired"


def _descends_from_itself(resource: Resource, state: State) -> bool:
    seen, at = set[str](), resource
    while isinstance(at.spec, Version) and at.spec.parent is not None and at.name not in seen:
        seen.add(at.name)
        parent = state.get(("Version", at.spec.parent))
        if parent is None:
            return False
        at = parent
    return at.name in seen and at.name == resource.name


def _wrong_names_of_workers(resource: Resource, version: Version, state: State) -> Iterator[Problem]:
    """Backends on our own workers whose name does not say what the worker has in memory: one name is one memory."""
    if version.weights is None:
        return
    for index, backend in enumerate(version.backends):
        provider = state.get(("Provider", backend.provider))
        if provider is None or not isinstance(provider.spec, Provider) or provider.spec.protocol != "local":
            continue
        path = f"spec.backends[{index}].model"
        if version.weights.format == "safetensors":
            message = "our workers load GGUF and ONNX; let a provider serve safetensors, or convert them"
            yield _problem(resource, message, path)
        wanted = worker_name(backend.model.rpartition("@")[0] or resource.name, version.weights, version.adapters)
        if backend.model != wanted:
            yield _problem(resource, f"for these weights and adapters it must be `{wanted}`", path)


def _problem(resource: Resource, message: str, path: str, *, conflict: bool = False) -> Problem:
    return Problem(message=message, kind=resource.kind, name=resource.name, path=path, conflict=conflict)
