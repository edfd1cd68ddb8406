"""One registered version's worker as an upstream: called where it is, once it is loaded."""

from collections.abc import Callable, Mapping

from podium.gateway.ports import Answer, Headers
from podium.upstreams.account import Account
from podium.upstreams.openai import OpenAiUpstream
from podium.upstreams.registered import RegisteredWorkers

__all__ = ["OnDemandUpstream"]


class OnDemandUpstream:
    """Waits for the worker, and tells the engine of each call that is under way (podium.upstreams.local.Worker)."""

    __slots__ = (
        "_account",
        "_open_at",
        "_url",
        "_workers",
        "label",
        "model",
        "provider",
        "reports_stream_usage",
        "total_s",
    )

    def __init__(
        self,
        provider: str,
        model: str,
        workers: RegisteredWorkers,
        open_at: Callable[[str], Account],
        *,
        total_s: float,
    ) -> None:
        self.provider = provider
        self.model = model
        self.label = f"{provider}/{model}"
        self.reports_stream_usage = True
        self.total_s = total_s
        self._workers = workers
        self._open_at = open_at
        self._url = ""
        self._account: Account | None = None

    async def call(self, endpoint: str, body: bytes, *, headers: Headers, deadline_s: float) -> Answer:
        """Send one request once the worker is loaded. UpstreamFailed: it cannot be, or not in time."""
        url = await self._workers.ready_at(self.model, deadline_s)
        upstream = OpenAiUpstream(self.provider, self.model, self._account_at(url))
        self._workers.enter(self.model)
        held: Answer | None = None
        try:
            answer: Answer = await upstream.call(endpoint, body, headers=headers, deadline_s=deadline_s)
            if not answer.streamed:
                return answer
            held = _Held(answer, lambda: self._workers.leave(self.model))
            return held
        finally:
            if held is None:
                self._workers.leave(self.model)

    def retire(self) -> None:
        """Close the connections once running calls have finished."""
        if self._account is not None:
            self._account.pool.retire()

    def close(self) -> None:
        """Close them at once."""
        if self._account is not None:
            self._account.pool.close()

    def _account_at(self, url: str) -> Account:
        if self._account is None or url != self._url:
            self.retire()
            self._url, self._account = url, self._open_at(url)
        return self._account


class _Held:
    """A streamed answer that tells, once, when it has ended (podium.gateway.ports.Answer)."""

    __slots__ = ("_answer", "_ended", "_on_end")

    streamed = True

    def __init__(self, answer: Answer, on_end: Callable[[], None]) -> None:
        self._answer = answer
        self._on_end = on_end
        self._ended = False

    @property
    def status(self) -> int:
        return self._answer.status

    @property
    def headers(self) -> Mapping[bytes, bytes]:
        return self._answer.headers

    @property
    def notes(self) -> Headers:
        return self._answer.notes

    @property
    def body(self) -> bytes:
        return self._answer.body

    async def relay(self, on_piece: Callable[[bytes], bool]) -> None:
        try:
            await self._answer.relay(on_piece)
        finally:
            self._end()

    def pause(self) -> None:
        self._answer.pause()

    def resume(self) -> None:
        self._answer.resume()

    def close(self) -> None:
        self._answer.close()
        self._end()

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._on_end()
