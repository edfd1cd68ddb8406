import pytest

from podium.testing.limiter_conformance import LimiterConformance
from podium.traffic.limiting.limiter import Limiter

MINUTE = 60 * 10**9


class InMemory:
    """The limiter of one process, as the suite asks it."""

    lease_ns = 5 * MINUTE

    def __init__(self):
        self.limiter = Limiter(lease_ns=self.lease_ns)
        self.now_ns = 10**15

    async def acquire(self, buckets, charge):
        return self.limiter.acquire(buckets, charge, self.now_ns)

    async def settle(self, grant, facts):
        self.limiter.settle(grant, facts, self.now_ns)

    async def release(self, grant):
        self.limiter.release(grant, self.now_ns)

    async def renew(self, grant):
        return self.limiter.renew(grant, self.now_ns)

    async def standings(self, grant):
        return self.limiter.standings(grant, self.now_ns)

    async def advance(self, duration_ns):
        self.now_ns += duration_ns


class TestMemoryLimiter(LimiterConformance):
    @pytest.fixture
    def limiter(self):
        return InMemory()
