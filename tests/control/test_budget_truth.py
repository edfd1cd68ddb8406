import asyncio

from podium.control.budget_truth import BudgetTruths
from podium.control.ports import Change
from podium.testing.events import make_event
from podium.testing.memory_store import MemoryLedger, MemoryResourceStore
from podium.testing.waiting import eventually

MONTHLY = {"unit": "usd", "amount": 1, "period": "month"}


class Published:
    def __init__(self):
        self.truths = []

    async def publish(self, truth):
        self.truths.append(truth)


async def test_what_was_spent_is_published_as_long_as_there_are_budgets(clock):
    resources, ledger, published = MemoryResourceStore(clock), MemoryLedger(clock), Published()
    truths = BudgetTruths(published, ledger, resources, clock, period_s=0.01)
    assert await truths.once() is None
    await resources.commit(expected=0, author="me", message="", changes=(Change("Budget", "all", None, MONTHLY),))
    await ledger.load("a/1", 1, (make_event(started_unix_ns=clock.unix_ns()),))
    truth = await truths.once()
    assert [(one.budget, one.values, one.amount) for one in truth.known] == [("all", ("acme",), 1_500)]
    await resources.commit(expected=1, author="me", message="", changes=(Change("Budget", "all", MONTHLY, None),))
    assert (await truths.once()).known == ()
    assert await truths.once() is None
    assert len(published.truths) == 2


async def test_the_loop_goes_on_after_a_failure(clock):
    resources, published = MemoryResourceStore(clock), Published()
    await resources.commit(expected=0, author="me", message="", changes=(Change("Budget", "all", None, MONTHLY),))
    truths = BudgetTruths(published, MemoryLedger(clock), resources, clock, period_s=0.01)
    resources.down = True
    stop = asyncio.Event()
    task = asyncio.create_task(truths.run(stop))
    await asyncio.sleep(0.05)
    resources.down = False
    await eventually(lambda: published.truths)
    stop.set()
    await task
