import pytest

from podium.store.redis.budgets import RedisBudgetStore
from podium.store.redis.scripts import Scripts
from podium.testing.budget_conformance import BudgetStoreConformance

LEASE_S = 600


class TestRedisBudgetStore(BudgetStoreConformance):
    @pytest.fixture
    async def budget_stores(self, open_client, server):
        clients = [await open_client(server) for _ in range(2)]
        return tuple(RedisBudgetStore(client, Scripts(client), lease_s=LEASE_S) for client in clients)

    @pytest.fixture
    def let_leases_end(self, budget_stores):
        async def pass_time():
            for store in budget_stores:
                store.skew_us += LEASE_S * 1_000_000 + 1

        return pass_time
