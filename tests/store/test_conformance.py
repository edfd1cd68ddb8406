import pytest

from podium.store.sql.keys import SqlKeyStore
from podium.store.sql.lease import SqlLeaderLease
from podium.store.sql.ledger import SqlLedger
from podium.store.sql.resources import SqlResourceStore
from podium.testing.memory_store import MemoryKeyStore, MemoryLeaderLease, MemoryLedger, MemoryResourceStore
from podium.testing.store_conformance import (
    KeyStoreConformance,
    LeaderLeaseConformance,
    LedgerConformance,
    ResourceStoreConformance,
)


class TestSqlResourceStore(ResourceStoreConformance):
    @pytest.fixture
    def resource_stores(self, database, other_database):
        return SqlResourceStore(database), SqlResourceStore(other_database)


class TestSqlKeyStore(KeyStoreConformance):
    @pytest.fixture
    def key_stores(self, database, other_database):
        return SqlKeyStore(database), SqlKeyStore(other_database)


class TestSqlLedger(LedgerConformance):
    @pytest.fixture
    def ledgers(self, database, other_database):
        return SqlLedger(database), SqlLedger(other_database)


class TestSqlLeaderLease(LeaderLeaseConformance):
    @pytest.fixture
    def leader_leases(self, database, other_database):
        return SqlLeaderLease(database), SqlLeaderLease(other_database)


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
