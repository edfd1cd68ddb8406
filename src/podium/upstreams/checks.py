"""Active health checks: asks each provider that has a `health_check`, and knows which of our workers are up."""

import asyncio
from collections.abc import Callable
from random import random
from typing import NamedTuple
from urllib.parse import urlsplit

import structlog

from podium.core.clock import Clock
from podium.core.errors import OperatorError, PodiumError
from podium.core.resources import Provider, Tls
from podium.core.serving import HealthCheck
from podium.gateway.ports import HealthView
from podium.traffic.health import Health, HealthPolicy
from podium.upstreams.openai import origin_of
from podium.upstreams.pool import Pool
from podium.upstreams.presets import base_url_of
from podium.upstreams.workers import WorkerWatch

__all__ = ["HealthChecks"]

log = structlog.get_logger(__name__)

_LOOK_EVERY_S = 0.25
_FIRST_SERVER_ERROR = 500
_NOT_WELL = (408, 429)


class _About(NamedTuple):
    """What a check depends on; other changes of a provider leave its state as it is."""

    check: HealthCheck
    base_url: str
    tls: Tls


class _Check:
    """One provider under check."""

    def __init__(self, name: str, about: _About, now_ns: int) -> None:
        check, base_url, tls = about
        policy = HealthPolicy(
            interval_s=check.interval_s, unhealthy_after=check.unhealthy_after, healthy_after=check.healthy_after
        )
        self.name = name
        self.about = about
        self.health = Health(policy, now_ns, random())  # noqa: S311 - spreads the checks
        self.running = False
        self._timeout_s = check.timeout_s
        self._pool = Pool(
            origin_of(base_url, tls),
            connect_s=check.timeout_s,
            first_byte_s=check.timeout_s,
            between_bytes_s=check.timeout_s,
            max_connections=1,
            max_answer_bytes=1024 * 1024,
        )
        host = urlsplit(base_url).netloc.rpartition("@")[2]
        self._request = f"GET {check.path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: podium\r\n\r\n".encode()

    async def passes(self) -> bool:
        """Ask once."""
        deadline_s = asyncio.get_running_loop().time() + self._timeout_s
        try:
            answer = await self._pool.call(self._request, deadline_s=deadline_s)
        except PodiumError:
            return False
        answer.close()
        return answer.status < _FIRST_SERVER_ERROR and answer.status not in _NOT_WELL

    def close(self) -> None:
        """Close the connection."""
        self._pool.close()


class HealthChecks:
    """All checks of one gateway (podium.gateway.fleet.HealthSource). Belongs to one event loop."""

    def __init__(self, workers: WorkerWatch, clock: Clock) -> None:
        self._on_change: Callable[[], None] | None = None
        self._workers = workers
        self._clock = clock
        self._checks: dict[str, _Check] = {}
        self._used: set[str] = set()

    def tell(self, on_change: Callable[[], None]) -> None:
        """Call `on_change` whenever a provider or a worker turns from usable to not, or back."""
        self._on_change = on_change
        self._workers.tell(on_change)

    def view(self, account: str, spec: Provider) -> HealthView | None:
        """What is known of an account's health; None: nobody checks it."""
        if spec.protocol == "local":
            return self._workers.view(account.partition("/")[2])
        if spec.health_check is None:
            return None
        self._used.add(account)
        known = self._checks.get(account)
        about = _About(spec.health_check, base_url_of(spec), spec.tls)
        if known is None or known.about != about:
            try:
                made = _Check(account, about, self._clock.monotonic_ns())
            except OperatorError as error:
                log.warning("health_check_unusable", provider=account, error=error.message, hint=error.hint)
                return None
            if known is not None:
                known.close()
            known = self._checks[account] = made
        return known.health

    def retire_unused(self) -> None:
        """End the checks that were not asked for since the last time."""
        for account in self._checks.keys() - self._used:
            self._checks.pop(account).close()
        self._used.clear()

    async def run(self) -> None:
        """Check, forever."""
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    now_ns = self._clock.monotonic_ns()
                    for check in self._checks.values():
                        if not check.running and now_ns >= check.health.due_at_ns:
                            check.running = True
                            group.create_task(self._ask(check))
                    await asyncio.sleep(_LOOK_EVERY_S)
        finally:
            for check in self._checks.values():
                check.close()

    async def _ask(self, check: _Check) -> None:
        passed = await check.passes()
        check.running = False
        change = check.health.record(passed, self._clock.monotonic_ns(), random())  # noqa: S311 - as above
        if change is not None:
            log.info("provider_health_changed", provider=check.name, before=change.before, after=change.after)
            if self._on_change is not None:
                self._on_change()
