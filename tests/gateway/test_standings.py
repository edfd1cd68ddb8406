from types import SimpleNamespace

import pytest

from podium.core.budgets import Budget
from podium.core.errors import Forbidden, InvalidRequest, Unauthenticated, Unavailable
from podium.core.limits import Limit, LimitPolicy
from podium.core.rollouts import Analysis, Progress, Rollout
from podium.core.snapshot import KeyEntry, KeySecret
from podium.core.standings import StandingsQuery, TrippedArm
from podium.delivery.buckets import arms_at
from podium.delivery.choose import Chooser
from podium.economics.budgets.book import Book
from podium.economics.budgets.rules import BudgetTable, Payer
from podium.economics.budgets.values import Cost
from podium.gateway.bursts import Bursts
from podium.gateway.standings import GatewayStandings
from podium.identity.keys import digest_secret, new_api_key
from podium.testing.clock import TestClock
from podium.testing.events import make_event
from podium.traffic.limiting.buckets import charge_of
from podium.traffic.limiting.limiter import Limiter
from podium.traffic.limiting.policies import Dimensions, LimitTable

PEPPER = b"pepper"
BUDGETS = {
    "all": Budget(unit="usd", amount=1, period="month", soft=(0.5,)),
    "users": Budget(unit="tokens", amount=100, period="day", per=("user",)),
}
POLICIES = {"keys": LimitPolicy(per=("key",), limits=(Limit(what="requests", amount=2),))}


class Place:
    def __init__(self):
        self.clock = TestClock()
        self.limiter = Limiter()
        self.book = Book(lease_s=9)
        self.operator, self.caller = new_api_key(), new_api_key()
        entries = {
            key.id: KeyEntry(
                id=key.id,
                tenant="acme",
                name="n",
                secrets=(KeySecret(digest=digest_secret(PEPPER, key.secret)),),
                admin=key is self.operator,
            )
            for key in (self.operator, self.caller)
        }
        self.world = SimpleNamespace(limits=LimitTable(POLICIES), budgets=BudgetTable(BUDGETS), key=entries.get)
        self.standings = self.of(self.book)

    def of(self, book):
        return GatewayStandings("g-1", lambda: self.world, self.limiter, book, self.clock, pepper=PEPPER)

    def ask(self, **query):
        return self.standings.answer(self.operator.text, StandingsQuery(**query))

    def reserve(self, number, payer):
        unix_ns = self.clock.unix_ns()
        charges = self.world.budgets.charges(payer, unix_ns)
        return self.book.reserve(bytes([number]), charges, Cost(5, 5), unix_ns, self.clock.monotonic_ns())


def test_operators_are_told_which_arms_of_rollouts_were_taken_out():
    place, bursts = Place(), Bursts()
    rollout = Rollout(model="m", candidate="v2", analysis=Analysis(burst_errors=2))
    arms = arms_at(rollout, 0, "v1")
    progress = Progress(phase="running", before="v1", salt="s", changed_unix_s=7.0, arms=arms)
    bursts.follow([Chooser("r", rollout, progress)])
    for _ in range(2):
        bursts.observe(make_event(rollout="r", arm="candidate", fault="upstream", reason="upstream_error", status=502))
    bursts.observe(make_event(rollout="r", arm="baseline", fault="upstream", reason="upstream_error", status=502))
    told = GatewayStandings("g-1", lambda: place.world, place.limiter, None, place.clock, pepper=PEPPER, bursts=bursts)
    answer = told.answer(place.operator.text, StandingsQuery(rollouts=True))
    assert answer.tripped == (
        TrippedArm(
            rollout="r", salt="s", arm="candidate", changed_unix_s=7.0, failures=2, of=2, reason="failures_in_a_row"
        ),
    )
    assert told.answer(place.operator.text, StandingsQuery()).tripped == ()


def test_it_tells_what_is_left_and_why_the_last_was_refused():
    place = Place()
    buckets = place.world.limits.buckets(Dimensions(key="k1"))
    for _ in range(3):
        place.limiter.acquire(buckets, charge_of(1, 1), place.clock.monotonic_ns())
    place.clock.advance(3)
    (limit,) = place.ask(key="k1").limits
    assert (limit.policy, limit.limit, limit.left) == ("keys", "2 requests a minute", 0)
    assert limit.last_refusal.ago_s == pytest.approx(3)
    assert "used up" in limit.last_refusal.message
    (other,) = place.ask(key="k2").limits
    assert (other.left, other.last_refusal) == (2, None)
    assert place.ask(key="k1", limits=False).limits == ()


def test_it_tells_what_is_settled_and_what_is_reserved():
    place = Place()
    ann = Payer(tenant="acme", user="ann")
    place.reserve(1, ann)
    place.reserve(2, ann)
    place.book.settle(b"\x01", Cost(600_000_000, 60))
    dollars, tokens = place.ask(tenant="acme", user="ann").budgets
    assert (dollars.settled, dollars.reserved, dollars.running, dollars.reached) == (600_000_000, 5, 1, (0.5,))
    assert (tokens.subject, tokens.settled, tokens.left, tokens.unit) == ({"user": "ann"}, 60, 35, "tokens")
    assert "Settled $0.60" in dollars.sentences[1]
    assert place.ask(tenant="acme", user="ann", budgets=False).budgets == ()


def test_all_accounts_of_a_budget_are_told():
    place = Place()
    for number in range(5):
        place.reserve(number, Payer(tenant="acme", user=f"u{number}"))
    users = place.ask(budget="users", limits=False).budgets
    assert [one.subject["user"] for one in users] == [f"u{number}" for number in range(5)]
    assert len(place.ask(budget="users", most=2).budgets) == 2
    assert len(place.ask(budget="*").budgets) == 6
    assert place.ask(budget="use").budgets == ()


def test_only_operators_are_told():
    place = Place()
    query = StandingsQuery()
    for presented in (None, "", "pk_x", new_api_key().text):
        with pytest.raises(Unauthenticated):
            place.standings.answer(presented, query)
    with pytest.raises(Forbidden):
        place.standings.answer(place.caller.text, query)
    place.world = None
    with pytest.raises(Unavailable):
        place.standings.answer(place.operator.text, query)


def test_without_a_book_there_are_no_budgets_and_wrong_tags_are_the_callers_mistake():
    place = Place()
    assert place.of(None).answer(place.operator.text, StandingsQuery(tenant="acme")).budgets == ()
    with pytest.raises(InvalidRequest, match="tags"):
        place.ask(tags="no equals")
