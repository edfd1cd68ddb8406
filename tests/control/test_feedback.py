import pytest

from podium.control import feedback
from podium.control.feedback import KnownExchanges
from podium.control.loader import LoaderStatus
from podium.testing.events import make_event
from podium.testing.memory_store import MemoryLedger


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(feedback, "_BETWEEN_S", 0.0)


class LateLedger(MemoryLedger):
    """Has an exchange only at the third look."""

    looks = 0

    async def find(self, request_id, *, tenant, before, limit):
        self.looks += 1
        if self.looks == 3:
            await self.load("a/1", 1, (make_event(request_id=request_id, tenant=tenant),))
        return await super().find(request_id, tenant=tenant, before=before, limit=limit)


async def test_what_ended_just_now_is_waited_for():
    ledger = LateLedger()
    known = KnownExchanges(ledger, LoaderStatus)
    assert await known.known("acme", "q") is True
    assert ledger.looks == 3


@pytest.mark.parametrize(
    ("status", "known"),
    [(LoaderStatus(), False), (LoaderStatus(error="gone"), None), (LoaderStatus(lag_bytes=1, lag_s=3.0), None)],
)
async def test_a_ledger_that_is_behind_says_neither_yes_nor_no(status, known):
    assert await KnownExchanges(MemoryLedger(), lambda: status).known("acme", "q") is known
