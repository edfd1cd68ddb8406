"""Our own workers: OpenAI's API as llama.cpp has it, with what it lacks put right on the way."""

from collections.abc import Awaitable
from typing import Protocol

from podium.core.ids import random_token
from podium.gateway.ports import Answer
from podium.upstreams.openai import OpenAiUpstream
from podium.upstreams.translated import TranslatedAnswer
from podium.wire.tools import Offer, may_use_tools, translate_request
from podium.wire.worker_answers import AnswerCollector, translate_answer, translate_error
from podium.wire.worker_requests import Options, ask_for_stream, is_plain_streamed_chat, read_options
from podium.wire.worker_streams import StreamTranslator

__all__ = ["LocalUpstream"]

_OK = 200
_CHAT = "chat.completions"
_COMPLETIONS = "completions"


class Worker(Protocol):
    """One worker as it is called."""

    provider: str
    model: str
    label: str
    total_s: float
    reports_stream_usage: bool

    def call(self, endpoint: str, body: bytes, *, headers: bytes, deadline_s: float) -> Awaitable[Answer]:
        """As podium.gateway.ports.Upstream."""


class LocalUpstream:
    """One model of our own workers (podium.gateway.ports.Upstream).

    A plain chat that is streamed passes untouched, both ways; so does an embedding. A whole answer is always
    made from a stream: the worker notices that a caller is gone only when it writes, and would compute the rest.
    """

    __slots__ = ("_worker", "label", "model", "provider", "reports_stream_usage", "total_s")

    endpoints = OpenAiUpstream.endpoints

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.provider = worker.provider
        self.model = worker.model
        self.label = worker.label
        self.reports_stream_usage = worker.reports_stream_usage
        self.total_s = worker.total_s

    def call(self, endpoint: str, body: bytes, *, headers: bytes, deadline_s: float) -> Awaitable[Answer]:
        """Send one request and read the head of its answer, or all of it when it is no stream.

        InvalidRequest: it asks for what the worker cannot do.
        """
        if endpoint == _COMPLETIONS or (endpoint == _CHAT and not is_plain_streamed_chat(body)):
            return _Call(self._worker, endpoint, headers, deadline_s).translated(body)
        return _untouched(self._worker.call(endpoint, body, headers=headers, deadline_s=deadline_s), endpoint)


async def _untouched(call: Awaitable[Answer], endpoint: str) -> Answer:
    """The worker's own answer; only its errors are put right."""
    answer = await call
    return answer if answer.status == _OK else _refused(answer, endpoint)


def _refused(answer: Answer, endpoint: str) -> TranslatedAnswer:
    return TranslatedAnswer(answer, body=translate_error(answer.body, endpoint))


class _Call:
    """One request to a worker."""

    __slots__ = ("_deadline_s", "_endpoint", "_headers", "_worker")

    def __init__(self, worker: Worker, endpoint: str, headers: bytes, deadline_s: float) -> None:
        self._worker = worker
        self._endpoint = endpoint
        self._headers = headers
        self._deadline_s = deadline_s

    async def translated(self, body: bytes) -> Answer:
        """The answer to any request but a plain streamed chat."""
        options = read_options(body)
        offer = None
        if self._endpoint == _CHAT and may_use_tools(body):
            request = translate_request(body)
            body, offer = request.body, request.offer
        if options.stream:
            return await self._stream(body, options, offer)
        return await self._collect(body, options, offer)

    async def _stream(self, body: bytes, options: Options, offer: Offer | None) -> Answer:
        answer = await self._send(body)
        if not answer.streamed:
            return _refused(answer, self._endpoint)
        translator = StreamTranslator(
            offer, _call_id, choices_per_prompt=options.choices_per_prompt, report_usage=options.wants_usage
        )
        return TranslatedAnswer(answer, stream=translator)

    async def _collect(self, body: bytes, options: Options, offer: Offer | None) -> Answer:
        """A whole answer made from a stream, which alone ends with its caller, and tells the usage of each choice."""
        answer = await self._send(ask_for_stream(body))
        if not answer.streamed:
            return _refused(answer, self._endpoint)
        collector = AnswerCollector(choices_per_prompt=options.choices_per_prompt)
        await answer.relay(collector.feed)
        whole = collector.body()
        return TranslatedAnswer(answer, body=whole if offer is None else translate_answer(whole, offer, _call_id))

    def _send(self, body: bytes) -> Awaitable[Answer]:
        return self._worker.call(self._endpoint, body, headers=self._headers, deadline_s=self._deadline_s)


def _call_id() -> str:
    return "call_" + random_token(24)
