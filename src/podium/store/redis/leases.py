"""Leases: at most one gateway does a thing at a time, as far as time limits can promise that.

A lease can end while its holder still works (a paused process, a lost store), so what it protects must check the
fencing token: a later holder's is always greater.
"""

from dataclasses import dataclass

from podium.store.redis.client import RedisClient
from podium.store.redis.errors import StoreTrouble, StoreUnavailable
from podium.store.redis.scripts import Scripts, script

__all__ = ["Held", "Lease", "Leases"]


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease that its owner has; `token` fences off earlier holders."""

    name: str
    owner: str
    token: int


@dataclass(frozen=True, slots=True)
class Held:
    """Somebody else has it, for so long at most."""

    name: str
    remaining_ms: int


class Leases:
    """Takes, renews and ends leases in the shared store. All calls raise StoreUnavailable when it is away."""

    __slots__ = ("_client", "_prefix", "_scripts")

    def __init__(self, client: RedisClient, scripts: Scripts) -> None:
        self._client, self._scripts = client, scripts
        self._prefix = f"{client.settings.prefix}:lease1:"

    async def take(self, name: str, owner: str, ttl_ms: int) -> Lease | Held:
        """The lease, also when `owner` has it already (then it holds on for `ttl_ms` from now), or who holds it."""
        key = self._prefix + name
        for _ in range(2):
            deadline_us = self._client.deadline_us()
            code, value = await self._scripts.run(
                script("lease_take"), (key, f"{key}:fence"), owner, ttl_ms, deadline_us
            )
            if code == 1:
                return Lease(name, owner, value)
            if code == 0:
                return Held(name, max(0, value))
            self._client.figures.late += 1
            self._client.learn_time(value)
        raise StoreUnavailable(StoreTrouble.TIMEOUT, "the server's clock jumps")

    async def renew(self, lease: Lease, ttl_ms: int) -> bool:
        """Hold on for `ttl_ms` from now; False when it was lost."""
        key = self._prefix + lease.name
        return bool(await self._scripts.run(script("lease_renew"), (key,), lease.owner, lease.token, ttl_ms))

    async def end(self, lease: Lease) -> bool:
        """Give it back; False when it was lost before. A second time does nothing."""
        key = self._prefix + lease.name
        return bool(await self._scripts.run(script("lease_end"), (key,), lease.owner, lease.token))
