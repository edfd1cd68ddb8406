"""A data plane in this process: real HTTP server, real upstream connections, events kept in a list."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from podium.core.budgets import Budget
from podium.core.clock import Clock, SystemClock
from podium.core.event import Event
from podium.core.flags import Flag
from podium.core.limits import LimitPolicy
from podium.core.records import Opinion, Unknown, decode_record
from podium.core.resources import BackendSpec, Model, Price, Provider, Tenant, Timeouts, Version
from podium.core.snapshot import KeyEntry, KeySecret, KeyTable, Snapshot
from podium.core.trace import Sampler
from podium.gateway.feedback import ExchangeAsker, FeedbackDesk
from podium.gateway.flag_reads import FlagReads
from podium.gateway.fleet import Fleet
from podium.gateway.flight import Flight
from podium.gateway.follow import SnapshotFollower
from podium.gateway.ports import HealthSource
from podium.gateway.settings import GatewaySettings
from podium.identity.keys import ApiKey, digest_secret
from podium.upstreams.providers import LocalWorkers, Providers
from podium.web.feedback.path import FeedbackPath
from podium.web.http1.server import HttpServer
from podium.web.ofrep.paths import OfrepPaths
from podium.web.openai.surface import OpenAiSurface
from podium.web.probes import Part
from podium.web.settings import GatewayServerSettings

__all__ = ["TEST_KEY", "MemoryJournal", "RunningGateway", "gateway_snapshot", "limit_policy", "running_gateway"]

_PEPPER = bytes(32)
TEST_KEY = ApiKey("testkey00000", "s" * 40)


class MemoryJournal:
    """Keeps events, and opinions, in lists (podium.gateway.ports.Journal). `failure` makes each append fail."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.opinions: list[Opinion] = []
        self.accepting = True
        self.failure: OSError | None = None

    def append(self, record: bytes, written: Callable[[OSError | None], None]) -> None:
        """Keep a record, at once."""
        if self.failure is None:
            found = decode_record(record)
            if isinstance(found, Event):
                self.events.append(found)
            elif not isinstance(found, Unknown):
                self.opinions.append(found)
        written(self.failure)


@dataclass
class _EventList:
    events: list[Event] = field(default_factory=list)

    def observe(self, event: Event) -> None:
        self.events.append(event)


class _NoSource:
    async def stamp(self) -> object | None:
        return None

    async def read(self) -> Snapshot:
        raise AssertionError


class _AlwaysReady:
    def parts(self) -> list[Part]:
        return [Part("test", ready=True)]

    def metrics(self) -> bytes:
        return b""


@dataclass
class RunningGateway:
    """What a test sees of the gateway."""

    url: str
    port: int
    api_key: str
    events: list[Event]  # of all exchanges, also of callers that were not identified
    journal: MemoryJournal
    server: HttpServer
    flight: Flight
    follower: SnapshotFollower
    providers: Providers
    fleet: Fleet
    desk: FeedbackDesk

    @property
    def in_flight(self) -> int:
        """Exchanges that run."""
        return self.flight.in_flight

    @property
    def connections(self) -> int:
        """Callers' open connections."""
        return len(self.server.connections)


def limit_policy(
    *, requests: int | None = None, tokens: int | None = None, concurrency: int | None = None, **more: Any
) -> LimitPolicy:
    """A policy for each tenant: requests and tokens a minute, exchanges at the same time."""
    amounts = {"requests": requests, "tokens": tokens, "concurrency": concurrency}
    limits = [{"what": what, "amount": amount} for what, amount in amounts.items() if amount is not None]
    return msgspec.convert({"limits": limits} | more, LimitPolicy)


def gateway_snapshot(
    upstream_url: str | list[str] = "http://127.0.0.1:9/v1",
    *,
    models: tuple[str, ...] = ("test-model",),
    upstream_model: str | None = None,
    timeouts: Timeouts | None = None,
    report_stream_usage: bool = True,
    limits: Mapping[str, LimitPolicy] | None = None,
    budgets: Mapping[str, Budget] | None = None,
    flags: Mapping[str, Flag] | None = None,
    key: KeyEntry | None = None,
) -> Snapshot:
    """A snapshot with one tenant, one key (`TEST_KEY`), and models that OpenAI-compatible servers serve.

    `upstream_url` with /v1; several make a pool. `upstream_model` None: the same name as the model's.
    """
    urls = [upstream_url] if isinstance(upstream_url, str) else upstream_url
    providers = {
        f"provider-{number}": Provider(
            protocol="openai",
            base_url=url,
            timeouts=timeouts or Timeouts(connect_s=2.0, first_byte_s=5.0, between_bytes_s=5.0, total_s=20.0),
            report_stream_usage=report_stream_usage,
        )
        for number, url in enumerate(urls)
    }
    entry = key or KeyEntry(
        id=TEST_KEY.id,
        tenant="test",
        name="test",
        secrets=(KeySecret(digest=digest_secret(_PEPPER, TEST_KEY.secret)),),
    )
    return Snapshot(
        revision=1,
        published_unix_s=1.0,
        keys=KeyTable.of((entry,)),
        tenants={"test": Tenant()},
        providers=providers,
        versions={
            f"{model}-1": Version(
                backends=tuple(BackendSpec(provider=name, model=upstream_model or model) for name in providers)
            )
            for model in models
        },
        models={
            model: Model(version=f"{model}-1", endpoints=("chat.completions", "completions", "embeddings"))
            for model in models
        },
        limit_policies=dict(limits or {}),
        budgets=dict(budgets or {}),
        flags=dict(flags or {}),
        prices={"test": Price(model="*", input_usd_per_million="1", output_usd_per_million="2")},
    )


@asynccontextmanager
async def running_gateway(
    snapshot: Snapshot | None = None,
    *,
    server: GatewayServerSettings | None = None,
    settings: GatewaySettings | None = None,
    workers: LocalWorkers | None = None,
    clock: Clock | None = None,
    health: HealthSource | None = None,
    asker: ExchangeAsker | None = None,
) -> AsyncIterator[RunningGateway]:
    """A gateway that serves `snapshot` (None: `gateway_snapshot()`) on a free loopback port.

    `asker` knows the exchanges of others; None: nobody does.
    """
    clock = clock or SystemClock()
    providers = Providers(workers or LocalWorkers({}, ""))
    fleet = Fleet(health)
    follower = SnapshotFollower(_NoSource(), providers, fleet, clock, poll_s=1.0)
    follower.install(snapshot or gateway_snapshot())
    journal, events = MemoryJournal(), _EventList()
    settings = settings or GatewaySettings()
    often = settings.feedback_requests_per_s
    desk = FeedbackDesk(follower, journal, clock, pepper=_PEPPER, requests_per_s=often, subjects=1000, asker=asker)
    flight = Flight(
        worlds=follower,
        journal=journal,
        sinks=(events, fleet.bursts, desk),
        settings=settings,
        pepper=_PEPPER,
        clock=clock,
    )
    most = settings.flag_requests_per_s
    reads = FlagReads(follower, flight.flag_counts, clock, pepper=_PEPPER, requests_per_s=most, subjects=1000)
    surface = OpenAiSurface(
        flight,
        probes=_AlwaysReady(),
        sampler=Sampler(0.0),
        clock=clock,
        flags=OfrepPaths(reads),
        feedback=FeedbackPath(desk),
    )
    http = HttpServer(replace(server or GatewayServerSettings(), port=0), surface)
    await http.start()
    try:
        yield RunningGateway(
            url=f"http://127.0.0.1:{http.port}",
            port=http.port,
            api_key=TEST_KEY.text,
            events=events.events,
            journal=journal,
            server=http,
            flight=flight,
            follower=follower,
            providers=providers,
            fleet=fleet,
            desk=desk,
        )
    finally:
        await http.stop()
        await flight.mirrors.close(1.0)
        await flight.judges.close(1.0)
        providers.close()
