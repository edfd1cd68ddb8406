"""The memory stores keep the promises that the SQL stores keep."""

import pytest

from podium.testing.memory_store import MemoryKeyStore, MemoryLeaderLease, MemoryLedger, MemoryResourceStore
from podium.testing.store_conformance import (
    KeyStoreConformance,
    LeaderLeaseConformance,
    LedgerConformance,
    ResourceStoreConformance,
)


class TestMemoryResourceStore(ResourceStoreConformance):
    @pytest.fixture
    def resource_stores(self):
        return (MemoryResourceStore(),) * 2


class TestMemoryKeyStore(KeyStoreConformance):
    @pytest.fixture
    def key_stores(self):
        return (MemoryKeyStore(),) * 2


class TestMemoryLedger(LedgerConformance):
    @pytest.fixture
    def ledgers(self):
        return (MemoryLedger(),) * 2


class TestMemoryLeaderLease(LeaderLeaseConformance):
    @pytest.fixture
    def leader_leases(self):
        return (MemoryLeaderLease(),) * 2
