"""What must hold for judges of rollouts. Pure: two states in, problems out, as in `validation`."""

from collections.abc import Iterator

from podium.control.problems import Problem
from podium.control.specs import State
from podium.core.resources import Model, Provider, Version
from podium.core.rollouts import Rollout

__all__ = ["unfit_judges"]

_ENDPOINT = "chat.completions"  # what a judge is asked with


def unfit_judges(before: State, after: State) -> Iterator[Problem]:
    """Rollouts that are new or changed whose judge cannot be asked, or may not see the answers."""
    for key, resource in after.items():
        if not isinstance(resource.spec, Rollout) or before.get(key) is resource:
            continue
        for message in _unfit(resource.spec, after):
            yield Problem(message=message, kind="Rollout", name=resource.name, path="spec.analysis.judge_model")


def _unfit(rollout: Rollout, state: State) -> Iterator[str]:
    name = rollout.analysis.judge_model if rollout.analysis is not None else None
    judge, model = _model(state, name), _model(state, rollout.model)
    if judge is None or model is None:
        return  # what is not there is told elsewhere
    if _ENDPOINT not in judge.endpoints:
        yield f"a judge is asked by {_ENDPOINT}, which the Model `{name}` does not serve"
    residency = model.balancing.residency
    if abroad := [region for region in _regions(judge, state) if residency and region not in residency]:
        shown = ", ".join(repr(region) for region in abroad)
        yield f"answers of `{rollout.model}` stay in {', '.join(residency)}; the judge `{name}` also runs in {shown}"


def _model(state: State, name: str | None) -> Model | None:
    found = None if name is None else state.get(("Model", name))
    return found.spec if found is not None and isinstance(found.spec, Model) else None


def _regions(model: Model, state: State) -> list[str]:
    """Where a model's own version runs."""
    version = state.get(("Version", model.version))
    regions: list[str] = []
    for backend in version.spec.backends if version is not None and isinstance(version.spec, Version) else ():
        provider = state.get(("Provider", backend.provider))
        declared = provider.spec.region if provider is not None and isinstance(provider.spec, Provider) else ""
        regions.append(declared if backend.region is None else backend.region)
    return list(dict.fromkeys(regions))
