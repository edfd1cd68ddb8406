"""A bench for matrices: one gateway before one simulator, with a model and a provider for each cell.

What a provider shows (breakers, rests, budgets) must not pass from one cell to another, so nothing is shared
but the machinery under test. Cells run beside each other; most of their time is waiting.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from podium.core.event import Event
from podium.core.reasons import Reason
from podium.core.resources import Aws, BackendSpec, Model, Price, Provider, SecretRef, Timeouts, Version
from podium.core.serving import FailureHandling
from podium.testing.gateway import RunningGateway, gateway_snapshot, running_gateway
from podium.testing.openai_requests import request_bytes
from podium.testing.raw_http import RawConnection, RawResponse
from podium.testing.upstream import Case, Mode, Simulator, UpstreamProtocol, matrix
from podium.testing.upstream.connection import SimulatedRequest
from podium.testing.upstream.credentials import AWS_KEY, AWS_SECRET
from podium.testing.waiting import eventually

PATIENT = Timeouts(connect_s=5.0, first_byte_s=8.0, between_bytes_s=8.0, total_s=20.0)
IMPATIENT = Timeouts(connect_s=5.0, first_byte_s=0.5, between_bytes_s=0.5, total_s=20.0)
AT_ONCE = 72  # cells; more of them would wait for this process, and waits have limits
RATES = Price(
    model="*",
    input_usd_per_million="1",
    cached_input_usd_per_million="0.1",
    cache_write_usd_per_million="1.25",
    output_usd_per_million="2",
    reasoning_usd_per_million="3",
)
# What takes less time when it is said so.
IN_SHORT = {Mode.SLOW: "slow=0.2s", Mode.SLOW_HEAD: "slow-head=0.2s"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@dataclass(frozen=True, slots=True)
class Cell:
    """One case, asked for in one dialect: `chat` or `messages`."""

    case: Case
    dialect: str

    def __str__(self) -> str:
        return f"{self.case}-{self.dialect}"

    @property
    def backend(self) -> str:
        """The model's name at the provider, which tells the simulator what to do."""
        mode = self.case.mode
        spec = IN_SHORT.get(mode, mode.value)
        if mode is Mode.OVERSIZED and self.case.streamed:
            spec = f"oversized={9 << 20}"
        # Events that come by themselves: what is good in them is with the caller before the bad one comes.
        paced = "+between=4ms" if self.case.content_first and self.case.reason is not Reason.OK else ""
        return f"{self}+{spec}{paced}"

    @property
    def body(self) -> bytes:
        """The request."""
        asked: dict[str, Any] = {"model": str(self), "messages": [{"role": "user", "content": "Say some words."}]}
        tools = bool(self.case.behaviour.calls)
        if self.dialect == "messages":
            asked |= {"max_tokens": 64}
            asked |= {"tools": [{"name": "weather", "input_schema": SCHEMA}]} if tools else {}
        elif tools:
            asked |= {"tools": [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]}
        if self.case.streamed:
            asked |= {"stream": True}
            asked |= {"stream_options": {"include_usage": True}} if self.dialect == "chat" else {}
        return json.dumps(asked).encode()


@dataclass(slots=True)
class Said:
    """What a caller understood of an answer."""

    text: str = ""
    calls: dict[int, str] = field(default_factory=lambda: defaultdict(str))  # arguments, as far as they came
    ended: bool = False  # properly
    error: dict[str, Any] | None = None
    usage: dict[str, Any] | None = None


@dataclass(slots=True)
class Outcome:
    """What became of a cell."""

    cell: Cell
    response: RawResponse
    events: list[Event]
    requests: list[SimulatedRequest]  # to the cell's own backend
    spare_requests: list[SimulatedRequest]  # to the one that is well

    @property
    def event(self) -> Event:
        """The only one."""
        (event,) = self.events
        return event

    @property
    def said(self) -> Said:
        """The answer as a client of the dialect takes it."""
        whole = (self.response.header("content-type") or "").startswith("application/json")
        if self.cell.dialect == "messages":
            return _whole_message(self.response.json()) if whole else _message_events(self.response.events())
        return _whole_chat(self.response.json()) if whole else _chat_chunks(self.response.events())


def _whole_chat(answer: dict[str, Any]) -> Said:
    if "error" in answer:
        return Said(error=answer["error"])
    message = answer["choices"][0]["message"]
    said = Said(message.get("content") or "", ended=True, usage=answer.get("usage"))
    for index, call in enumerate(message.get("tool_calls") or ()):
        said.calls[index] = call["function"]["arguments"]
    return said


def _chat_chunks(events: list[str]) -> Said:
    said = Said()
    for number, data in enumerate(events):
        if data == "[DONE]":
            assert number == len(events) - 1, "something follows [DONE]"
            said.ended = True
            continue
        chunk = json.loads(data)
        if "error" in chunk:
            assert number == len(events) - 1, "something follows the error"
            said.error = chunk["error"]
            continue
        said.usage = chunk.get("usage") or said.usage
        for choice in chunk["choices"]:
            said.text += choice["delta"].get("content") or ""
            for call in choice["delta"].get("tool_calls") or ():
                said.calls[call["index"]] += call["function"].get("arguments") or ""
    return said


def _whole_message(answer: dict[str, Any]) -> Said:
    if answer["type"] == "error":
        return Said(error=answer["error"])
    said = Said(ended=True, usage=answer["usage"])
    for index, block in enumerate(answer["content"]):
        if block["type"] == "text":
            said.text += block["text"]
        elif block["type"] == "tool_use":
            said.calls[index] = json.dumps(block["input"])
    return said


def _message_events(events: list[str]) -> Said:
    said = Said()
    for number, data in enumerate(events):
        event = json.loads(data)
        match event["type"]:
            case "error":
                assert number == len(events) - 1, "something follows the error"
                said.error = event["error"]
            case "message_stop":
                assert number == len(events) - 1, "something follows message_stop"
                said.ended = True
            case "message_delta":
                said.usage = event["usage"]
            case "content_block_delta":
                delta = event["delta"]
                said.text += delta.get("text", "")
                if "partial_json" in delta:
                    said.calls[event["index"]] += delta["partial_json"]
    return said


def cost_nanousd(usage: Any) -> int:
    """What `RATES` make of a usage: a dollar for a million tokens is 1000 billionths for one."""
    fresh = usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens
    plain_output = usage.output_tokens - usage.reasoning_tokens
    parts = fresh * 1000, usage.cached_input_tokens * 100, usage.cache_write_tokens * 1250, plain_output * 2000
    return sum(parts) + usage.reasoning_tokens * 3000


@dataclass(slots=True)
class Bench:
    """A running gateway with a model for each cell."""

    simulator: Simulator
    gateway: RunningGateway
    _huge: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self, cells: list[Cell]) -> list[Outcome]:
        """Ask each cell's model once, all beside each other, and look that nothing stays behind."""
        tasks = asyncio.all_tasks()
        room = asyncio.Semaphore(AT_ONCE)

        async def ask(cell: Cell) -> RawResponse:
            async with room:
                if cell.case.mode is Mode.OVERSIZED:
                    async with self._huge:  # 65 MB each
                        return await self._ask(cell)
                return await self._ask(cell)

        responses = await asyncio.gather(*(ask(cell) for cell in cells))
        await self._is_clean(tasks)
        events, requests = defaultdict(list), defaultdict(list)
        for event in self.gateway.events:
            events[event.request_id].append(event)
        for request in self.simulator.requests:
            requests[request.model].append(request)
        return [
            Outcome(cell, response, events[str(cell)], requests[str(cell)], requests[f"{cell}-spare"])
            for cell, response in zip(cells, responses, strict=True)
        ]

    async def _ask(self, cell: Cell) -> RawResponse:
        path = "/v1/messages" if cell.dialect == "messages" else "/v1/chat/completions"
        headers = {"x-request-id": str(cell)}
        async with await RawConnection.open(self.gateway.port, timeout_s=30) as client:
            await client.send(request_bytes(cell.body, path=path, key=self.gateway.api_key, headers=headers))
            return await client.read_response()

    async def _is_clean(self, tasks: set[Any]) -> None:
        """No exchange, no connection to either side but idle ones, no task."""
        gateway, simulator = self.gateway, self.simulator
        await eventually(lambda: gateway.in_flight == 0 and gateway.connections == 0)
        assert gateway.providers.waiting_calls == 0
        gateway.follower.install(gateway_snapshot())  # the old providers close what is idle: what stays, is busy
        await eventually(lambda: simulator.open_connections == 0)
        await eventually(lambda: not {task for task in asyncio.all_tasks() if not task.done()} - tasks)


def provider(protocol: UpstreamProtocol, simulator: Simulator, timeouts: Timeouts = PATIENT) -> Provider:
    """A provider at the simulator."""
    key, root = SecretRef(env="MATRIX_KEY"), simulator.base_url(UpstreamProtocol.ANTHROPIC)
    signed = Aws(
        region="eu-west-1",
        access_key_id=SecretRef(env="MATRIX_AWS_ID"),
        secret_access_key=SecretRef(env="MATRIX_AWS_SECRET"),
    )
    match protocol:
        case UpstreamProtocol.OPENAI:
            return Provider(protocol="openai", base_url=f"{root}/v1", api_key=key, timeouts=timeouts)
        case UpstreamProtocol.AZURE:
            return Provider(protocol="openai", preset="azure", base_url=root, api_key=key, timeouts=timeouts)
        case UpstreamProtocol.BEDROCK:
            return Provider(protocol="bedrock", base_url=root, aws=signed, timeouts=timeouts)
    return Provider(protocol=protocol.value, base_url=root, api_key=key, timeouts=timeouts)


@pytest.fixture
def open_bench(monkeypatch):
    """`async with open_bench(cells, failure, spare=...)`: a Bench.

    `failure`: how the model of a cell handles failures. `spare`: "backend" puts a healthy one beside each cell's own,
    "model" declares the model `<cell>-spare`; None: there is nothing else.
    """
    for name, value in {"KEY": "provider-key", "AWS_ID": AWS_KEY, "AWS_SECRET": AWS_SECRET}.items():
        monkeypatch.setenv(f"MATRIX_{name}", value)

    @asynccontextmanager
    async def opened(cells: list[Cell], failure: Callable[[Cell], FailureHandling], spare: str | None = None):
        async with Simulator() as simulator:
            snapshot = _snapshot(cells, simulator, failure, spare)
            async with running_gateway(snapshot) as gateway:
                yield Bench(simulator, gateway)

    return opened


def _snapshot(cells, simulator, failure, spare):
    providers, versions, models = {}, {}, {}
    for cell in cells:
        name = str(cell)
        timeouts = IMPATIENT if cell.case.reason is Reason.UPSTREAM_TIMEOUT else PATIENT
        providers[f"{name}-own"] = provider(cell.case.protocol, simulator, timeouts)
        backends = [BackendSpec(provider=f"{name}-own", model=cell.backend)]
        if spare is not None:
            providers[f"{name}-other"] = provider(cell.case.protocol, simulator)
            other = BackendSpec(provider=f"{name}-other", model=f"{name}-spare")
            if spare == "backend":
                backends.append(other)
            else:
                versions[f"{name}-spare"] = Version(backends=(other,))
                models[f"{name}-spare"] = Model(version=f"{name}-spare")
        versions[name] = Version(backends=tuple(backends))
        models[name] = Model(version=name, failure=failure(cell))
    return msgspec.structs.replace(
        gateway_snapshot(), providers=providers, versions=versions, models=models, prices={"rates": RATES}
    )


@pytest.fixture
def cells_of():
    """The cells of a protocol, for callers of both dialects: `cells_of(protocol, streamed)`."""

    def cells(protocol, streamed):
        cases = [case for case in matrix((protocol,)) if case.streamed == streamed]
        return [Cell(case, dialect) for dialect in ("chat", "messages") for case in cases]

    return cells


@pytest.fixture
def cost():
    """What a usage costs."""
    return cost_nanousd
