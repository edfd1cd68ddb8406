import pytest

from podium.control.ports import UsageQuery
from podium.control.usage import Usage
from podium.core.errors import InvalidRequest
from podium.testing.events import make_event
from podium.testing.memory_store import MemoryLedger


def raw(day, tenant, cost):
    return make_event(
        id=bytes([day]) * 16,
        started_unix_ns=day * 86_400 * 10**9,
        tenant=tenant,
        cost_nanousd=cost,
        status=200 if day else 500,
        input_tokens=10,
    )


@pytest.fixture
async def usage():
    ledger = MemoryLedger()
    await ledger.load("a", 1, (raw(0, "acme", 5), raw(1, "acme", 6), raw(2, "other", 7)))
    return Usage(ledger)


async def test_rows_and_their_total(usage):
    report = await usage.report(UsageQuery(by=("tenant",)))
    assert [(row.group["tenant"], row.exchanges, row.cost_nanousd) for row in report.rows] == [
        ("acme", 2, 11),
        ("other", 1, 7),
    ]
    total = report.total
    assert (total.exchanges, total.errors, total.input_tokens, total.cost_nanousd) == (3, 1, 30, 18)


async def test_days_are_utc_and_filters_hold(usage):
    report = await usage.report(UsageQuery(by=("day",), tenant="acme", since_unix_s=0, until_unix_s=86_400))
    assert [row.group for row in report.rows] == [{"day": "1970-01-01"}]


@pytest.mark.parametrize(
    "query",
    [
        UsageQuery(by=("moon",)),
        *(UsageQuery(by=(f"tag:{name}",)) for name in ("", "a b", "a,b", "a=b", "\0", "a" * 65)),
        UsageQuery(by=("tag:a", "tag:a")),
        UsageQuery(by=("day", "day")),
        UsageQuery(by=(), since_unix_s=5, until_unix_s=5),
    ],
)
async def test_questions_without_an_answer_are_refused(usage, query):
    with pytest.raises(InvalidRequest):
        await usage.report(query)
