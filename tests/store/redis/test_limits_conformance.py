import pytest

from podium.store.redis.limits import RedisLimiter
from podium.testing.limiter_conformance import LimiterConformance

MINUTE = 60 * 10**9


class Shared(RedisLimiter):
    """The shared limiter, with a clock that tests may set."""

    async def advance(self, duration_ns):
        self.skew_us += duration_ns // 1000


class TestRedisLimiter(LimiterConformance):
    @pytest.fixture
    async def limiter(self, client, scripts):
        return Shared(client, scripts, lease_ns=5 * MINUTE)
