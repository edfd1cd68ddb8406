"""The files of registered versions, as they lie on this machine."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from podium.cli._check_stores import published_snapshot
from podium.cli._finding import Finding, fail, ok, warn
from podium.core.errors import OperatorError

if TYPE_CHECKING:
    from podium.config import Settings
    from podium.core.registry import Weights
    from podium.core.snapshot import Snapshot

__all__ = ["check_registered"]

_CHECK = "model files"
_MIB = 1 << 20
_MOST_TOLD = 5


def check_registered(settings: "Settings", *, deep: bool) -> Finding:
    """What our workers load is here, and as it was registered: by its sizes, and if `deep` by its checksums.

    Files of versions that others serve are looked at if they are here.
    """
    from podium.engine.weights_store import WeightsStore  # noqa: PLC0415 - only where used

    try:
        snapshot = published_snapshot(settings)
    except OperatorError:
        return warn(_CHECK, "cannot be told without a snapshot", "See there.")
    if snapshot is None:
        return ok(_CHECK, "no snapshot yet, which would tell the registered ones")
    folder = settings.engine.store_folder(settings.data)
    store = WeightsStore(folder, settings.engine)
    damaged: dict[str, str] = {}  # version -> what is wrong
    missing: dict[str, None] = {}
    here: dict[str, int] = {}  # digest -> bytes
    for version, weights, is_ours in _registered(snapshot):
        if store.has(weights):
            if weights.digest not in here and (wrong := store.damage(weights, deep=deep)):
                damaged[version] = wrong
            here[weights.digest] = weights.size
        elif is_ours:
            missing[version] = None
    if damaged:
        return fail(
            _CHECK,
            f"damaged: {_listed(f'{version} ({wrong})' for version, wrong in damaged.items())}",
            "Delete the folder of what is damaged, and fetch it anew with `podium models pull`.",
        )
    if missing:
        return warn(_CHECK, f"not in {folder}: {_listed(missing)}", "`podium models pull` fetches them.")
    if not here:
        return ok(_CHECK, "no registered version has files here")
    judged = "checksums right" if deep else "sizes right (--deep compares checksums)"
    return ok(_CHECK, f"{len(here)} registered, {sum(here.values()) / _MIB:,.1f} MiB: there, {judged}")


def _registered(snapshot: "Snapshot") -> "Iterator[tuple[str, Weights, bool]]":
    """Version, weights, and whether our workers load them."""
    local = {name for name, provider in snapshot.providers.items() if provider.protocol == "local"}
    for name, version in sorted(snapshot.versions.items()):
        if version.weights is None or version.stage == "retired":
            continue
        is_ours = any(backend.provider in local for backend in version.backends)
        for weights in (version.weights, *(adapter.weights for adapter in version.adapters)):
            yield name, weights, is_ours


def _listed(names: "Iterator[str] | dict[str, None]") -> str:
    every = list(names)
    more = f" and {len(every) - _MOST_TOLD} more" if len(every) > _MOST_TOLD else ""
    return ", ".join(every[:_MOST_TOLD]) + more
