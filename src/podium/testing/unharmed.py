"""Callers of a whole Podium who must not notice what fails behind it; each of their exchanges must be in the ledger."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from podium.testing.load import Load, SeenExchange
from podium.testing.postgres_server import PostgresServer
from podium.testing.site import INPUT_NANOUSD, OUTPUT_NANOUSD, Site
from podium.testing.waiting import eventually

__all__ = ["Callers", "true_in_a_thread", "unharmed_callers"]

_OK = 200
_PATIENCE_S = 30.0  # loaders try again after 15 s at most
_POLL_S = 0.05
_REQUESTS = "SELECT request_id FROM exchanges WHERE endpoint = 'chat.completions' AND key_id = $1"
_SUMS = """SELECT sum(exchanges)::bigint, sum(errors)::bigint, sum(input_tokens)::bigint, sum(output_tokens)::bigint,
           sum(cost_nanousd)::bigint FROM usage_hours WHERE key_id = $1 AND model = $2"""


class Callers:
    """A load at each gateway, all of it with one key."""

    def __init__(self, site: Site, ledger: PostgresServer, key: tuple[str, str], loads: list[Load]) -> None:
        self.site, self.ledger, self.loads = site, ledger, loads
        self.key_id, self.key = key

    @property
    def seen(self) -> list[SeenExchange]:
        """What all of them saw."""
        return [one for load in self.loads for one in load.seen]

    async def some_more(self, exchanges: int = 10) -> None:
        """Return when each gateway has served so many more."""
        before = [len(load.served) for load in self.loads]
        await eventually(
            lambda: all(len(one.served) >= had + exchanges for one, had in zip(self.loads, before, strict=True)),
            timeout_s=10,
        )

    def recorded(self) -> Counter[str]:
        """Request ids in the ledger, as often as they are there."""
        return Counter(row[0] for row in self.ledger.execute(_REQUESTS, self.key_id))

    async def check_unharmed(self, within_s: float) -> None:
        """AssertionError when one was refused, was answered with an error, or waited longer than that."""
        assert [load.refused for load in self.loads] == [0] * len(self.loads)
        others = [one for one in self.seen if not one.served]
        assert not others, others[:5]
        slowest = max(one.took_s for one in self.seen)
        assert slowest < within_s, slowest

    async def check_recorded(self, model: str) -> None:
        """Wait until the ledger has what they saw; AssertionError when it is not there once each, at its price."""
        wanted = {one.request_id for one in self.seen}
        await true_in_a_thread(lambda: wanted <= self.recorded().keys(), timeout_s=_PATIENCE_S)
        assert await asyncio.to_thread(self.recorded) == Counter(wanted)
        inputs = sum(one.input_tokens for one in self.seen)
        outputs = sum(one.output_tokens for one in self.seen)
        cost = inputs * INPUT_NANOUSD + outputs * OUTPUT_NANOUSD
        sums = await asyncio.to_thread(self.ledger.execute, _SUMS, self.key_id, model)
        assert sums == [(len(self.seen), 0, inputs, outputs, cost)]


@asynccontextmanager
async def unharmed_callers(
    site: Site,
    ledger: PostgresServer,
    name: str,
    *,
    model: str = "m",
    workers: int = 4,
    within_s: float = 1.0,
    **key: object,
) -> AsyncIterator[Callers]:
    """Callers with a key of their own, from before the block until after it; at the end all is checked.

    `within_s`: what a call may take at most. It takes milliseconds, so that is about waits that do not belong there.
    """
    made = await asyncio.to_thread(site.new_key, name, **key)
    async with AsyncExitStack() as stack:
        loads = [
            Load(one.port, made[1], model=model, workers=workers, name=f"{name}-{number}")
            for number, one in enumerate(site.gateways)
        ]
        callers = Callers(site, ledger, made, loads)
        for load in loads:
            await stack.enter_async_context(load)
        await callers.some_more()
        yield callers
        await callers.some_more()
    await callers.check_unharmed(within_s)
    await callers.check_recorded(model)


async def true_in_a_thread(condition: Callable[[], object], *, timeout_s: float, every_s: float = _POLL_S) -> float:
    """Return when a condition that blocks holds, asked beside the event loop: the seconds that took. TimeoutError."""

    def wait() -> float:
        started = time.monotonic()
        while not condition():
            if time.monotonic() - started > timeout_s:
                raise TimeoutError(f"not true within {timeout_s} s")
            time.sleep(every_s)
        return time.monotonic() - started

    return await asyncio.to_thread(wait)
