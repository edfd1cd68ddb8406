"""`limits show` and `budget show` against the real admin application, with scripted gateways."""

import pytest

from podium.control.standings import StandingsUse
from podium.core.standings import BudgetStanding, LimitRefusal, LimitStanding, Standings
from podium.testing.events import make_event

LIMIT = LimitStanding(
    policy="fair",
    limit="60 requests a minute",
    counted="this user",
    what="requests",
    amount=60,
    left=0,
    reset_s=12.34,
    without=("user",),
    last_refusal=LimitRefusal(ago_s=3.2, asked=1, retry_after_s=1.0, message="The limit is used up.\x1b[2J"),
)
BUDGET = BudgetStanding(
    budget="team",
    subject={"tenant": "acme"},
    unit="nanousd",
    period="2026-11",
    starts_unix_s=1.0,
    ends_unix_s=2.0,
    amount=100,
    settled=60,
    reserved=5,
    running=1,
    left=35,
    hard=True,
    soft_marks=(0.5,),
    reached=(0.5,),
    sentences=("Budget 'team' of tenant 'acme'.", "Settled $0.60."),
)


class Gateways:
    def __init__(self):
        self.asked = []
        self.told = (
            Standings(place="g-1", limits=(LIMIT,), budgets=(BUDGET,)),
            Standings(place="g-2", error="http://g-2 cannot be asked"),
        )

    async def ask(self, query, presented):
        self.asked.append((query, presented))
        return self.told


@pytest.fixture
def gateways(house):
    gateways, plane = Gateways(), house.plane
    plane.standings = StandingsUse(
        plane.keys._store, house.resource_store, house.ledger, plane.clock, gateways=gateways, shared=None
    )
    return gateways


@pytest.fixture
def key(house):
    return house.admin_key.split("_")[1]


def test_limits_show_tells_what_is_left_and_why_one_was_refused(podium, house, gateways, key):
    now_ns = house.plane.clock.unix_ns()
    refused = {"reason": "requests_limited", "status": 429, "request_id": "req-9"}
    house.record(make_event(started_unix_ns=now_ns, key_id=key, **refused))
    out = podium("limits", "show", key, "--user", "ann", "--ip", "10.0.0.1").out

    for part in ("g-1", "fair", "60 requests a minute", "this user (without user)", "12.3", "http://g-2 cannot"):
        assert part in out
    assert "fair refused 3 s ago: The limit is used up.\\x1b[2J" in out
    assert "429 requests_limited for small, request req-9." in out
    query, presented = gateways.asked[0]
    assert (query.key, query.user, query.ip, query.tenant, presented) == (
        key,
        "ann",
        "10.0.0.1",
        "acme",
        house.admin_key,
    )


def test_budget_show_tells_each_account(podium, house, gateways, key):
    out = podium("budget", "show").out

    assert "g-1:\n  Budget 'team' of tenant 'acme'.\n  Settled $0.60.\n" in out
    assert gateways.asked[0][0].budget == "*"
    podium("budget", "show", "--key", key, "--tags", "a=b")
    assert (gateways.asked[1][0].budget, gateways.asked[1][0].tags) == ("", "a=b")
    assert "there is no budget `other`" in podium("budget", "show", "other", code=1).err


def test_as_json_both_are_what_the_admin_api_answers(podium, gateways, key):
    limits = podium("limits", "show", key, "--json").json
    budgets = podium("budget", "show", "--key", key, "--json").json

    assert limits["places"][0]["limits"][0]["last_refusal"]["asked"] == 1
    assert (budgets["places"][0]["budgets"][0]["left"], budgets["asked"]["tenant"]) == (35, "acme")
    assert limits["last_refused"] is None


def test_nothing_to_tell_is_said(podium, house, gateways, key):
    gateways.told = (Standings(place="g-1"),)
    assert "g-1: no limit applies." in podium("limits", "show", key).out
    assert "Nothing of this key was refused" in podium("limits", "show", key).out
    assert "g-1: no budget applies" in podium("budget", "show").out
    gateways.told = ()
    assert "No gateway is known here" in podium("budget", "show").out
    assert "there is no key `nobody`" in podium("limits", "show", "nobody", code=1).err
