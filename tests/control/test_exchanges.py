import pytest

from podium.control.exchanges import MAX_EXCHANGES, Exchanges
from podium.core.errors import InvalidRequest, NotFound
from podium.testing.events import make_event
from podium.testing.memory_store import MemoryLedger


@pytest.fixture
async def exchanges():
    ledger = MemoryLedger()
    events = [make_event(id=bytes([number]) * 16, request_id="same", tenant=f"t{number % 2}") for number in range(5)]
    await ledger.load("a/1", 1, (*events, make_event(request_id="one")))
    return Exchanges(ledger)


async def test_an_exchange_is_found_by_its_request_id(exchanges):
    page = await exchanges.find("one")

    assert [event.request_id for event in page.events] == ["one"]
    assert page.next_before is None


async def test_pages_go_from_new_to_old_and_end(exchanges):
    seen, before = [], None
    while True:
        page = await exchanges.find("same", before=before, limit=2)
        seen.append([event.id[0] for event in page.events])
        before = page.next_before
        if before is None:
            break

    assert seen == [[4, 3], [2, 1], [0]]


async def test_a_page_that_is_just_full_is_the_last(exchanges):
    assert (await exchanges.find("same", limit=5)).next_before is None


async def test_another_tenant_s_exchange_is_not_there(exchanges):
    assert [event.id[0] for event in (await exchanges.find("same", tenant="t1")).events] == [3, 1]
    with pytest.raises(NotFound, match="request id `same`") as raised:
        await exchanges.find("same", tenant="t2")
    assert raised.value.hint


async def test_older_ones_than_the_oldest_are_none(exchanges):
    assert (await exchanges.find("same", before=bytes(16))).events == ()


@pytest.mark.parametrize(
    ("request_id", "more"),
    [
        ("", {}),
        ("a" * 129, {}),
        ("ü", {}),
        ("a\n", {}),
        ("a", {"tenant": "\0"}),
        ("a", {"limit": 0}),
        ("a", {"limit": MAX_EXCHANGES + 1}),
    ],
)
async def test_questions_without_an_answer_are_refused(exchanges, request_id, more):
    with pytest.raises(InvalidRequest):
        await exchanges.find(request_id, **more)
