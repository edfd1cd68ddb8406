import pytest

from podium.core.errors import OperatorError
from podium.economics.budgets.truth import BudgetTruth, KnownSpending
from podium.store.truth_file import TruthFile

KEY = b"k" * 32
KNOWN = KnownSpending("all", "usd", "all|acme|m1", ("acme",), 7, 9)
TRUTH = BudgetTruth(read_unix_ns=5, known=(KNOWN,))


@pytest.fixture
def stores(tmp_path):
    """The same store with the right key and with another one."""
    return tuple(TruthFile(tmp_path / "budgets.bin", key) for key in (KEY, b"x" * 32))


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


async def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "budgets.bin"
    store = TruthFile(path, KEY)
    await store.publish(TRUTH)
    whole = path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    for damaged in (b"", whole[:20], whole[:-1], whole[:50] + b"\0" + whole[51:], b"PODIUMB9" + whole[8:]):
        path.write_bytes(damaged)
        with pytest.raises(OperatorError, match="damaged"):
            await store.read()


async def test_a_folder_that_is_gone_is_told(tmp_path):
    with pytest.raises(OperatorError, match="cannot be written"):
        await TruthFile(tmp_path / "gone" / "budgets.bin", KEY).publish(TRUTH)
