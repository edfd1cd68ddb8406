"""Times what the gateway does to choose a version, and the control plane's look at a rollout of millions.

Choosing is `podium.gateway.stages.choose_pool`, and `check_context_length` before it, as in an exchange: the flag that
bounds the context, the flag that lets exchanges into the rollout, its segments, the subject's bucket, the arm's count
of what waits. Half of the models are under a canary, half under an experiment; each exchange has a user of its own.

A look reads the sums of the rollout and judges them, as `podium control` does once a second.
"""

import os
import random
import statistics
import time
from contextlib import ExitStack
from pathlib import Path

import msgspec

from harness.load.generator import run_generator
from harness.load.uncalled import UncalledUpstreams
from podium.control.rollouts.standing import Standing
from podium.core.exchange import Exchange
from podium.core.experiments import Experiment
from podium.core.flags import Condition, Flag, Rule
from podium.core.key_table import KeyEntry
from podium.core.resources import BackendSpec, Model, Provider, Tenant, Version
from podium.core.rollouts import Arm, Progress, Rollout, Segment, Step
from podium.core.snapshot import Snapshot
from podium.delivery.buckets import arms_at
from podium.gateway import stages
from podium.gateway.flag_counts import FlagCounts
from podium.gateway.flags import MAX_CONTEXT_LENGTH, check_context_length
from podium.gateway.fleet import Fleet
from podium.gateway.world import Principal, World
from podium.store.settings import DatabaseSettings
from podium.store.sql.database import open_database
from podium.store.sql.rollout_analyst import SqlAnalyst
from podium.store.sql.rollout_store import SqlRolloutStore
from podium.testing.postgres_server import PostgresServer
from podium.testing.rollout_sums import BIG_ROLLOUT, big_progress, put_big_rollout

__all__ = ["RolloutsJob", "RolloutsResult"]

_REPEATS = 5  # the best of them is told: the others were disturbed
_LOOKS = 5  # their median is told
_AT_ONCE = 50
_NOW_NS = 10**15
_BACKENDS = 2  # of each arm of the rollout that is looked at
_KEY = "benchkey0000"
_KINDS = ("canary", "experiment")
_ARMS = {"canary": {"candidate", "baseline"}, "experiment": {"a", "b"}}
_STEPS = (Step(percent=25), Step(percent=100))
_WHERE = Segment(tiers=("gold", "silver"), tags=("team=*",))
_DESIGN = Experiment(hypothesis="shorter is better", primary="duration_ms", effect=-0.1, samples=100_000)


class RolloutsJob(msgspec.Struct, frozen=True, kw_only=True):
    """How many rollouts and flags the large world has, how often is chosen, and of how many exchanges sums are made."""

    rollouts: int
    choices: int
    exchanges: int
    seed: int
    core: int
    folder: str  # empty, for databases


class RolloutsResult(msgspec.Struct, frozen=True, kw_only=True):
    """Time of one choice by kind of rollout, and of one look by database.

    `alone`: nothing else is declared; `beside`: one model beside all the others; `among`: each choice is for another
    model of them. `missing`: why there is no look at one of the databases.
    """

    alone_us: dict[str, float]
    beside_us: dict[str, float]
    among_us: dict[str, float]
    looks_s: dict[str, float]
    missing: tuple[str, ...] = ()


class _Caller:
    """Has headers, and nothing to read (podium.gateway.ports.Caller)."""

    gone = False
    address = "127.0.0.1"
    body = b""

    def __init__(self, session: str) -> None:
        self.headers = {b"host": b"bench", b"x-podium-session": session.encode()}

    async def read_body(self) -> bytes:
        return self.body


def _flag(number: int) -> Flag:
    """A boolean one that nine of ten users are given, by the second of its rules."""
    gold = Rule(name="gold", when=(Condition(attribute="tier", in_=("gold",)),), variant="on")
    tenants = Condition(attribute="tenant", matches=(f"t{number % 10}*", "bench"))
    return Flag(type="boolean", rules=(gold, Rule(name="some", when=(tenants,), split={"on": 90, "off": 10})))


def _rollout(kind: str, number: int) -> Rollout:
    model, flag = f"{kind}-{number}", f"flag-{kind}-{number}"
    if kind == "canary":
        return Rollout(model=model, candidate="new", steps=_STEPS, where=_WHERE, flag=flag)
    arms = (Arm(name="a", version="old"), Arm(name="b", version="new"))
    step = Step(percent=100)
    return Rollout(model=model, strategy="ab", arms=arms, steps=(step,), where=_WHERE, flag=flag, experiment=_DESIGN)


def _world(rollouts: int) -> World:
    """So many rollouts and flags, and the flag that bounds the context."""
    places = [(kind, number) for number in range(rollouts // 2) for kind in _KINDS]
    declared = {f"{kind}-{number}": _rollout(kind, number) for kind, number in places}
    progress = {
        name: Progress(
            phase="running",
            before="old",
            salt=f"salt-{name}",
            step=0,
            arms=arms_at(one, 0, "old"),
            started_unix_s=1.0,
            step_unix_s=1.0,
        )
        for name, one in declared.items()
    }
    longest = Flag(type="number", variants={"usual": 100_000, "off": 1_000_000}, default="usual")
    snapshot = Snapshot(
        revision=1,
        published_unix_s=1.0,
        providers={name: Provider(protocol="openai", base_url="http://127.0.0.1:9/v1") for name in ("old", "new")},
        versions={name: Version(backends=(BackendSpec(provider=name, model="m"),)) for name in ("old", "new")},
        models={name: Model(version="old") for name in declared},
        tenants={"bench": Tenant(tier="silver")},
        rollouts=declared,
        progress=progress,
        flags={f"flag-{kind}-{number}": _flag(number) for kind, number in places} | {MAX_CONTEXT_LENGTH: longest},
    )
    return World(snapshot, UncalledUpstreams(), Fleet(), _NOW_NS)


def _exchange(number: int, model: str, user: str) -> Exchange:
    exchange = Exchange(
        "chat.completions", request_id="bench", started_unix_ns=_NOW_NS + number, started_at_ns=_NOW_NS + number
    )
    exchange.tenant, exchange.key_id, exchange.user, exchange.model = "bench", _KEY, user, model
    exchange.tags, exchange.bytes_in, exchange.admitted_at_ns = "app=chat,team=search", 2000, _NOW_NS + number
    exchange.status = 200  # as of one that is answered, so that none seems to hang
    return exchange


def _principal(world: World) -> Principal:
    return world.principal(KeyEntry(id=_KEY, tenant="bench", name="bench", secrets=()))


def _time_us(world: World, models: list[str], choices: int, draw: random.Random) -> float:
    """Exchanges are made some at a time, between what is timed: where they are served, they are new as well."""
    caller, principal, counts = _Caller("s1"), _principal(world), FlagCounts(1.0)
    choose, seen, took_s = stages.choose_pool, set[str](), 0.0
    for first in range(0, choices, _AT_ONCE):
        exchanges = [
            _exchange(number, draw.choice(models), f"user-{draw.randrange(1_000_000)}")
            for number in range(first, first + _AT_ONCE)
        ]
        began = time.perf_counter()
        for exchange in exchanges:
            check_context_length(exchange, caller, principal, world, counts)
            choose(exchange, world, caller, principal, counts)
        took_s += time.perf_counter() - began
        seen |= {exchange.arm for exchange in exchanges}
    assert seen > _ARMS[models[0].partition("-")[0]], f"{models[0]}: {seen}"  # else something else was timed
    return took_s / (-(-choices // _AT_ONCE) * _AT_ONCE) * 1e6


def _choices(world: World, models: int, choices: int, draw: random.Random) -> dict[str, float]:
    """By kind; `models`: among so many of a kind is drawn."""
    found = {}
    for kind in _KINDS:
        names = [name for name in world.rollouts if name.startswith(kind)][:models]
        _time_us(world, names, max(choices // 4, 8 * len(names)), draw)  # what is first used is compiled then
        found[kind] = min(_time_us(world, names, choices, draw) for _ in range(_REPEATS))
    return found


async def _look_s(url: str, folder: Path, exchanges: int) -> float:
    """The median of some looks."""
    database = open_database(DatabaseSettings(url=url or None), folder / "podium.db")
    try:
        await database.migrate()
        now_s = await put_big_rollout(database, "big", exchanges, backends=_BACKENDS)
        analyst = SqlAnalyst(SqlRolloutStore(database), _Revisions(), lambda: 0.0)
        standing = Standing(1, "big", BIG_ROLLOUT, big_progress(), {})
        took = []
        for _ in range(_LOOKS):
            began = time.perf_counter()
            judgement = await analyst.judge(standing, now_s)
            took.append(time.perf_counter() - began)
            assert judgement.enough, judgement.detail
        return statistics.median(took)
    finally:
        await database.close()


class _Revisions:
    """Are not asked for while judging (podium.store.sql.rollout_analyst.Revisions)."""

    async def revisions(self, *, before: int | None, limit: int) -> tuple[()]:  # noqa: ARG002 - a Protocol's signature
        return ()


async def _work(job: RolloutsJob) -> RolloutsResult:
    folder, draw = Path(job.folder), random.Random(job.seed)
    looks: dict[str, float] = {}
    missing: tuple[str, ...] = ()
    with ExitStack() as stack:
        try:
            server = stack.enter_context(PostgresServer())  # it stays on the load core
        except FileNotFoundError as error:
            missing = (str(error),)
        os.sched_setaffinity(0, {job.core})
        looks["sqlite"] = await _look_s("", folder, job.exchanges)
        if not missing:
            looks["postgres"] = await _look_s(server.url, folder, job.exchanges)
    few, many = _world(len(_KINDS)), _world(job.rollouts)
    return RolloutsResult(
        alone_us=_choices(few, 1, job.choices, draw),
        beside_us=_choices(many, 1, job.choices, draw),
        among_us=_choices(many, job.rollouts, job.choices, draw),
        looks_s=looks,
        missing=missing,
    )


if __name__ == "__main__":
    run_generator(RolloutsJob, _work)
