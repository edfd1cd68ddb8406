"""What a worker of a registered version loads, and where the worker reads that.

The engine writes a file in `<data>/workers/` before it starts `podium worker <name>`. Only what is loaded is in it:
versions that differ in prompt or parameters share a worker.
"""

import hashlib
from pathlib import Path

import msgspec

from podium.core.errors import OperatorError
from podium.core.layout import DataFolder
from podium.core.registry import Adapter, Weights
from podium.core.rollouts import ACTIVE_PHASES
from podium.core.snapshot import Snapshot

__all__ = ["Loadable", "loadables_of", "read_loadable", "write_loadable"]

_CODE_MIB = 140  # Python, llama.cpp and its buffers without a model
_MIB = 1 << 20


class Loadable(msgspec.Struct, frozen=True, kw_only=True):
    """One worker's content."""

    name: str  # as backends name it
    weights: Weights
    adapters: tuple[Adapter, ...] = ()
    pinned: bool = False
    in_use: bool = False  # a Model or a Rollout names a version with it

    @property
    def all_weights(self) -> tuple[Weights, ...]:
        """Everything that has to lie in the store."""
        return (self.weights, *(adapter.weights for adapter in self.adapters))

    @property
    def mib(self) -> int:
        """About what it takes in memory, before anybody has measured it."""
        return _CODE_MIB + sum(one.size for one in self.all_weights) // _MIB


def loadables_of(snapshot: Snapshot) -> dict[str, Loadable]:
    """By name what our workers may have to load: weights of versions on a provider `local`, but for retired ones."""
    local = {name for name, provider in snapshot.providers.items() if provider.protocol == "local"}
    used = {model.version for model in snapshot.models.values()} | _tried(snapshot)
    found: dict[str, Loadable] = {}
    for name, version in snapshot.versions.items():
        if version.weights is None or version.stage == "retired":
            continue
        for backend in version.backends:
            if backend.provider not in local:
                continue
            before = found.get(backend.model)
            found[backend.model] = Loadable(
                name=backend.model,
                weights=version.weights,
                adapters=version.adapters,
                pinned=version.pinned or (before is not None and before.pinned),
                in_use=name in used or (before is not None and before.in_use),
            )
    return found


def _tried(snapshot: Snapshot) -> set[str]:
    """Versions that a rollout sends exchanges to, or keeps ready for the way back."""
    tried = {arm.version for one in snapshot.progress.values() for arm in one.arms}
    tried |= {one.before for one in snapshot.progress.values()}
    begun = [name for name, one in snapshot.progress.items() if one.phase in ACTIVE_PHASES]
    rollouts = [rollout for name in begun if (rollout := snapshot.rollouts.get(name)) is not None]
    return tried | {rollout.candidate for rollout in rollouts if rollout.candidate is not None}


def write_loadable(data: DataFolder, loadable: Loadable) -> None:
    """Have `podium worker <name>` find it."""
    path = _path(data, loadable.name)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    written = path.with_suffix(".tmp")
    written.write_bytes(msgspec.json.encode(loadable))
    written.replace(path)


def read_loadable(data: DataFolder, name: str) -> Loadable | None:
    """What was written for a worker of that name; None: nothing."""
    try:
        return msgspec.json.decode(_path(data, name).read_bytes(), type=Loadable)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise OperatorError(f"What the worker {name} is to load cannot be read: {error}") from None


def _path(data: DataFolder, name: str) -> Path:
    return data.path / "workers" / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.json"
