import pytest

from podium.control.budget_repair import declared_budgets
from podium.control.ports import ApiKeyRecord, Change
from podium.control.standings import SharedStandings, StandingsUse, Subject
from podium.core.errors import InvalidRequest, NotFound, Unavailable
from podium.core.snapshot import KeyEntry
from podium.core.standings import LimitRefusal, LimitStanding, Standings
from podium.economics.budgets.book import Book
from podium.economics.budgets.rules import BudgetTable, Payer
from podium.economics.budgets.store import MemoryBudgetStore
from podium.economics.budgets.values import Cost
from podium.testing.events import make_event
from podium.testing.memory_store import MemoryKeyStore, MemoryLedger, MemoryResourceStore
from podium.traffic.limiting.buckets import charge_of
from podium.traffic.limiting.limiter import Limiter
from podium.traffic.limiting.policies import Dimensions, LimitTable

REFUSED = LimitRefusal(ago_s=4.0, asked=1, retry_after_s=2.0, message="used up")


class Gateways:
    def __init__(self):
        self.asked = []
        self.told = (Standings(place="g-1"), Standings(place="g-2", error="gone"))

    async def ask(self, query, presented):
        self.asked.append((query, presented))
        return self.told


class Limits:
    def __init__(self, clock):
        self.clock, self.limiter, self.down = clock, Limiter(), False

    async def look(self, bucket):
        if self.down:
            raise Unavailable("the store is away")
        return self.limiter.look(bucket, self.clock.monotonic_ns())[0]


class House:
    def __init__(self, clock, *, shared):
        self.clock = clock
        self.keys, self.resources = MemoryKeyStore(), MemoryResourceStore(clock)
        self.ledger, self.gateways = MemoryLedger(clock), Gateways()
        self.limits = Limits(clock)
        self.book = Book(lease_s=9)
        store = SharedStandings(self.limits, MemoryBudgetStore(clock, self.book)) if shared else None
        self.use = StandingsUse(self.keys, self.resources, self.ledger, clock, gateways=self.gateways, shared=store)

    async def furnish(self):
        entry = KeyEntry(id="k1", tenant="acme", name="n", secrets=(), tags="team=a")
        await self.keys.insert(ApiKeyRecord(entry=entry, created_unix_s=1, created_by="me"))
        limits = [{"what": "requests", "amount": 5}]
        changes = (
            Change("Tenant", "acme", None, {"tier": "gold"}),
            Change("LimitPolicy", "gold", None, {"per": ["key"], "where": {"tier": ["gold"]}, "limits": limits}),
            Change("Budget", "teams", None, {"unit": "usd", "amount": 1, "period": "month", "per": ["tag:team"]}),
        )
        await self.resources.commit(expected=0, author="me", message="", changes=changes)
        return self

    async def spend(self, team, nanousd):
        table = BudgetTable(await declared_budgets(self.resources))
        now_ns = self.clock.unix_ns()
        charges = table.charges(Payer(tags=(("team", team),)), now_ns)
        held = self.book.reserve(team.encode(), charges, Cost(0, 0), now_ns, self.clock.monotonic_ns())
        self.book.settle(held.id, Cost(nanousd, 1))


@pytest.fixture
async def alone(clock):
    return await House(clock, shared=False).furnish()


@pytest.fixture
async def shared(clock):
    return await House(clock, shared=True).furnish()


async def test_gateways_are_asked_with_what_the_key_says_and_the_operators_key(alone):
    report = await alone.use.limits(Subject(key="k1", user="ann", tags="project=x"), "pk_operator")
    ((query, presented),) = alone.gateways.asked
    assert (query.tenant, query.tier, query.user, query.tags) == ("acme", "gold", "ann", "project=x,team=a")
    assert (query.limits, query.budgets, presented) == (True, False, "pk_operator")
    assert report.places == alone.gateways.told
    await alone.use.budgets(Subject(tenant="acme"), "teams", 7, "pk_operator")
    query = alone.gateways.asked[1][0]
    assert (query.limits, query.budget, query.most, query.tier) == (False, "teams", 7, "gold")


async def test_the_last_refusal_of_the_key_is_told(alone):
    now_ns = alone.clock.unix_ns()
    refused = {"key_id": "k1", "status": 429, "reason": "requests_limited"}
    recent = make_event(started_unix_ns=now_ns - 10**9, request_id="r1", **refused)
    await alone.ledger.load("a", 1, (recent, make_event(started_unix_ns=now_ns, key_id="k1")))
    report = await alone.use.limits(Subject(key="k1"), "")
    assert (report.last_refused.request_id, report.last_refused.reason) == ("r1", "requests_limited")
    alone.clock.advance(3700)
    assert (await alone.use.limits(Subject(key="k1"), "")).last_refused is None


async def test_a_shared_store_is_asked_itself(shared):
    buckets = LimitTable(
        {one.name: one.spec for one in (await shared.resources.current())[1] if one.kind == "LimitPolicy"}
    ).buckets(Dimensions(key="k1", tenant="acme", tier="gold"))
    shared.limits.limiter.acquire(buckets, charge_of(1, 1), shared.clock.monotonic_ns())
    seen = LimitStanding(
        policy="gold", limit="5 requests a minute", counted="this key", what="requests", amount=5, left=5,
        reset_s=0.0, without=(), last_refusal=REFUSED,
    )  # fmt: skip
    shared.gateways.told = (Standings(place="g-1", limits=(seen,)),)
    (place,) = (await shared.use.limits(Subject(key="k1"), "")).places
    assert (place.place, [(one.left, one.last_refusal) for one in place.limits]) == ("shared", [(4, REFUSED)])
    shared.limits.down = True
    (place,) = (await shared.use.limits(Subject(key="k1"), "")).places
    assert (place.limits, place.error) == ((), "the store is away")


async def test_shared_budgets_are_told_by_request_and_by_budget(shared):
    await shared.spend("a", 7)
    await shared.spend("b", 9)
    (place,) = (await shared.use.budgets(Subject(key="k1"), "", 10, "")).places
    assert [(one.subject, one.settled) for one in place.budgets] == [({"tag:team": "a"}, 7)]
    for budget, most, count in (("teams", 10, 2), ("*", 10, 2), ("teams", 1, 1)):
        (place,) = (await shared.use.budgets(Subject(), budget, most, "")).places
        assert len(place.budgets) == count
    assert shared.gateways.asked == []


async def test_what_is_not_there_or_cannot_be_is_refused(alone):
    with pytest.raises(NotFound, match="key"):
        await alone.use.limits(Subject(key="nobody"), "")
    with pytest.raises(NotFound, match="budget"):
        await alone.use.budgets(Subject(), "nothing", 5, "")
    for wrong in (Subject(user="\0"), Subject(tags="x"), Subject(user="u" * 2000)):
        with pytest.raises(InvalidRequest):
            await alone.use.limits(wrong, "")
