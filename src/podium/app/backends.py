"""What readiness tells of models: which of their backends take no calls, and why."""

from collections.abc import Iterator, Mapping

from podium.delivery.choose import choose_version
from podium.gateway.pool import Pool
from podium.gateway.world import World
from podium.web.probes import Part

__all__ = ["backends_out"]


def backends_out(world: World, unusable: Mapping[str, str], now_ns: int) -> list[Part]:
    """A part for each backend that takes no calls now, and one for each model that has no other.

    `unusable`: why a provider cannot be called at all, by its name.
    """
    parts: list[Part] = []
    for model, pool in world.pools().items():
        explained = list(_explained(world, model, pool, unusable, now_ns))
        parts += [_out(f"backend {model} {backend}", why) for backend, why in explained if why]
        if all(why for _, why in explained):
            parts.append(_out(f"model {model}", "None of its backends takes calls."))
    return parts


def _explained(
    world: World, model: str, pool: Pool, unusable: Mapping[str, str], now_ns: int
) -> Iterator[tuple[str, str]]:
    """Each backend that is declared, with a sentence that says why it is out; empty: it is not."""
    version, _ = choose_version(world.models[model])
    callable_ones = {backend.upstream.label: backend for backend in pool.backends}
    for spec in world.snapshot.versions[version].backends:
        label = f"{spec.provider}/{spec.model}"
        backend = callable_ones.get(label)
        if backend is not None:
            yield label, pool.explain(backend, now_ns)
        else:
            yield label, f"It cannot be called. {unusable.get(spec.provider, 'No worker of this gateway serves it.')}"


def _out(name: str, detail: str) -> Part:
    return Part(name, ready=False, detail=detail, required=False)
