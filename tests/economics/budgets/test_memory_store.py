"""The store in memory keeps the promises that a shared one keeps."""

import pytest

from podium.economics.budgets.book import Book
from podium.economics.budgets.store import MemoryBudgetStore
from podium.testing.budget_conformance import BudgetStoreConformance
from podium.testing.clock import TestClock

LEASE_S = 900.0


class TestMemoryBudgetStore(BudgetStoreConformance):
    @pytest.fixture
    def clock(self):
        return TestClock()

    @pytest.fixture
    def budget_stores(self, clock):
        return (MemoryBudgetStore(clock, Book(lease_s=LEASE_S)),) * 2

    @pytest.fixture
    def let_leases_end(self, clock):
        async def end():
            clock.advance(LEASE_S)

        return end
