"""From the ledger of before the start to the report, by the loop as it runs."""

import pytest

from podium.control.rollouts.standing import Standing
from podium.delivery.choose import Chooser
from podium.delivery.experiments.page import html_page
from podium.store.sql import rollout_history as reading
from podium.testing.events import make_event

USERS = 400


class House:
    """Users whose costs differ, and stay what they were."""

    def __init__(self, world):
        self.world, self.chance = world, world.chance
        self.costs = [world.chance.lognormvariate(14, 0.5) for _ in range(USERS)]

    def exchange(self, standing=None, *, cheaper=0.0, back_s=1.0):
        number = self.chance.randrange(USERS)
        tenant, user = ("acme", "beta", "free")[number % 3], f"u{number}"
        key, arm, chosen = f"k-{tenant}", {}, None
        if standing is not None:
            chosen, subject = Chooser("prompts", standing.rollout, standing.progress).choose(
                tenant, key, user, "", "", ""
            )
            arm = {"rollout": "prompts", "arm": chosen.arm, "subject": subject, "finish_reason": "stop"}
        less = cheaper if chosen is not None and chosen.arm == "short" else 0.0
        return make_event(
            started_unix_ns=self.world.clock.unix_ns() - int((back_s + self.chance.random()) * 1e9),
            model=self.chance.choice(["chat", "talk"]),
            tenant=tenant,
            key_id=key,
            user=user,
            cost_nanousd=int(self.costs[number] * self.chance.lognormvariate(0, 0.2) * (1 - less)),
            tags=f"region={('eu', 'us')[number % 2]}",
            **arm,
        )


@pytest.fixture
def house(world):
    return House(world)


async def run(world, house, standing: Standing, count):
    world.clock.advance(10)
    await world.load([house.exchange(standing, cheaper=0.15) for _ in range(count)])
    await world.loop.once()


async def test_what_users_did_before_makes_the_report_surer(world, house, monkeypatch):
    monkeypatch.setattr(reading, "BATCH", 1000)
    await world.load([house.exchange(back_s=86_400 * house.chance.random()) for _ in range(2500)])
    world.clock.advance(120)
    await world.start(samples=5000)
    standing = await world.standing()
    await run(world, house, standing, 1500)
    halfway = await world.experiments.report("prompts")
    for _ in range(3):
        await run(world, house, standing, 500)
    found = await world.experiments.report("prompts")
    (cost,) = [row for row in found.effects if row.role == "primary"]

    assert halfway.history.sentence.endswith("More of it is still being read.")
    assert (found.history.used, found.history.complete, found.history.exchanges) == (True, True, 2500)
    assert cost.variance_reduction > 0.5
    assert cost.sequential.lower < -0.15 < cost.sequential.upper < 0
    assert "Variance taken out by that: cost of an answer" in found.history.sentence
    assert found.history.sentence in html_page(found)


async def test_parts_of_the_users_are_reported_with_their_level(world, house):
    segments = [{"name": "gold", "tiers": ["gold"]}, {"name": "few", "users": ["u1*"]}]
    await world.start(samples=5000, segments=segments, metrics=("output_tokens",))
    await run(world, house, await world.standing(), 1500)
    found = await world.experiments.report("prompts")
    effects = {(one.kind, one.name): one.effects for one in found.segments}

    named = {("segment", "gold"), ("segment", "few"), ("tag", "region=eu"), ("tag", "region=us")}
    tenants = {("tier", "gold"), ("tenant", "acme"), ("tenant", "beta"), ("tenant", "free")}
    keys = {("key", f"k-{name}") for name in ("acme", "beta", "free")}
    assert effects.keys() == named | tenants | keys
    assert {row.alpha for rows in effects.values() for row in rows} == {0.05 / 11}
    assert [row.measure for row in effects["segment", "gold"]] == ["cost_nanousd", "output_tokens"]
    assert effects["segment", "gold"][0].samples == effects["tier", "gold"][0].samples  # of keys, else of tenants
    assert "in 11, which share its level" in found.segments_note
