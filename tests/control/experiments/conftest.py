"""A house with an experiment `prompts`, its database, and traffic that is put into the ledger directly."""

import random

import pytest

from podium.control.documents import parse_documents
from podium.control.experiments.analyst import ExperimentAnalyst
from podium.control.experiments.reports import ExperimentReports, ReportingAnalyst
from podium.control.experiments.traffic import Traffic
from podium.control.experiments.use import Experiments
from podium.control.resources import Resources
from podium.control.rollouts.loop import RolloutLoop
from podium.control.rollouts.moves import Asked, moved
from podium.control.rollouts.standing import LOOP_AUTHOR, Standings
from podium.control.rollouts.use import Rollouts
from podium.delivery.analysis.observed import shares_of
from podium.delivery.phases import Happening
from podium.store.settings import DatabaseSettings
from podium.store.sql.database import open_database
from podium.store.sql.experiment_store import SqlExperimentStore
from podium.store.sql.ledger import SqlLedger
from podium.store.sql.resources import SqlResourceStore
from podium.store.sql.rollout_analyst import SqlAnalyst
from podium.testing.events import make_event
from podium.testing.memory_store import MemoryKeyStore

HOUSE = """
{kind: Provider, name: p, spec: {protocol: local}}
--- {kind: Tenant, name: acme, spec: {tier: gold}}
--- {kind: Tenant, name: beta, spec: {tier: gold}}
--- {kind: Tenant, name: free}
--- {kind: Version, name: v1, spec: {backends: [{provider: p, model: m}]}}
--- {kind: Version, name: v2, spec: {backends: [{provider: p, model: n}]}}
--- {kind: Version, name: v3, spec: {backends: [{provider: p, model: o}]}}
--- {kind: Model, name: chat, spec: {version: v1, aliases: [talk]}}
--- {kind: Rollout, name: plain, spec: {model: chat, candidate: v2}}
"""
DESIGN = {"hypothesis": "Short is cheaper.", "primary": "cost_nanousd", "effect": -0.1, "samples": 300}
ADAPTIVE = {"every_s": 9, "floor": 0.1, "largest_step": 0.25, "minimum_samples": 50}
ARMS = {"long": "v1", "short": "v2", "odd": "v3", "even": "v3"}


class Gateways:
    """They tell what they are told to."""

    tripped = ()
    trials = ()

    async def trips(self):
        return self.tripped

    async def try_candidate(self, standing, timeout_s):
        return self.trials


class World:
    """The use cases and the loop over one database."""

    def __init__(self, database, clock):
        self.clock, self.chance = clock, random.Random(1)
        self.resource_store = SqlResourceStore(database, clock)
        self.resources = Resources(self.resource_store, MemoryKeyStore(), clock)
        self.ledger = SqlLedger(database, clock)
        self.store = SqlExperimentStore(database)
        self.standings = Standings(self.resource_store)
        self.lag_s, self.gateways = 0.0, Gateways()
        traffic = Traffic(self.ledger, clock)
        reports = ExperimentReports(self.resource_store, traffic, store=self.store, shelf=self.store)
        sums = SqlAnalyst(self.store, self.resource_store, lambda: self.lag_s)
        self.analyst = ReportingAnalyst(ExperimentAnalyst(sums, self.store), reports)
        self.rollouts = Rollouts(self.standings, clock, shelf=self.store, keeper=self.analyst)
        self.experiments = Experiments(self.rollouts, self.standings, self.resource_store, reports, traffic, clock)
        self.loop = RolloutLoop(
            self.standings, clock, analyst=self.analyst, gateways=self.gateways, tick_s=0.01, prepare_s=60
        )
        self._position = 0
        self.shares = {}  # that traffic has; empty: as it should

    @property
    def now_s(self):
        return self.clock.unix_ns() / 1e9

    async def apply(self, text):
        await self.resources.apply(parse_documents(text), author="test")

    async def declare(self, *, arms=("long", "short"), metrics=(), steps=None, freeze=(), **design):
        spec = {
            "model": "chat",
            "strategy": "ab",
            "arms": [{"name": name, "version": ARMS[name]} for name in arms],
            "experiment": DESIGN | design,
            "steps": steps or [{"percent": 100, "minimum_s": 1}],
            "freeze": list(freeze),
            "analysis": {
                "metrics": [{"name": name, "tolerance": 0.05, "absolute": True} for name in metrics],
                "no_data_after_s": 86400,
            },
        }
        text = str({"kind": "Rollout", "name": "prompts", "spec": spec})
        await self.apply(text.replace("True", "true").replace("False", "false").replace("None", "null"))

    async def standing(self):
        return await self.standings.one("prompts")

    async def happen(self, what, **more):
        standing = await self.standing()
        move = moved(standing, what, Asked(LOOP_AUTHOR, self.now_s), **more)
        assert await self.standings.write(standing, move, author=LOOP_AUTHOR)

    async def start(self, **declared):
        """It runs."""
        await self.declare(**declared)
        await self.experiments.start("prompts", author="anna")
        await self.happen(Happening.PREPARED)

    async def traffic(self, count, *, costs=None, spoilt=(), subjects=400):
        """Exchanges of arms by their present shares, in the second before now; then time passes."""
        self.clock.advance(10)
        spoilt = (spoilt,) if isinstance(spoilt, str) else spoilt
        standing = await self.standing()
        shares = self.shares or shares_of(standing.progress.arms)
        events = []
        for _ in range(count):
            (arm,) = self.chance.choices(list(shares), list(shares.values()))
            number = self.chance.randrange(subjects)
            bad = arm in spoilt and self.chance.random() < 0.4
            events.append(
                make_event(
                    started_unix_ns=self.clock.unix_ns() - 10**9 + self.chance.randrange(10**9),
                    rollout="prompts",
                    arm=arm,
                    subject=f"{arm}{number:012}",
                    model="chat",
                    tenant=("acme", "beta", "free")[number % 3],
                    user=f"u{number}",
                    finish_reason="stop",
                    cost_nanousd=int(self.chance.gauss((costs or {}).get(arm, 1e6), 1e5)),
                    **({"reason": "upstream_error", "fault": "upstream", "status": 502} if bad else {}),
                )
            )
        await self.load(events)

    async def load(self, events):
        self._position += 1
        await self.ledger.load("a/1", self._position, tuple(events))


@pytest.fixture
async def world(tmp_path, clock):
    database = open_database(DatabaseSettings(), tmp_path / "podium.db")
    await database.migrate()
    made = World(database, clock)
    await made.apply(HOUSE)
    yield made
    await made.loop._trials.close()
    await database.close()


@pytest.fixture
def adaptive():
    return ADAPTIVE
