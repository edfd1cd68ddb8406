import pytest

from podium.core.errors import OperatorError
from podium.economics.budgets.truth import BudgetTruth, KnownSpending
from podium.store.sql.truth import SqlTruth

KEY = b"k" * 32
KNOWN = KnownSpending("all", "usd", "all|acme|m1", ("acme",), 7, 9)
TRUTH = BudgetTruth(read_unix_ns=5, known=(KNOWN,))


@pytest.fixture
def stores(database):
    """The same store with the right key and with another one."""
    return tuple(SqlTruth(database, key) for key in (KEY, b"x" * 32))


async def test_what_is_published_is_read(stores):
    store, _ = stores
    assert await store.stamp() is None
    with pytest.raises(OperatorError):
        await store.read()
    await store.publish(TRUTH)
    first = await store.stamp()
    assert await store.read() == TRUTH
    newer = BudgetTruth(read_unix_ns=6, known=())
    await store.publish(newer)
    assert await store.read() == newer
    assert await store.stamp() != first


async def test_what_another_key_sealed_is_refused(stores):
    store, foreign = stores
    await foreign.publish(TRUTH)
    with pytest.raises(OperatorError, match="another secret"):
        await store.read()
